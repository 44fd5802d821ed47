"""Adaptation without transcripts: to one recording at test time, and to many by their own pseudo-labels."""
