"""Compare the WER of long recordings by each `--vad`.

    python scripts/bench_vad.py --data ../shared/data/read_english/dev --out scripts/bench_vad.md

The utterances of a speaker are joined to one long recording, with pauses of 0.3 to 4 s between them (drawn
with a fixed seed); then the same with pink noise at 15 dB. The comparison is with the utterances decoded one
by one.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmark import Page

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.scoring.scorer import score_hypotheses
from ia3_speech.scoring.table import Cell, Rate, markdown_table
from ia3_speech.search import SearchOptions
from ia3_speech.session import load

PAUSES = (0.3, 4.0)  # seconds
NOISE_DB = 15.0  # of speech above the noise
HEAD = ["recordings", "`--vad`", "WER %", "change %", "insertions %", "deletions %"]


def main(*, data: Path, page: Page, base: str = "mini", search: str = "beam") -> None:
    """Measure and write the table.

    Args:
        data: a data directory with audio and texts
        base: mini, a folder or a hub id
        search: greedy, or beam with the base's language model
    """
    directory = read_data_directory(data, spk_sort=False)
    waves = {utterance.id: load_audio(utterance.source) for utterance in directory}
    groups = directory.speakers
    joined = [
        replace(group[0], id=speaker, text=" ".join(utterance.text for utterance in group))
        for speaker, group in groups.items()
    ]
    long = DataDirectory(directory.path, joined)
    recognizer = load(base, precision="auto", search=SearchOptions(search)).recognizer
    rows = []
    for name, change in (("as read", lambda wave: wave), (f"noise at {NOISE_DB:g} dB", with_noise)):
        texts = recognizer.texts([change(waves[utterance.id]) for utterance in directory])
        single = dict(zip(waves, texts, strict=True))
        one_by_one = {name: " ".join(single[u.id] for u in group) for name, group in groups.items()}
        rows.append([name, "each utterance alone", *cells(long, one_by_one)])
        recordings = [join([waves[utterance.id] for utterance in group], change) for group in groups.values()]
        seconds = sum(map(len, recordings)) / SAMPLE_RATE
        for method in ("off", "energy", "silero"):
            texts = replace(recognizer, vad=method).texts(recordings)
            rows.append(["", method, *cells(long, dict(zip(groups, texts, strict=True)), one_by_one)])
    page.write(
        "Long recordings by `--vad`",
        f"base {recognizer.base.name}, {len(long)} recordings of a speaker each, {len(directory)} "
        f"utterances, {seconds / 60:.1f} minutes with pauses of {PAUSES[0]:g} to {PAUSES[1]:g} s, cut "
        f"into pieces of at most {recognizer.max_seconds:g} s. In brackets 95 % intervals over "
        "speakers; changes are relative to the utterances decoded one by one.",
        markdown_table(HEAD, rows),
    )


def join(waves: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """One recording of several, with silence between them and around."""
    rng = np.random.default_rng(0)

    def silence() -> np.ndarray:
        """Noise at -66 dB of full scale, as of a quiet room."""
        return rng.normal(0, 5e-4, round(rng.uniform(*PAUSES) * SAMPLE_RATE)).astype(np.float32)

    parts = [silence(), *(part for wave in waves for part in (wave, silence()))]
    return change(np.concatenate(parts))


def with_noise(wave: np.ndarray) -> np.ndarray:
    """The wave with pink noise, `NOISE_DB` below the power of its louder half."""
    rng = np.random.default_rng(len(wave))
    spectrum = np.fft.rfft(rng.normal(size=len(wave)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, len(wave))
    hops = np.square(wave[: len(wave) // 160 * 160].reshape(-1, 160)).mean(1)
    power = hops[hops > np.median(hops)].mean()
    noise *= np.sqrt(power * 10 ** (-NOISE_DB / 10) / np.square(noise).mean())
    return (wave + noise).astype(np.float32)


def cells(data: DataDirectory, texts: dict[str, str], baseline: dict[str, str] | None = None) -> list[Cell]:
    """WER, its change, insertions and deletions."""
    score = score_hypotheses(data, texts, baseline=baseline)
    shares = (Rate(count / score.words) for count in (score.insertions, score.deletions))
    return [score.rate(), score.change() if baseline else None, *shares]


if __name__ == "__main__":
    command(main)
