"""Start-up of commands: processor seconds from start to end, on a recording of three seconds.

    python scripts/bench_startup.py --before ../earlier

In: this clone, and perhaps a checkout of an earlier commit. Out: a table in bench_startup.md. The commands of
both take turns; each number is the median of the processor's time (user and system) of one process, so that
other programs on the machine count little.
"""

import os
import resource
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmark import ROOT, Page, machine, rounds

from ia3_speech.cli import command
from ia3_speech.scoring.table import markdown_table

RECORDING = ROOT / "ia3_speech/out_of_domain/librispeech_dev/audio/422-122949-0030.ogg"
ONNX = "--engine onnx --base graph"
COMMANDS = {
    "ia3-speech --help": "--help",
    "ia3-speech transcribe --help": "transcribe --help",
    "ia3-speech adapters list": "adapters list",
    "ia3-speech transcribe a.wav": f"transcribe {RECORDING}",
    "ia3-speech transcribe --search greedy a.wav": f"transcribe --search greedy {RECORDING}",
    "ia3-speech transcribe --engine onnx --base graph a.wav": f"transcribe {ONNX} {RECORDING}",
}


def main(*, page: Page, before: Path | None = None, repeats: int = 5) -> None:
    """Measure and write the table.

    Args:
        before: a checkout of an earlier commit, without the engine onnx
        repeats: processes of each command
    """
    clones = [*filter(None, (before, ROOT))]
    with TemporaryDirectory() as work:
        run(ROOT, f"export --format onnx --base mini --out {Path(work) / 'graph'}", work)
        seconds = {pair: [] for pair in product(COMMANDS, clones) if pair[1] == ROOT or ONNX not in pair[0]}

        def measure(name: str, clone: Path) -> None:
            seconds[name, clone].append(run(clone, COMMANDS[name], work))

        rounds({pair: partial(measure, *pair) for pair in seconds}, repeats=repeats)
    rows = []
    for name in COMMANDS:
        values = [seconds.get((name, clone), [])[1:] for clone in clones]
        rows.append([f"`{name}`", *(f"{median(each):.2f}" if each else None for each in values)])
    head = ["command", *(["before, s"] if before else []), "now, s"]
    setup = f"processor seconds, median of {repeats}, base mini, 3 s of audio, {machine()}"
    page.write("Start-up", setup, markdown_table(head, rows))


def run(clone: Path, line: str, work: str) -> float:
    """The processor seconds of a command of this clone."""
    environment = os.environ | {"PYTHONPATH": str(clone.resolve()), "IA3_SPEECH_HOME": work}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-m", "ia3_speech", *line.split()]
    subprocess.run(words, cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


if __name__ == "__main__":
    command(main)
