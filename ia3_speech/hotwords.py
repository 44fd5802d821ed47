"""`python -m ia3_speech.hotwords`: the command, which is in commands/hotwords.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("hotwords")
