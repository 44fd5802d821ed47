"""How fast recognition is: transformers' pipeline, onnx-asr and ours on the same weights.

    python scripts/bench_decode.py --data data/test --out scripts/bench_decode.md
    pip install --no-deps pyctcdecode pygtrie kenlm openai-whisper tiktoken more-itertools    the rivals

Each system runs in its own process, on waveforms in memory, greedily and with the base's language model
(pyctcdecode in the pipeline; beams of 50, equal weights). A batch of the pipeline and of onnx-asr is a number
of utterances, in the directory's order; a batch of ours is a number of seconds, padding included, after
sorting. A rival that is not installed is left out, and the page says so.
"""

import gzip
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from benchmark import Page, in_child, log, machine, pipeline_of, seconds_of

from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.beam_search import BeamSearch, labels_of
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.base import load_base
from ia3_speech.model.location import MINI
from ia3_speech.model.precision import choose_precision
from ia3_speech.scoring.table import markdown_table

ONE_BY_ONE = 0
COUNTS = (ONE_BY_ONE, 4, 8)  # utterances in a batch of the pipeline and of onnx-asr
SECONDS = (ONE_BY_ONE, 10, 20, 40, 80)  # of padded audio in a batch of ours
Texts = Callable[[list[np.ndarray], int], list[str]]  # waveforms, the size of a batch → texts


def main(*, data: Path, page: Page, utterances: int = 40, base: str = "mini") -> None:
    """Measure and write the table.

    Args:
        data: Kaldi directory; its texts are not used
        utterances: number of utterances, evenly spaced
        base: mini, a folder or a hub id
    """
    waves = [
        load_utterance(utterance) for utterance in evenly_spaced([*read_data_directory(data)], utterances)
    ]
    audio = sum(map(len, waves)) / SAMPLE_RATE
    systems: dict[str, tuple[Callable[[str, str], Texts], Sequence[int]]] = {
        "transformers' pipeline, fp32": (pipeline_texts, COUNTS),
        "onnx-asr, fp32": (onnx_asr_texts, COUNTS),
        **{f"ours, {precision}": (our_texts, SECONDS) for precision in ("fp32", "bf16", "auto")},
    }
    if base == "mini":  # it comes with a language model
        systems["transformers' pipeline with pyctcdecode, fp32"] = (pipeline_texts, COUNTS[:1])
        for precision in ("fp32", "bf16", "auto"):
            systems[f"ours with the language model, {precision}"] = (our_texts, (ONE_BY_ONE, 40))
    rows, of_pipeline = [], []
    for name, (make, sizes) in systems.items():
        times, texts = in_child(measure, make, name, base, sizes, waves)
        if not times:
            rows.append([name, "", "", texts])
            continue
        of_pipeline = texts if make is pipeline_texts else of_pipeline
        speeds = ", ".join(f"{size or 'one'}: {audio / t:.1f}" for size, t in zip(sizes, times, strict=True))
        equal = f"{sum(map(str.__eq__, texts, of_pipeline))} of {len(waves)}"
        rows.append([name, speeds, f"{audio / min(times):.1f}", equal])
        log(f"{rows[-1]}")
    head = ["system", "batch (utterances; ours: seconds): times real time", "fastest"]
    head.append("texts as the pipeline's")
    setup = f"base {base}, {len(waves)} utterances, {audio:.0f} s, {machine()}"
    page.write("Recognition", setup, markdown_table(head, rows))


def measure(
    make: Callable[[str, str], Texts], name: str, base: str, sizes: Sequence[int], waves: list[np.ndarray]
) -> tuple[list[float], list[str] | str]:
    """Seconds for each size of batch, and the texts; no seconds and the reason if the system is missing."""
    try:
        texts = make(name, base)
    except ImportError as error:
        return [], f"left out: {error}"
    texts(waves[:2], sizes[0])
    outputs: list[list[str]] = []
    times = [seconds_of(lambda size=size: outputs.append(texts(waves, size))) for size in sizes]
    return times, [text.lower() for text in outputs[-1]]


def pipeline_texts(name: str, base: str) -> Texts:
    """transformers' pipeline, with pyctcdecode if the name says so."""
    loaded, decoder = load_base(base), None
    if "pyctcdecode" in name:
        import kenlm  # noqa: F401  (pyctcdecode starts without it)
        from pyctcdecode import build_ctcdecoder

        arpa = Path(tempfile.mkdtemp()) / "lm.arpa"  # pyctcdecode reads the words of a plain file only
        with gzip.open(MINI / "lm.arpa.gz") as source, arpa.open("wb") as target:
            shutil.copyfileobj(source, target)
        written = labels_of(loaded.vocabulary)
        names = {column: token for token, column in loaded.vocabulary.tokens.items()}
        labels = [written.get(column, names[column]) for column in range(loaded.model.config.vocab_size)]
        decoder = build_ctcdecoder(labels, str(arpa), alpha=0.5, beta=1.5)
    recognize = pipeline_of(loaded.model, loaded.processor, decoder=decoder)
    beams = {"decoder_kwargs": {"beam_width": 50}} if decoder else {}
    return lambda waves, size: [each["text"] for each in recognize([*waves], batch_size=size or 1, **beams)]


def onnx_asr_texts(_: str, base: str) -> Texts:
    """onnx-asr, on the files of `ia3-speech export --format onnx-asr`."""
    from onnx_asr_model import load_onnx_asr

    folder = Path(tempfile.mkdtemp()) / "graph"
    words = ["--base", base, "--format", "onnx-asr", "--out", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "ia3_speech", "export", *words], check=True, stdout=subprocess.DEVNULL
    )
    recognize = load_onnx_asr(folder)

    def texts(waves: list[np.ndarray], size: int) -> list[str]:
        batches = (waves[first : first + (size or 1)] for first in range(0, len(waves), size or 1))
        return [text for batch in batches for text in recognize(batch)]

    return texts


def our_texts(name: str, base: str) -> Texts:
    """Our recogniser, as `ia3-speech decode` makes it; like the others, without word times."""
    loaded = load_base(base)
    precision = name.rpartition(" ")[2].replace("fp32", "no")
    loaded.precision, _ = choose_precision(precision, loaded.model, loaded.dtype)
    search = BeamSearch(loaded.vocabulary, MINI / "lm.arpa.gz") if "language model" in name else None

    return lambda waves, size: Recognizer(loaded, search=search, batch_seconds=size or 1e-3).texts(waves)


if __name__ == "__main__":
    command(main)
