#!/usr/bin/env python3
"""Run a command unless it has made OUT from these inputs (see ia3_speech/common/inputs.py).

once.py OUT [INPUT …] -- COMMAND …
"""

import subprocess
import sys
from pathlib import Path

from ia3_speech.common.inputs import Inputs


def main(words: list[str]) -> int:
    """Run a command unless it has made OUT from these inputs. If it writes no OUT, create an empty file."""
    if "--" not in words or words.index("--") < 1 or words[-1] == "--":
        print("usage: once.py OUT [INPUT …] -- COMMAND …", file=sys.stderr)
        return 2
    at = words.index("--")
    out, command = Path(words[0]), words[at + 1 :]
    inputs = Inputs({word: Path(word) for word in words[1:at]}, {"command": command})
    if inputs.is_current(out):
        return 0
    code = subprocess.run(command, check=False).returncode
    if not code:
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            out.touch()
        inputs.record(out)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
