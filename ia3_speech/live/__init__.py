"""Live input of `ia3-speech transcribe`: a microphone or a pipe, partial texts and final ones."""
