"""`python -m ia3_speech.adapters`: the command, which is in commands/adapters.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("adapters")
