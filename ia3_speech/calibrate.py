"""`python -m ia3_speech.calibrate`: the command, which is in commands/calibrate.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("calibrate")
