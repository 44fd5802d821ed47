"""How accurate word times are.

    python scripts/bench_word_times.py ../shared/data/english_sentences.txt --out scripts/bench_word_times.md

espeak-ng speaks the sentences, and reports when each word begins, in recordings of 20 sentences between
pauses. Words that were recognised correctly are measured; an end is compared with the start of the next word
where espeak-ng leaves no pause between them.
"""

from pathlib import Path

import numpy as np
from benchmark import Page
from espeak import ESPEAK_SAMPLE_RATE, PEAK, Espeak

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, resample
from ia3_speech.data.text import normalize
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.scoring.alignment import SCLITE, align
from ia3_speech.scoring.table import markdown_table
from ia3_speech.search import SearchOptions
from ia3_speech.session import load

VOICES = ("en-us", "en-gb-x-rp", "en-us+f2", "en+m3", "en-gb-scotland")
SENTENCES_OF_RECORDING = 20
PAUSE_SECONDS = 0.8  # around each sentence
MAX_GAP = 0.15  # seconds: an end further from the next start is before a pause


Spoken = tuple[str, float | None]  # a word and its start in seconds; None where espeak-ng joined it to the
# word before


def main(sentences: Path, *, page: Page, base: str = "mini", recordings: int = 3) -> None:
    """Measure and write the table.

    Args:
        sentences: a text file, a sentence a line
        base: mini, a folder or a hub id
        recordings: of 20 sentences each
    """
    recognizer = load(base, search=SearchOptions("greedy"), options=LoadOptions(vad="energy")).recognizer
    errors = [time_errors(recognizer, *speak(sentences, number)) for number in range(recordings)]
    rows = []
    for name, parts in zip(("error of starts", "error of ends"), zip(*errors, strict=True), strict=True):
        milliseconds = 1000 * np.abs(np.concatenate(parts))
        percentiles = (f"{np.percentile(milliseconds, share):.0f} ms" for share in (50, 90))
        rows.append([name, len(milliseconds), *percentiles])
    page.write(
        "Word times",
        f"base {recognizer.base.name}, greedy search, {recordings} recordings "
        f"of {SENTENCES_OF_RECORDING} sentences spoken by espeak-ng in {len(VOICES)} voices; words that were "
        "recognised correctly.",
        markdown_table(["", "words", "median", "90th percentile"], rows),
    )


def speak(sentences: Path, number: int) -> tuple[np.ndarray, list[Spoken]]:
    """A recording of 20 sentences, and its words."""
    rng, espeak = np.random.default_rng(number), Espeak()
    lines = [normalize(line) for line in sentences.read_text("utf-8").splitlines()]
    lines = [line for line in lines if 20 < len(line) < 90]
    waves, words, seconds = [], [], 0.0
    for line, voice in zip(rng.choice(lines, SENTENCES_OF_RECORDING, replace=False), 4 * VOICES, strict=True):
        wave = espeak.speak(str(line), voice, int(rng.integers(140, 180)))
        wave = resample(wave, ESPEAK_SAMPLE_RATE, SAMPLE_RATE)
        starts = {first: seconds + PAUSE_SECONDS + at for first, _, at in espeak.words}
        position = 0
        for word in line.split():
            words.append((word, starts.get(position)))
            position += len(word) + 1
        waves.append(np.pad(wave * (PEAK / np.abs(wave).max()), round(PAUSE_SECONDS * SAMPLE_RATE)))
        seconds += len(waves[-1]) / SAMPLE_RATE
    whole = np.concatenate(waves)
    return (whole + rng.normal(0, 1e-3, len(whole))).astype(np.float32), words


def time_errors(
    recognizer: Recognizer, wave: np.ndarray, spoken: list[Spoken]
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds by which starts and ends of correctly recognised words are late."""
    recognized = recognizer.recognize([wave], with_words=True)[0].words
    starts, ends, previous, r, h = [], [], None, 0, 0
    for reference, hypothesis in align([word for word, _ in spoken], [w.text for w in recognized], SCLITE):
        start = spoken[r][1] if reference == hypothesis else None
        if start is not None:
            starts.append(recognized[h].start - start)
            if previous is not None and abs(previous - start) < MAX_GAP:
                ends.append(previous - start)
        previous = recognized[h].end if reference == hypothesis else None
        r, h = r + (reference is not None), h + (hypothesis is not None)
    return np.array(starts), np.array(ends)


if __name__ == "__main__":
    command(main)
