"""`python -m ia3_speech.report`: the command, which is in commands/report.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("report")
