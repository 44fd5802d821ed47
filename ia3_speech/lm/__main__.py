"""`python -m ia3_speech.lm`: the command, which is in commands/lm.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("lm")
