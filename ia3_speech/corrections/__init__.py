"""What is known of a voice (voice.py), and `ia3-speech corrections`."""
