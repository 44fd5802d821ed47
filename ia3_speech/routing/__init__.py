"""Adapters chosen by the audio: what each adapter's speech is like, and a gate that reads it."""
