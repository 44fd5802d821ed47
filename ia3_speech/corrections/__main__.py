"""`python -m ia3_speech.corrections`: the command, which is in commands/corrections.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("corrections")
