"""`python -m ia3_speech.speakers`: the command, which is in commands/speakers.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("speakers")
