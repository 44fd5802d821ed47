"""Decoding: logits to text, long recordings, a recogniser, decode directories, transcripts."""
