"""ONNX beside PyTorch, and beside onnx-asr on the same weights: size, start-up, speed, texts, WER.

    python scripts/bench_onnx.py --data ../shared/data/minds14/test --out scripts/bench_onnx.md

Each system runs in its own process, bound to one core, one utterance at a time. Times are seconds of that
core: start-up from the interpreter's start to the text of a first second of audio, and the real-time factor
of the rest. Texts are by greedy search.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from benchmark import Page

from ia3_speech.common.cli import command
from ia3_speech.data.audio import audio_duration
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory
from ia3_speech.model.location import base_folder
from ia3_speech.scoring.record import score_hypotheses
from ia3_speech.scoring.table import markdown_table

# Code that defines `texts`, a function of a list of waveforms, in the process of a system; {0} is the base,
# or the folder of the graph that `ia3-speech export` wrote with the format and the dtype beside it.
PYTORCH = """
from ia3_speech import load
from ia3_speech.decoding.search import SearchOptions
texts = load({0!r}, search=SearchOptions(search="greedy")).recognizer.texts"""
GRAPH = """
import ia3_speech.onnx
texts = ia3_speech.onnx.load({0!r}).recognizer.texts"""
ONNX_ASR = """
import sys; sys.path.insert(0, {scripts!r})
from onnx_asr_model import load_onnx_asr
texts = load_onnx_asr({0!r})"""
SYSTEMS: dict[str, tuple[str, str, str]] = {  # name → code, export format, dtype
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
hypotheses = [texts([wave])[0] for wave in waves]
print(json.dumps([started, time.process_time() - before, hypotheses]))
"""


def main(
    *, data: list[Path], page: Page, utterances: int = 100, longest: float = 30.0, base: str = "mini",
    work: Path | None = None,
) -> None:  # fmt: skip
    """Measure and write the table.

    Args:
        data: data directories with audio and texts
        utterances: number of utterances, evenly spaced
        longest: seconds; longer utterances are left out
        base: mini, a folder or a hub id
        work: folder that keeps the graphs; existing graphs are not written again (default: nowhere)
    """
    every = [each for path in data for each in read_data_directory(path, spk_sort=False)]
    every = [each for each in every if audio_duration(each.source) <= longest]
    chosen = DataDirectory(data[0], evenly_spaced(every, utterances))
    files = [str(utterance.source) for utterance in chosen]
    seconds, rows, reference = sum(map(audio_duration, files)), [], {}
    with TemporaryDirectory() as temporary:
        for name, (code, format, dtype) in SYSTEMS.items():
            place = base
            if format:
                place = str((work or Path(temporary)) / f"{format}-{dtype}")
                words = ["--base", base, "--format", format, "--dtype", dtype, "--out", place]
                if not Path(place).exists():
                    line = [sys.executable, "-m", "ia3_speech", "export", *words]
                    subprocess.run(line, check=True, stdout=sys.stderr)
            code = code.format(place, scripts=str(Path(__file__).parent))
            startup, inference, hypotheses = run(code, files)
            texts = dict(zip((utterance.id for utterance in chosen), hypotheses, strict=True))
            reference = reference or texts
            score = score_hypotheses(chosen, texts, baseline=reference)
            files_of = [f for f in base_folder(place).rglob("*") if f.suffix in (".onnx", ".safetensors")]
            size = sum(file.stat().st_size for file in files_of)
            equal = sum(texts[id] == reference[id] for id in texts)
            row = [name, f"{size / 2**20:.0f}", f"{startup:.2f}", f"{inference / seconds:.4f}"]
            change = None if texts is reference else score.change()
            rows.append([*row, f"{equal} of {len(texts)}", score.rate(), change])
    head = ["system", "size, MiB", "start-up, s", "real-time factor", "texts as PyTorch's", "WER %"]
    page.write(
        "ONNX beside PyTorch and onnx-asr",
        f"base {base}, {len(files)} utterances of {', '.join('/'.join(path.parts[-2:]) for path in data)}, "
        f"{seconds:.0f} s, greedy search; torch {torch.__version__}, onnxruntime {onnxruntime.__version__}. "
        "Times are of one core. Changes of the WER are relative to PyTorch in float32, with 95 % intervals.",
        markdown_table([*head, "change %"], rows),
    )


def run(setup: str, files: list[str]) -> list[Any]:
    """Seconds of start-up, seconds of recognition, and the texts of a system."""
    words = [sys.executable, "-c", CHILD.format(setup=setup)]
    done = subprocess.run(words, input=json.dumps(files), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    command(main)
