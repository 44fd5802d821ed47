"""`python -m ia3_speech.tune_lm`: the command, which is in commands/tune_lm.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("tune-lm")
