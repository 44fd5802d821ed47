"""`python -m ia3_speech.classify`: the command, which is in commands/classify.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("classify")
