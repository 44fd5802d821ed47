"""How fast recognition is: transformers' pipeline, onnx-asr and ours on the same weights.

    python scripts/bench_decode.py --data data/test --out scripts/bench_decode.md
    pip install --no-deps pyctcdecode pygtrie kenlm openai-whisper tiktoken more-itertools    the rivals

In: a Kaldi directory of short utterances. Out: Markdown tables. Each system runs in a process of its own, on
waveforms that are in memory, greedily and with the base's language model (pyctcdecode in the pipeline; beams
of 50, weights alike). The pipeline and onnx-asr are told how many utterances a batch has, in the directory's
order, as their users do; ours how many seconds, padding included, after sorting. A rival that is not
installed is left out, and the page says so.
"""

import gzip
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
from bench_page import in_child, machine, made_by, publish

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.beam_search import BeamSearch, labels_of
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.base import load_base
from ia3_speech.model.location import MINI
from ia3_speech.model.precision import choose_precision

ONE_BY_ONE = 0
Texts = Callable[[list[np.ndarray], int], list[str]]  # waveforms, the size of a batch → texts


@dataclass
class Options:
    """Options of one run.

    Args:
        data: Kaldi directory; its texts are not used
        utterances: so many of it, spread over it
        base: a base as everywhere
        counts: utterances in a batch of the pipeline and of onnx-asr; 0: one by one, without batches
        seconds: of padded audio in a batch of ours; 0: one by one
        starts: how often each command is started
        out: where the Markdown goes; it is printed in any case
    """

    data: Path
    utterances: int = 40
    base: str = "mini"
    counts: list[int] = field(default_factory=lambda: [ONE_BY_ONE, 4, 8])
    seconds: list[int] = field(default_factory=lambda: [ONE_BY_ONE, 10, 20, 40, 80])
    starts: int = 3
    out: Path | None = None


