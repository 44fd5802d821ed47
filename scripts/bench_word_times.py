"""How accurate word times are.

    python scripts/bench_word_times.py ../shared/data/english_sentences.txt --out scripts/bench_word_times.md

Sentences are spoken by espeak-ng, which tells when each word begins, in recordings of 20 sentences between
pauses; the words that were recognised right are compared. An end is compared with the start of the next word
where espeak-ng leaves no pause between them. scripts/bench_confidence.py does the same for confidences.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_page import made_by, publish

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, resample
from ia3_speech.data.corpora.espeak import ESPEAK_SAMPLE_RATE, PEAK, Espeak
from ia3_speech.data.text import normalize
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.scoring.alignment import SCLITE, align
from ia3_speech.search import SearchOptions
from ia3_speech.session import load

VOICES = ("en-us", "en-gb-x-rp", "en-us+f2", "en+m3", "en-gb-scotland")
SENTENCES_OF_RECORDING = 20
PAUSE_SECONDS = 0.8  # around each sentence
LARGEST_GAP = 0.15  # seconds: an end further from the next start is before a pause


@dataclass(frozen=True)
class SpokenWord:
    """A word of the synthetic recordings, and when it begins, in seconds; None where espeak-ng has run it
    together with the word before."""

    text: str
    start: float | None


def main(
    sentences: Path,
    base: str = "mini",
    lm: Path | None = None,
    recordings: int = 3,
    vad: str = "energy",
    out: Path | None = None,
) -> None:
    """Measure and write a table.

    Args:
        sentences: a text file, a sentence a line
        base: mini, a folder or a hub id
        lm: a language model, for beam search (default: greedy search)
        recordings: of 20 sentences each
        vad: off, energy or silero
        out: where the Markdown goes; it is printed in any case
    """
    options = SearchOptions(lm=lm) if lm else SearchOptions("greedy")
    recognizer = load(base, search=options, vad=vad).recognizer
    errors = [time_errors(recognizer, *speak(sentences, number)) for number in range(recordings)]
    starts, ends = (np.abs(np.concatenate(kind)) * 1000 for kind in zip(*errors, strict=True))
    rows = [
        f"| {name} | {len(found)} | {np.median(found):.0f} ms | {np.percentile(found, 90):.0f} ms |\n"
        for name, found in (("error of starts", starts), ("error of ends", ends))
    ]
    about = (
        f"{made_by()}: base {recognizer.base.name}, {recognizer.search_record['search']} search, "
        f"{recordings} recordings of {SENTENCES_OF_RECORDING} sentences, spoken by espeak-ng in "
        f"{len(VOICES)} voices, which tells when each word begins; of the words that were recognised right. "
        f"An end is compared with the start of the next word where espeak-ng leaves no pause between them."
    )
    table = "| | words | median | 90th percentile |\n|---|---:|---:|---:|\n" + "".join(rows)
    publish(f"# Word times\n\n{about}\n\n{table}", out)


def speak(sentences: Path, number: int) -> tuple[np.ndarray, list[SpokenWord]]:
    """A recording of 20 sentences, and its words."""
    rng, espeak = np.random.default_rng(number), Espeak()
    lines = [normalize(line) for line in sentences.read_text("utf-8").splitlines()]
    lines = [line for line in lines if 20 < len(line) < 90]
    waves, words, seconds = [], [], 0.0
    for line, voice in zip(rng.choice(lines, SENTENCES_OF_RECORDING, replace=False), 4 * VOICES, strict=True):
        wave = resample(
            espeak.speak(str(line), voice, int(rng.integers(140, 180))), ESPEAK_SAMPLE_RATE, SAMPLE_RATE
        )
        begins = {first: seconds + PAUSE_SECONDS + at for first, _, at in espeak.words}
        position = 0
        for word in line.split():
            words.append(SpokenWord(word, begins.get(position)))
            position += len(word) + 1
        waves.append(np.pad(wave * (PEAK / np.abs(wave).max()), round(PAUSE_SECONDS * SAMPLE_RATE)))
        seconds += len(waves[-1]) / SAMPLE_RATE
    whole = np.concatenate(waves)
    return (whole + rng.normal(0, 1e-3, len(whole))).astype(np.float32), words


def time_errors(
    recognizer: Recognizer, wave: np.ndarray, spoken: list[SpokenWord]
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds by which starts and ends of words that were recognised right are late."""
    found = recognizer.recognize([wave], with_words=True)[0].words
    starts, ends, previous, r, h = [], [], None, 0, 0
    for reference, hypothesis in align([w.text for w in spoken], [w.text for w in found], SCLITE):
        if reference == hypothesis and spoken[r].start is not None:
            starts.append(found[h].start - spoken[r].start)
            if previous is not None and abs(previous - spoken[r].start) < LARGEST_GAP:
                ends.append(previous - spoken[r].start)
        previous = found[h].end if reference == hypothesis else None
        r, h = r + (reference is not None), h + (hypothesis is not None)
    return np.array(starts), np.array(ends)


if __name__ == "__main__":
    command(main)
