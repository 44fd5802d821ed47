"""Run the commands of a page's console blocks, and write what they print below them.

    python scripts/run_examples.py docs/transcribe.md          # writes the outputs into the page
    python scripts/run_examples.py --check docs/transcribe.md  # code 1 where one differs

In a block of a Markdown page that starts with ```console, a line that starts with `$ ` is a command (a line
that ends in a backslash is continued); the lines until the next command are what it printed, on stdout and
stderr. All commands of a page run in order in one empty folder, where `speech` is the data directory of the
package's own out-of-domain recordings (ia3_speech/out_of_domain/librispeech_dev), and `audio` its audio.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ia3_speech.atomic import write_text  # noqa: E402

AUDIO = ROOT / "ia3_speech/out_of_domain/librispeech_dev/audio"
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)
LONGEST = 30  # lines of an output that are shown


def with_outputs(block: str, folder: Path) -> str:
    """The block with its commands' present outputs."""
    return "".join(f"{command}{output(command[2:], folder)}" for command in COMMAND.findall(block))


def output(command: str, folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "110"}
    shell = f'ia3-speech() {{ "{sys.executable}" -m ia3_speech "$@"; }}\n{command}'
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(["bash", "-c", shell], cwd=folder, env=environment, check=False, **pipes)
    lines = done.stdout.decode().replace(f"{ROOT}/", "").expandtabs(4).splitlines()
    if done.returncode:
        print(f"exit code {done.returncode}: {command}", file=sys.stderr)
    if len(lines) > LONGEST:
        lines = [*lines[:LONGEST], "…"]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Run the commands of a page and write their outputs into it."
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; code 1 where an output differs")
    given = parser.parse_args()
    text = given.page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "audio").symlink_to(AUDIO)
        (Path(folder) / "speech").symlink_to(AUDIO.parent)
        new = BLOCK.sub(lambda block: with_outputs(block[0], Path(folder)), text)
    if not given.check:
        write_text(given.page, new)
    elif new != text:
        print(f"{given.page}: an output has changed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
