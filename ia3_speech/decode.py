"""`python -m ia3_speech.decode`: the command, which is in commands/decode.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("decode")
