"""`python -m ia3_speech.self_train`: the command, which is in commands/self_train.py."""

from ia3_speech.commands import run

if __name__ == "__main__":
    run("self-train")
