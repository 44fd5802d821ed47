"""ONNX beside PyTorch, and beside onnx-asr on the same weights: size, start-up, speed, texts, WER.

    python scripts/bench_onnx.py --data ../shared/data/minds14/test --out scripts/bench_onnx.md

In: data directories, of which every nth utterance is taken. Out: a Markdown table. Each system runs in a
process of its own, bound to one core, one utterance at a time. Times are of that core (CPU seconds), so that
other load on the machine does not count: start-up from the interpreter's start to the text of a first second
of audio, and the real-time factor of the rest. Texts are by greedy search.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench_page import made_by, publish

from ia3_speech.cli import command
from ia3_speech.data.audio import audio_duration
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.formatting import with_interval
from ia3_speech.model.location import base_folder
from ia3_speech.scoring.scorer import score_hypotheses

# System → what a process runs to define `texts`, a function of a list of waveforms; {0} is the base, or the
# folder of a graph, which is made by `ia3-speech export` with the options that stand beside it.
PYTORCH = """
from ia3_speech import load
from ia3_speech.loading import SearchOptions
texts = load({0!r}, search=SearchOptions(search="greedy")).recognizer.texts"""
GRAPH = """
import ia3_speech.onnx
texts = ia3_speech.onnx.load({0!r}).recognizer.texts"""
ONNX_ASR = """
import sys; sys.path.insert(0, {scripts!r})
from onnx_asr_model import load_onnx_asr
texts = load_onnx_asr({0!r})"""
SYSTEMS: dict[str, tuple[str, str, str]] = {  # name → script, export format, dtype
    "PyTorch float32": (PYTORCH, "", "float32"),
    "ONNX float32, vectors are inputs": (GRAPH, "onnx", "float32"),
    "ONNX int8, vectors are inputs": (GRAPH, "onnx", "int8"),
    "onnx-asr float32, merged": (ONNX_ASR, "onnx-asr", "float32"),
}
CHILD = """
import os, json, sys, time
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
files = json.load(sys.stdin)
{setup}
from ia3_speech.data.audio import load_audio
texts([load_audio(files[0])[:16_000]])
started = time.process_time()
waves = [load_audio(file) for file in files]
before = time.process_time()
found = [texts([wave])[0] for wave in waves]
print(json.dumps([started, time.process_time() - before, found]))
"""
HEADER = """\
| system | size, MiB | start-up, s | real-time factor | texts as PyTorch's | WER % | change % |
|---|---:|---:|---:|---:|---:|---:|"""


@dataclass
class Options:
    """Options of one run.

    Args:
        data: data directories with audio and texts
        utterances: how many are taken in all
        longest: seconds; longer ones are left out
        base: a base as everywhere
        work: where the graphs are kept; those that are there are not written again (default: nowhere)
        out: where the Markdown goes; it is printed in any case
    """

    data: list[Path]
    utterances: int = 100
    longest: float = 30.0
    base: str = "mini"
    work: Path | None = None
    out: Path | None = None


def main(options: Options) -> None:
    """Measure and write the table."""
    every = [one for path in options.data for one in read_data_directory(path, spk_sort=False)]
    every = [one for one in every if audio_duration(one.source) <= options.longest]
    chosen = every[:: max(1, len(every) // options.utterances)][: options.utterances]
    data = DataDirectory(options.data[0], chosen)
    files = [str(one.source) for one in data]
    seconds, results = sum(map(audio_duration, files)), {}
    with TemporaryDirectory() as temporary:
        for name, (script, format, dtype) in SYSTEMS.items():
            place = options.base
            if format:
                place = str((options.work or Path(temporary)) / f"{format}-{dtype}")
                export(options.base, format, dtype, Path(place))
            setup = script.format(place, scripts=str(Path(__file__).parent))
            results[name] = run(setup, files) | {"size": size_of(place)}
    reference = next(iter(results.values()))["texts"]
    rows = [row(name, result, reference, data, seconds) for name, result in results.items()]
    import onnxruntime
    import torch

    publish(
        f"# ONNX beside PyTorch and onnx-asr\n\n{made_by()}: base {options.base}, {len(data)} utterances of "
        f"{', '.join('/'.join(path.parts[-2:]) for path in options.data)}, {seconds:.0f} s, greedy search; "
        f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}. One core, and times are of that "
        f"core. Changes of the WER are relative to PyTorch in float32, with 95 % intervals.\n\n{HEADER}\n"
        + "\n".join(rows)
        + "\n",
        options.out,
    )


def export(base: str, format: str, dtype: str, out: Path) -> None:
    """`ia3-speech export`, unless the folder is there."""
    if not out.exists():
        words = ["--base", base, "--format", format, "--dtype", dtype, "--out", str(out)]
        subprocess.run([sys.executable, "-m", "ia3_speech.export", *words], check=True)


def run(setup: str, files: list[str]) -> dict[str, Any]:
    """What a system takes, and recognises."""
    script = CHILD.format(setup=setup)
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(files), stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(zip(("start_up", "inference", "texts"), json.loads(done.stdout), strict=True))


def size_of(place: str) -> float:
    """MiB of a folder; of `mini` that of its weights."""
    folder = base_folder(place)
    return sum(f.stat().st_size for f in folder.rglob("*") if f.suffix in (".onnx", ".safetensors")) / 2**20


def row(name: str, result: dict[str, Any], reference: list[str], data: DataDirectory, seconds: float) -> str:
    """A line of the table; `reference` are the texts of the first system."""
    texts, ids = result["texts"], [one.id for one in data]
    score = score_hypotheses(
        data, dict(zip(ids, texts, strict=True)), baseline=dict(zip(ids, reference, strict=True))
    )
    change, equal = score.changes["wer"], sum(map(str.__eq__, texts, reference))
    cells = [name, f"{result['size']:.0f}", f"{result['start_up']:.2f}"]
    cells += [f"{result['inference'] / seconds:.4f}", f"{equal} of {len(texts)}"]
    cells += [with_interval(score.wer, score.wer_ci)]
    cells += ["–" if texts is reference else with_interval(change.relative, change.relative_ci, signed=True)]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    command(main)
