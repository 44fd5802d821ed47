"""`python -m ia3_speech.train`: the command, which is in commands/train.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("train")
