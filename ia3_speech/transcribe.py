"""`python -m ia3_speech.transcribe`: the command, which is in commands/transcribe.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("transcribe")
