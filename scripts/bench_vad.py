"""What finding speech in long recordings costs or gains: WER by each `--vad`.

    python scripts/bench_vad.py --data ../shared/data/read_english/dev --out scripts/bench_vad.md

In: a data directory of short utterances. Out: a Markdown table. The utterances of a speaker are joined to
one long recording, with pauses of 0.3 to 4 s between them (drawn with a fixed seed); then the same with pink
noise at a signal-to-noise ratio of 15 dB. The reference is the joined texts, and the comparison is with the
utterances decoded one by one, as somebody would cut them who knows where they begin.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bench_page import made_by, publish

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.formatting import percent, with_interval
from ia3_speech.scoring.scorer import score_hypotheses
from ia3_speech.search import SearchOptions
from ia3_speech.session import load

PAUSES = (0.3, 4.0)  # seconds
NOISE_DB = 15.0  # of speech above the noise
HEADER = """\
| recordings | `--vad` | WER % | change % | insertions % | deletions % |
|---|---|---:|---:|---:|---:|"""


@dataclass
class Options:
    """Options of one run.

    Args:
        data: a data directory with audio and texts
        base: a base as everywhere
        adapter: an adapter as everywhere
        search: greedy or beam; beam takes the base's language model
        out: where the Markdown goes; it is printed in any case
    """

    data: Path
    base: str = "mini"
    adapter: str | None = None
    search: str = "beam"
    out: Path | None = None


def main(options: Options) -> None:
    data = read_data_directory(options.data, spk_sort=False)
    waves = {one.id: load_audio(one.source) for one in data}
    speakers = [(own[0].speaker, own) for own in data.speakers.values()]
    joined = [replace(own[0], id=name, text=" ".join(one.text for one in own)) for name, own in speakers]
    long = DataDirectory(data.path, joined)
    recognizer = load(
        options.base, adapter=options.adapter, precision="auto", search=SearchOptions(options.search)
    ).recognizer
    rows, seconds = [], 0.0
    for what, change in (("as read", lambda wave: wave), (f"noise at {NOISE_DB:g} dB", with_noise)):
        texts = recognizer.texts([change(waves[one.id]) for one in data])
        single = dict(zip((one.id for one in data), texts, strict=True))
        known = {name: " ".join(single[one.id] for one in own) for name, own in speakers}
        rows.append(row(what, "each utterance alone", long, known))
        pieces = [join([waves[one.id] for one in own], change) for _, own in speakers]
        seconds = sum(map(len, pieces)) / SAMPLE_RATE
        for method in ("off", "energy", "silero"):
            recognizer.vad = method
            found = {name: text for (name, _), text in zip(speakers, recognizer.texts(pieces), strict=True)}
            rows.append(row("", method, long, found, known))
        recognizer.vad = "off"
    text = (
        f"# Long recordings by `--vad`\n\n{made_by()}: base {recognizer.base.name}, "
        f"{len(long)} recordings of a speaker each, {len(data)} utterances, {seconds / 60:.1f} minutes with "
        f"pauses of {PAUSES[0]:g} to {PAUSES[1]:g} s, cut into pieces of at most "
        f"{recognizer.max_seconds:g} s. In brackets 95 % intervals over speakers; changes are relative to "
        f"the utterances decoded one by one.\n\n{HEADER}\n" + "\n".join(rows) + "\n"
    )
    publish(text, options.out)


def join(waves: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """One recording of several, with silence between them and around."""
    draw = np.random.default_rng(0)
    parts = [silence(draw)]
    for wave in waves:
        parts += [wave, silence(draw)]
    return change(np.concatenate(parts))


def silence(draw: np.random.Generator) -> np.ndarray:
    """Noise at -66 dB of full scale, as of a quiet room."""
    return draw.normal(0, 5e-4, round(draw.uniform(*PAUSES) * SAMPLE_RATE)).astype(np.float32)


def with_noise(wave: np.ndarray) -> np.ndarray:
    """The wave with pink noise, `NOISE_DB` below the power of its louder half."""
    draw = np.random.default_rng(len(wave))
    spectrum = np.fft.rfft(draw.normal(size=len(wave)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, len(wave))
    hops = np.square(wave[: len(wave) // 160 * 160].reshape(-1, 160)).mean(1)
    power = hops[hops > np.median(hops)].mean()
    noise *= np.sqrt(power * 10 ** (-NOISE_DB / 10) / np.square(noise).mean())
    return (wave + noise).astype(np.float32)


def row(
    what: str, how: str, data: DataDirectory, found: dict[str, str], compared: dict[str, str] | None = None
) -> str:
    """A line of the table."""
    score = score_hypotheses(data, found, baseline=compared)
    change = score.changes["wer"] if compared else None
    cells = [what, how, with_interval(score.wer, score.wer_ci)]
    cells.append(with_interval(change.relative, change.relative_ci, signed=True) if change else "–")
    cells += [percent(score.insertions / score.words), percent(score.deletions / score.words)]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    command(main)
