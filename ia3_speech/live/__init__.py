"""Live input: a microphone or a pipe, partial texts and final ones."""
