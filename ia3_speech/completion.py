"""`python -m ia3_speech.completion`: the command, which is in commands/completion.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("completion")
