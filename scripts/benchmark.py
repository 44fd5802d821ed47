"""The harness of the benchmarks in scripts/: rounds, processes and the Markdown page.

    def main(*, data: Path, page: Page, base: str = "mini") -> None:
        times = rounds({"ours": ours, "theirs": theirs}, repeats=5)
        rows = [[name, f"{median(seconds):.2f}"] for name, seconds in times.items()]
        page.write("Recognition", f"base {base}, {machine()}", markdown_table(["system", "seconds"], rows))

Import this module before the library, so that the library of this clone is measured.
"""

import mmap
import multiprocessing
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ia3_speech.common.atomic import write_text  # noqa: E402
from ia3_speech.common.inputs import provenance  # noqa: E402
from ia3_speech.model.precision import processor_name  # noqa: E402

END = "<!-- end of benchmark -->\n"


@dataclass(frozen=True)
class Page:
    """The page of results.

    Args:
        out: Markdown file: the section of the same command is replaced, sections of other commands stay
    """

    out: Path | None = None

    def write(self, title: str, setup: str, *parts: str) -> None:
        """Print a section, and write it to `out`: the command, `setup` (data, options, machine), Markdown;
        `title` is that of the page, where there is none yet."""
        command, record = typed_command(), provenance()
        commit = f"commit {record['commit'] or 'unknown'}{' with changes' if record['dirty'] else ''}"
        section = "\n\n".join([f"`{command}` ({commit}): {setup}", *(part.strip() for part in parts)])
        print(section)
        if self.out:
            page = self.out.read_text("utf-8") if self.out.exists() else f"# {title}\n"
            begin = f"<!-- benchmark {command} -->\n"
            before, marker, after = page.partition(begin)
            before, after = (before, after.partition(END)[2]) if marker else (f"{page}\n", "")
            write_text(self.out, f"{before}{begin}\n{section}\n\n{END}{after}")


def typed_command() -> str:
    """`python scripts/bench_bank.py --rows 8`: the command line without `--out`."""
    words = iter(sys.argv)
    selected = [w for w in words if not w.startswith("--out=") and not (w == "--out" and next(words, True))]
    return f"python {shlex.join(selected)}"


def machine() -> str:
    """`AMD EPYC 9R45, 2 threads, torch 2.12.0`; with a GPU, the GPU's name."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def log(line: str) -> None:
    """Print progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def rounds(
    functions: Mapping[str, Callable],
    repeats: int,
    rotate: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Name → seconds by the clock in each round. Each round calls every function once, so that other load on
    the machine affects all of them; each round starts with another function, and the first isn't timed.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions)
    for number in range(repeats + 1):
        first = number % len(order) if rotate else 0
        for name in order[first:] + order[:first]:
            seconds = seconds_of(functions[name], clock=clock)
            if number:
                times[name].append(seconds)
    return times


def seconds_of(function: Callable, *arguments: Any, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call, until the GPU is done."""
    start = clock()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def pipeline_of(model: Any, processor: Any, **options: Any) -> Any:
    """transformers' pipeline of a model that is in memory."""
    from transformers import pipeline

    parts = {"tokenizer": processor.tokenizer, "feature_extractor": processor.feature_extractor}
    return pipeline("automatic-speech-recognition", model, **parts, **options)


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result in a child process, which has its own memory, threads and models. The parent may
    have imported modules, but run nothing."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)


def resident_bytes() -> int:
    """Memory of this process on Linux; elsewhere 0."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * mmap.PAGESIZE if statm.exists() else 0
