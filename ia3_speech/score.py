"""`python -m ia3_speech.score`: the command, which is in commands/score.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("score")
