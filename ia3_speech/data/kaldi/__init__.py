"""Kaldi data directories (`ia3-speech datadir`)."""
