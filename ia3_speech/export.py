"""`python -m ia3_speech.export`: the command, which is in commands/export.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("export")
