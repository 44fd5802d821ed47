"""How fast live transcription is: the real-time factor, and when a text comes after what was said.

    python scripts/bench_streaming.py --audio ../shared/data/librispeech_237 --out scripts/bench_streaming.md

In: recordings, a sentence each, joined with a second of silence. Out: a Markdown table. Portions of 0.1 s
arrive by a clock that is simulated: what the model needs is measured, and what arrives meanwhile is fed next
(as `transcribe --live` does). It is measured as CPU time of one thread, so that other programs on the machine
count little. The end of speech is where the stream's own detector heard the last of it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from bench_page import made_by, publish

from ia3_speech.cli import command
from ia3_speech.data.audio import AUDIO_SUFFIXES, SAMPLE_RATE, load_audio
from ia3_speech.decoding.long_recordings import SEARCH_SECONDS
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.errors import UserError
from ia3_speech.live.streaming import PAUSE_SECONDS, StreamingRecognizer
from ia3_speech.session import load

PORTION_SECONDS = 0.1  # that arrive at once
HEADER = """\
| partial texts every | pieces | real-time factor | final text after the end of speech, s: median | 90 % | \
of this computed, s: median | age of a partial text, s: median | 90 % |
|---|---:|---:|---:|---:|---:|---:|---:|"""


@dataclass
class Options:
    """Options of one run.

    Args:
        audio: a folder of recordings, a sentence each
        base: a base as everywhere
        adapter: an adapter as everywhere
        seconds: of recordings that are used, at most
        pause: seconds without speech that end a piece
        out: where the Markdown goes; it is printed in any case
    """

    audio: Path
    base: str = "mini"
    adapter: str | None = None
    seconds: float = 120.0
    pause: float = PAUSE_SECONDS
    out: Path | None = None


@dataclass
class Measured:
    """Of one run over the stream, in seconds. A piece that was cut because it was too long has no latency.

    Attributes:
        computed: by the model, in all.
        latencies: of each final text, from the end of speech.
        computing: the part of each that was spent computing, not waiting for the pause.
        ages: of each partial text, from the last audio that it knows.
    """

    computed: float
    latencies: list[float]
    computing: list[float]
    ages: list[float]


def main(options: Options) -> None:
    torch.set_num_threads(1)
    wave, number = joined(options.audio, options.seconds)
    recognizer = load(options.base, adapter=options.adapter, device="cpu").recognizer
    recognizer.texts([wave[:SAMPLE_RATE]])  # the first call is slower than all others
    rows = []
    for seconds in (0.5, 1.0, None):
        found = measure(recognizer, wave, options.pause, seconds)
        rows.append(row(found, len(wave) / SAMPLE_RATE, seconds))
    what = [f"base {recognizer.base.name}", f"search {recognizer.search_record['search']}", "one CPU thread"]
    what += [
        f"torch {torch.__version__}",
        f"{number} recordings",
        f"{len(wave) / SAMPLE_RATE:.0f} s with silence",
    ]
    call = f"{made_by()}: {', '.join(what)}; a piece ends after {options.pause:g} s of pause."
    publish("\n".join(["# Live transcription", "", call, "", HEADER, *rows, ""]), options.out)


def joined(folder: Path, seconds: float) -> tuple[np.ndarray, int]:
    """The first recordings of a folder, each followed by a second of silence; and how many they are."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in AUDIO_SUFFIXES)
    if not files:
        raise UserError(f"{folder}: no recordings")
    parts, left = [], seconds
    for file in files:
        wave = load_audio(file)
        left -= len(wave) / SAMPLE_RATE
        if parts and left < 0:
            break
        parts += [wave, np.zeros(SAMPLE_RATE, np.float32)]
    return np.concatenate(parts), len(parts) // 2


def measure(recognizer: Recognizer, wave: np.ndarray, pause: float, partial: float | None) -> Measured:
    """Feed the stream by the simulated clock."""
    stream = StreamingRecognizer(recognizer, pause_seconds=pause, partial_seconds=partial)
    found, now, first = Measured(0.0, [], [], []), 0.0, 0
    portion = round(PORTION_SECONDS * SAMPLE_RATE)
    while first < len(wave):
        now = max(now, min(first + portion, len(wave)) / SAMPLE_RATE)  # until there is something
        end = min(max(first + portion, int(now * SAMPLE_RATE) // portion * portion), len(wave))
        started = time.process_time()
        events = stream.feed(wave[first:end])
        computed = time.process_time() - started
        found.computed += computed
        now, first = now + computed, end
        for event in events:
            if not event.final:
                found.ages.append(now - event.end)
            elif event.end - event.start < stream.limit_seconds - SEARCH_SECONDS:  # else it was too long
                found.latencies.append(now - (event.end - pause / 2))
                found.computing.append(computed)
    return found


def row(found: Measured, seconds: float, partial: float | None) -> str:
    """A line of the table."""
    cells = ["none" if partial is None else f"{partial:g} s", str(len(found.latencies))]
    cells += [f"{found.computed / seconds:.3f}", *median_and_most(found.latencies)]
    cells += [f"{median(found.computing):.2f}", *median_and_most(found.ages)]
    return f"| {' | '.join(cells)} |"


def median_and_most(values: list[float]) -> list[str]:
    """The median, and what 90 % of the values do not exceed."""
    return [f"{median(values):.2f}", f"{quantiles(values, n=10)[-1]:.2f}"] if len(values) > 1 else ["–", "–"]


if __name__ == "__main__":
    command(main)
