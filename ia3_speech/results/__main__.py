"""`python -m ia3_speech.results`: the command, which is in commands/results.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("results")
