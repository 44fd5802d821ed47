"""`python -m ia3_speech.serve`: the command, which is in commands/serve.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("serve")
