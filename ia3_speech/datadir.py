"""`python -m ia3_speech.datadir`: the command, which is in commands/datadir.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("datadir")
