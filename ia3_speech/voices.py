"""`python -m ia3_speech.voices`: the command, which is in commands/voices.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("voices")
