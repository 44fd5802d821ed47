"""`python -m ia3_speech.dictation`: the command, which is in commands/dictation.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("dictation")
