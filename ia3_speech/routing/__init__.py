"""Adapters chosen by the audio: statistics of each adapter's speech, and a gate that compares them."""
