"""How fast live transcription is: the real-time factor, and how long after the speech its text appears.

    python scripts/bench_streaming.py --audio ../shared/data/librispeech_237 --out scripts/bench_streaming.md

Recordings of a sentence each are joined with a second of silence. Portions of 0.1 s arrive by a simulated
clock: the model's computing time is measured, in CPU time of one thread, and the audio that arrives meanwhile
is fed next (as `ia3-speech live` does). The end of speech is the last speech of the stream's own detector.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from benchmark import Page

from ia3_speech.cli import command
from ia3_speech.data.audio import AUDIO_SUFFIXES, SAMPLE_RATE, load_audio
from ia3_speech.decoding.long_recordings import SEARCH_SECONDS
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.errors import UserError
from ia3_speech.live.streaming import PAUSE_SECONDS, StreamingRecognizer
from ia3_speech.scoring.table import markdown_table
from ia3_speech.session import load

PORTION = SAMPLE_RATE // 10  # samples that arrive at once
HEAD = [
    "partial texts every", "pieces", "real-time factor", "final text after the end of speech, s: median",
    "90 %", "of this computed, s: median", "age of a partial text, s: median", "90 %",
]  # fmt: skip


@dataclass
class Measured:
    """Seconds of one run over the stream. A piece that was cut because it was too long has no latency."""

    computed: float = 0.0  # by the model, in all
    latencies: list[float] = field(default_factory=list)  # of each final text, from the end of speech
    computing: list[float] = field(default_factory=list)  # the computing part of each latency
    ages: list[float] = field(default_factory=list)  # of each partial text, from the last audio it contains


def main(*, audio: Path, page: Page, base: str = "mini", seconds: float = 120.0) -> None:
    """Measure and write the table.

    Args:
        audio: a folder of recordings, a sentence each
        base: mini, a folder or a hub id
        seconds: of recordings that are used, at most
    """
    torch.set_num_threads(1)
    wave, number = joined(audio, seconds)
    duration = len(wave) / SAMPLE_RATE
    recognizer = load(base, device="cpu").recognizer
    recognizer.texts([wave[:SAMPLE_RATE]])  # the first call is slower than all others
    rows = []
    for partial in (0.5, 1.0, None):
        measured = measure(recognizer, wave, partial)
        row = [f"{partial:g} s" if partial else "none", len(measured.latencies)]
        row += [f"{measured.computed / duration:.3f}", *median_and_90(measured.latencies)]
        rows.append([*row, f"{median(measured.computing):.2f}", *median_and_90(measured.ages)])
    page.write(
        "Live transcription",
        f"base {recognizer.base.name}, search {recognizer.search_record['search']}, one CPU thread, "
        f"torch {torch.__version__}, {number} recordings, {duration:.0f} s with silence; a piece ends after "
        f"{PAUSE_SECONDS:g} s of pause.",
        markdown_table(HEAD, rows),
    )


def joined(folder: Path, seconds: float) -> tuple[np.ndarray, int]:
    """The first recordings of a folder, each followed by a second of silence; and their number."""
    parts, left = [], seconds
    for file in sorted(file for file in folder.rglob("*") if file.suffix in AUDIO_SUFFIXES):
        wave = load_audio(file)
        left -= len(wave) / SAMPLE_RATE
        if parts and left < 0:
            break
        parts += [wave, np.zeros(SAMPLE_RATE, np.float32)]
    if not parts:
        raise UserError(f"{folder}: no recordings")
    return np.concatenate(parts), len(parts) // 2


def measure(recognizer: Recognizer, wave: np.ndarray, partial: float | None) -> Measured:
    """Feed the stream by the simulated clock."""
    stream = StreamingRecognizer(recognizer, partial_seconds=partial)
    measured, now, first = Measured(), 0.0, 0
    while first < len(wave):
        now = max(now, min(first + PORTION, len(wave)) / SAMPLE_RATE)  # until there is something
        end = min(max(first + PORTION, int(now * SAMPLE_RATE) // PORTION * PORTION), len(wave))
        started = time.process_time()
        events = stream.feed(wave[first:end])
        computed = time.process_time() - started
        measured.computed += computed
        now, first = now + computed, end
        for event in events:
            if not event.final:
                measured.ages.append(now - event.end)
            elif event.end - event.start < stream.limit_seconds - SEARCH_SECONDS:  # else it was too long
                measured.latencies.append(now - (event.end - PAUSE_SECONDS / 2))
                measured.computing.append(computed)
    return measured


def median_and_90(values: list[float]) -> list[str]:
    """The median and the 90th percentile."""
    return [f"{median(values):.2f}", f"{quantiles(values, n=10)[-1]:.2f}"] if len(values) > 1 else ["–", "–"]


if __name__ == "__main__":
    command(main)
