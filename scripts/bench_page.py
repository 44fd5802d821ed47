"""What the benchmarks share: a page of Markdown that says which command wrote it, of which commit.

A benchmark imports this first: it runs with the package of this clone, installed or not.
"""

import multiprocessing
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ia3_speech.atomic import write_text  # noqa: E402
from ia3_speech.inputs import provenance  # noqa: E402
from ia3_speech.model.precision import processor_name  # noqa: E402


def made_by() -> str:
    """`python scripts/bench_bank.py --rows 8` (commit 1a2b3c4): the command as typed, without --out."""
    typed = [
        word
        for before, word in zip(["", *sys.argv], sys.argv, strict=False)
        if before != "--out" and word != "--out" and not word.startswith("--out=")
    ]
    made = provenance()
    commit = f"commit {made['commit']}" if made["commit"] else "no commit"
    return f"`python {shlex.join(typed)}` ({commit}{' with changes' if made['dirty'] else ''})"


def machine() -> str:
    """AMD EPYC 9R45, 2 threads, torch 2.12.0: where it was measured; of a GPU its name."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def publish(text: str, out: Path | None) -> None:
    """Print a page, and write it to --out where that is given."""
    print(text, end="")
    if out:
        write_text(out, text)


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a child of this process, whose memory, threads and models are its own.
    This process should only have imported before."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)
