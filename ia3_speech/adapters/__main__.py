"""`python -m ia3_speech.adapters`: the command, which stands with the others (adapters_command.py)."""

import runpy

if __name__ == "__main__":
    runpy.run_module("ia3_speech.adapters_command", run_name="__main__")