def main(options: Options) -> None:
    """Measure and write the tables."""
    utterances = list(read_data_directory(options.data))
    chosen = utterances[:: max(1, len(utterances) // options.utterances)][: options.utterances]
    waves = [load_utterance(utterance) for utterance in chosen]
    audio = sum(map(len, waves)) / SAMPLE_RATE
    systems: dict[str, tuple[Callable[..., Texts], list[int]]] = {
        "transformers' pipeline, fp32": (pipeline_texts, options.counts),
        "onnx-asr, fp32": (onnx_asr_texts, options.counts),
        "ours, fp32": (our_texts, options.seconds),
        "ours, bf16": (our_texts, options.seconds),
        "ours, auto": (our_texts, options.seconds),
    }
    if options.base == "mini":  # it comes with a language model
        systems["transformers' pipeline with pyctcdecode, fp32"] = (pipeline_texts, options.counts[:1])
        systems["ours with the language model, fp32"] = (our_texts, [ONE_BY_ONE, 40])
        systems["ours with the language model, bf16"] = (our_texts, [ONE_BY_ONE, 40])
        systems["ours with the language model, auto"] = (our_texts, [ONE_BY_ONE, 40])
    rows, first = [], []
    for name, (make, sizes) in systems.items():
        times, texts = in_child(measure, make, name, sizes, waves, options)
        if times and name.startswith("transformers"):
            first = texts
        cells = [
            f"{size or 'one'}: {audio / seconds:.1f}" for size, seconds in zip(sizes, times, strict=False)
        ]
        fastest = f"{audio / min(times):.1f}" if times else ""
        same = f"{sum(map(str.__eq__, texts, first))} of {len(first)}" if times else texts
        rows.append(f"| {name} | {', '.join(cells)} | {fastest} | {same} |")
        print(rows[-1], file=sys.stderr, flush=True)
    page = [
        f"# Recognition\n\n{made_by()}: base {options.base}, {len(waves)} utterances, {audio:.0f} s, "
        f"{machine()}\n",
        "| system | batch (utterances; ours: seconds): times real time | fastest | texts as the pipeline's |",
        "|---|---|---:|---:|",
    ]
    publish("\n".join([*page, *rows, "", *start_table(waves[0], options)]), options.out)


def measure(
    make: Callable[..., Texts], name: str, sizes: list[int], waves: list[np.ndarray], options: Options
) -> tuple[list[float], list[str] | str]:
    """Seconds for each size of batch, and the texts; none and the reason, where the system is not there."""
    try:
        texts = make(name, options)
    except ImportError as error:
        return [], f"left out: {error}"
    texts(waves[:2], sizes[0])
    times = []
    for size in sizes:
        started = time.perf_counter()
        found = texts(waves, size)
        times.append(time.perf_counter() - started)
    return times, [text.lower() for text in found]


def pipeline_texts(name: str, options: Options) -> Texts:
    """transformers' pipeline, with pyctcdecode where the name has it."""
    from transformers import pipeline

    base, decoder = load_base(options.base), None
    if "pyctcdecode" in name:
        import kenlm  # noqa: F401  (pyctcdecode starts without it)
        from pyctcdecode import build_ctcdecoder

        arpa = Path(tempfile.mkdtemp()) / "lm.arpa"  # it reads the words of a plain file alone
        with gzip.open(MINI / "lm.arpa.gz") as source, arpa.open("wb") as target:
            shutil.copyfileobj(source, target)
        written = labels_of(base.vocabulary)
        names = {column: token for token, column in base.vocabulary.tokens.items()}
        labels = [written.get(column, names[column]) for column in range(base.model.config.vocab_size)]
        decoder = build_ctcdecoder(labels, str(arpa), alpha=0.5, beta=1.5)
    parts = {"tokenizer": base.processor.tokenizer, "feature_extractor": base.processor.feature_extractor}
    recognize = pipeline("automatic-speech-recognition", base.model, decoder=decoder, **parts)
    beams = {"decoder_kwargs": {"beam_width": 50}} if decoder else {}

    def texts(waves: list[np.ndarray], size: int) -> list[str]:
        return [found["text"] for found in recognize(list(waves), batch_size=size or 1, **beams)]

    return texts


def onnx_asr_texts(_: str, options: Options) -> Texts:
    """onnx-asr, on what `ia3-speech export --format onnx-asr` writes."""
    from onnx_asr_model import load_onnx_asr

    folder = Path(tempfile.mkdtemp()) / "graph"
    words = ["--base", options.base, "--format", "onnx-asr", "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "ia3_speech.export", *words], check=True, stdout=subprocess.DEVNULL)
    recognize = load_onnx_asr(folder)
    return lambda waves, size: [
        text
        for first in range(0, len(waves), size or 1)
        for text in recognize(waves[first : first + (size or 1)])
    ]


def our_texts(name: str, options: Options) -> Texts:
    """A recogniser, as `ia3-speech decode` has it; without times of words, as the others."""
    base = load_base(options.base)
    asked = {"fp32": "no"}.get(kind := name.rpartition(" ")[2], kind)
    base.precision, _ = choose_precision(asked, base.model, base.dtype)
    search = BeamSearch(base.vocabulary, MINI / "lm.arpa.gz") if "language model" in name else None

    def texts(waves: list[np.ndarray], seconds: int) -> list[str]:
        recognizer = Recognizer(base, search=search, batch_seconds=seconds or 1e-3)
        return recognizer.texts(waves)

    return texts


def start_table(wave: np.ndarray, options: Options) -> list[str]:
    """Seconds from a command's start to its end: its help, which each has without a model; and ours, of a
    second of audio."""
    audio = Path(tempfile.mkdtemp()) / "second.wav"
    soundfile.write(audio, wave[:SAMPLE_RATE], SAMPLE_RATE)
    ours = [sys.executable, "-m", "ia3_speech.transcribe"]
    commands = {
        "ia3-speech transcribe --help": [*ours, "--help"],
        "onnx-asr --help": [sys.executable, "-c", "import onnx_asr.cli; onnx_asr.cli.main()", "--help"],
        "whisper --help": [sys.executable, "-m", "whisper.transcribe", "--help"],
        "ia3-speech transcribe second.wav": [*ours, str(audio)],
        "ia3-speech transcribe --search greedy second.wav": [*ours, "--search", "greedy", str(audio)],
    }
    lines = ["| command | seconds, median of " + f"{options.starts} | least |", "|---|---:|---:|"]
    for name, words in commands.items():
        if not find_spec(words[2].removeprefix("import ").partition(".")[0]):
            lines.append(f"| `{name}` | not installed | |")
            continue
        times = []
        for _ in range(options.starts):
            started = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - started)
        lines.append(f"| `{name}` | {median(times):.2f} | {min(times):.2f} |")
    return [*lines, ""]


if __name__ == "__main__":
    command(main)
