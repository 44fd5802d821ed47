"""`python -m ia3_speech.live`: the command, which is in commands/live.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("live")
