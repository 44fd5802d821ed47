#!/usr/bin/env python3
"""Measure how often `auto` recognises the speaker, among speechocean762's people, and accepts others.

    python local/identify.py --corpus DIR --background 'DIR DIR' --general DIR --out exp/identify

In: the corpus as published, whose train people are dev; speech of many other people, for the background;
noises; and general speech for unknown speakers of another corpus. Out: OUT/SET_CHANNEL.npz, the front end's
statistics of each sentence; people.safetensors, mini's background; results.json and RESULTS.md. What is
there is not measured again.

Channels: clean (all, and the first 1, 2, 3 and 5 seconds); a telephone line (8 kHz, G.711 µ-law); another
microphone (6 dB an octave more treble); noise at 10 dB, other noises for the background than for the test
people; and the pauses alone, in which nobody speaks, so that only room and microphone tell people apart. A
person's 20 sentences are divided into four parts; each is recognised after some of the other 15 were
enrolled. Half of the people are enrolled and the others are unknown speakers, and then the reverse.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from ia3_speech.atomic import replacing, write_json, write_text
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.corpora import speechocean762
from ia3_speech.data.corpora.out_of_domain import read_corpus
from ia3_speech.data.corpora.preparation import Size, evenly_spaced
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.decoding.vad import find_speech
from ia3_speech.inputs import provenance
from ia3_speech.model.base import Base, load_base
from ia3_speech.routing.gate import (
    MAX_SECONDS,
    SpeechStatistics,
    channels_of,
    speech_statistics,
    utterance_point,
)
from ia3_speech.routing.people import Background, People, fit_background, write_background
from ia3_speech.scoring.significance import ratio_of_sums
from ia3_speech.scoring.table import Cell, Rate, markdown_table
from ia3_speech.training.augmentation import Augmentation, read_waves

SECONDS = (1, 2, 3, 5)
CHANNELS = ("telephone", "microphone", "noise", "pauses")
TRAINED_OVER = ("telephone", "noise", "microphone")  # beside clean speech, of a background
PER_PERSON, FEWEST = 20, 4  # sentences of a person of the background
COUNTS, COUNT = (2, 3, 5, 10, 15), 10  # enrolled sentences of a person; in the other tables
SIZES = (2, 4, 10)  # people who are enrolled together, beside half of all
PARTS = 4
LINE_RATE = 8_000
MU = 255.0
SNR = 10.0
SMALL = 240  # utterances of each set with `size=small`
MIN_PAUSE = 0.3  # seconds of pauses in a sentence that is recognised by them


Change = Callable[[np.ndarray, str], np.ndarray]  # of a waveform, by its utterance's id


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the study."""

    corpus: Path
    """speechocean762 as published"""
    noises: Path | None = None
    """folder with noises (default: none is measured)"""
    background: str
    """folders with speech of many people who are not in the corpus (Kaldi directories)"""
    general: Path
    """speech of other people: a Kaldi directory, or LibriSpeech's layout"""
    out: Path
    """folder to write"""
    size: Size = "full"
    """small: twelve people of each set, to see that everything works"""


# ---- the statistics


def telephone(wave: np.ndarray) -> np.ndarray:
    """8 kHz, G.711's µ-law in 256 steps."""
    narrow = soxr.resample(wave, SAMPLE_RATE, LINE_RATE).clip(-1, 1)
    coded = np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / np.log1p(MU)
    coded = np.round(coded * 127.5) / 127.5
    narrow = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(MU)) / MU
    return soxr.resample(narrow, LINE_RATE, SAMPLE_RATE).astype(np.float32)


def other_microphone(wave: np.ndarray) -> np.ndarray:
    """A difference of neighbouring samples: 6 dB an octave more treble, at the same level."""
    tilted = np.diff(wave, prepend=0.0)
    return (tilted * (wave.std() / max(tilted.std(), 1e-9))).astype(np.float32)


def noisy(noises: list) -> Change:
    """One of the noises, chosen by the utterance's id, at SNR."""
    noise = Augmentation((SNR, SNR), noises)
    return lambda wave, id: noise.apply(wave, np.random.default_rng(zlib.crc32(id.encode())))


def pauses(wave: np.ndarray) -> np.ndarray:
    """What is outside of the speech, by its level; empty if that is too short."""
    silent = np.ones(len(wave), bool)
    for first, end in find_speech(wave, "energy"):
        silent[first:end] = False
    return wave[silent] if silent.sum() >= MIN_PAUSE * SAMPLE_RATE else wave[:0]


def measure(file: Path, utterances: list[Utterance], base: Base, change: Change) -> None:
    """Write the points of utterances, (utterances, 1 + SECONDS, channels): of all frames, and of those of the
    first seconds; NaN where too little audio is left. And their speakers."""
    limits = [None, *(base.frames(seconds * SAMPLE_RATE) for seconds in SECONDS)]
    points = np.full((len(utterances), len(limits), channels_of(base)), np.nan, np.float32)
    for n, (utterance, wave) in enumerate(load_utterances(utterances)):
        wave = change(wave[: MAX_SECONDS * SAMPLE_RATE], utterance.id)
        if len(wave) >= base.minimum_samples:
            features = base.features(wave)
            points[n] = [utterance_point(base, features[:frames]) for frames in limits]
    speakers = np.array([utterance.speaker for utterance in utterances])
    with replacing(file) as new, new.open("wb") as target:
        np.savez(target, points=points, speakers=speakers)


def measure_all(options: Options) -> None:
    """Stage 1."""
    changes: dict[str, Change] = {
        "clean": lambda wave, _: wave,
        "telephone": lambda wave, _: telephone(wave),
        "microphone": lambda wave, _: other_microphone(wave),
        "pauses": lambda wave, _: pauses(wave),
    }
    noises = read_waves("noises", options.noises) if options.noises else []
    noise_of = {"test": noises[::2], "background": noises[1::2]}
    sets = {name: [*speechocean762.read_set(options.corpus, name, [])] for name in ("train", "test")}
    sets["general"] = read_corpus(options.general, False)
    sets["background"] = of_many_people(options.background)
    if options.size == "small":
        sets = {name: utterances[:SMALL] for name, utterances in sets.items()}
    base = load_base("mini")
    for channel in [*changes, *["noise"] * bool(noises)]:
        chosen = sets if channel == "clean" else {"test": sets["test"]}
        if channel in TRAINED_OVER:
            chosen["background"] = sets["background"][::PARTS]  # are enough
        for name, utterances in chosen.items():
            if not (file := options.out / f"{name}_{channel}.npz").exists():
                change = noisy(noise_of[name]) if channel == "noise" else changes[channel]
                measure(file, utterances, base, change)


def of_many_people(folders: str) -> list[Utterance]:
    """FEWEST to PER_PERSON utterances of each person in folders, without people who have fewer."""
    by_speaker: dict[str, list[Utterance]] = {}
    for folder in folders.split():
        for utterance in read_corpus(Path(folder), False):
            by_speaker.setdefault(utterance.speaker, []).append(utterance)
    enough = [spoken for spoken in by_speaker.values() if len(spoken) >= FEWEST]
    return [u for spoken in enough for u in evenly_spaced(spoken, PER_PERSON)]


# ---- who is recognised


@dataclass(frozen=True)
class Spoken:
    """The sentences of a set over a channel: points (sentences, channels of the front end), NaN where too
    little audio is left; speakers, and numbers among the speaker's sentences, (sentences,)."""

    points: np.ndarray
    speakers: np.ndarray
    numbers: np.ndarray


def read_points(options: Options, name: str, channel: str = "clean", seconds: int | None = None) -> Spoken:
    stored = np.load(options.out / f"{name}_{channel}.npz")
    points, speakers = stored["points"].astype(np.float64), stored["speakers"]
    numbers = np.array([np.sum(speakers[:n] == speaker) for n, speaker in enumerate(speakers)])
    return Spoken(points[:, 0 if seconds is None else 1 + SECONDS.index(seconds)], speakers, numbers)


def enrolled(spoken: Spoken, people: Sequence[str], part: int, count: int) -> list[SpeechStatistics]:
    """The statistics of people, of `count` sentences outside of a part."""
    speech = []
    for person in people:
        rows = np.flatnonzero((spoken.speakers == person) & (spoken.numbers % PARTS != part))
        points = spoken.points[rows[np.linspace(0, len(rows) - 1, count).astype(int)]]
        speech.append(speech_statistics(points, identify=True))
    return speech


@dataclass
class Outcomes:
    """How sentences were recognised: of each its speaker; right, wrong or unknown; and, as in a closed set,
    whether the likeliest person is the right one."""

    speakers: list[str]
    names: list[str]
    closed: list[bool]

    def rate(self, name: str) -> Rate:
        """The share of an outcome, with an interval over speakers."""
        return self.share(np.array(self.names) == name)

    def share(self, hits: Sequence[bool] | np.ndarray) -> Rate:
        return Rate(*ratio_of_sums(np.asarray(hits, float), np.ones(len(hits)), self.speakers))


def recognise(
    background: Background, spoken: Spoken, count: int, heard: Spoken, size: int | None = None
) -> tuple[Outcomes, Outcomes]:
    """How the sentences of enrolled people, and of unknown speakers, are recognised.

    Args:
        spoken: sentences of which `count` of a person are enrolled.
        heard: sentences that are recognised: of the same people, or all of unknown speakers.
        size: people who are enrolled together; None: half of the people.
    """
    people = sorted({*spoken.speakers})
    ends = range(0, len(people) - (size or 0) + 1, size or len(people))
    groups = [people[first : first + size] for first in ends] if size else [people[::2], people[1::2]]
    inside, outside = Outcomes([], [], []), Outcomes([], [], [])
    usable = np.isfinite(heard.points).all(1)
    for names in groups:
        for part in range(PARTS):
            rows = np.flatnonzero(usable & (heard.numbers % PARTS == part))
            gate = People(background, enrolled(spoken, names, part, count))
            for row, probabilities in zip(rows, gate.probabilities(heard.points[rows]), strict=True):
                likeliest = names[probabilities[1:].argmax()]
                speaker, name = heard.speakers[row], likeliest if probabilities.argmax() else None
                outcome = "unknown" if name is None else "right" if name == speaker else "wrong"
                outcomes = inside if speaker in names else outside
                outcomes.speakers.append(speaker)
                outcomes.names.append(outcome)
                outcomes.closed.append(likeliest == speaker)
    return inside, outside


def read_background_points(options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Points and speakers of the background: of clean sentences, and of some of these over each other
    channel, since a person is to be recognised over any."""
    files = [options.out / f"background_{name}.npz" for name in ("clean", *TRAINED_OVER)]
    spoken = [np.load(file) for file in files if file.is_file()]
    points = np.concatenate([each["points"][:, 0] for each in spoken]).astype(np.float64)
    usable = np.isfinite(points).all(1)
    return points[usable], np.concatenate([each["speakers"] for each in spoken])[usable]


def tables(options: Options, name: str, background: Background) -> list[tuple[list[str], list[list[Cell]]]]:
    """The tables of a set."""
    clean = read_points(options, name)

    def row(
        title: str, heard: Spoken = clean, count: int = COUNT, size: int | None = None, over: str = "clean"
    ) -> list[Cell]:
        enrolling = clean if over == "clean" else read_points(options, name, over)
        inside, outside = recognise(background, enrolling, count, heard, size)
        known = [inside.rate(n) if inside.names else None for n in ("right", "wrong", "unknown")]
        known.append(inside.share(inside.closed) if inside.names else None)
        return [title, *known, outside.rate("wrong"), len(inside.names), len(outside.names)]

    columns = ["right %", "wrong person %", "not recognised %", "right, closed set %"]
    columns += ["unknown speakers accepted %", "sentences", "unknown speakers'"]
    channels = [channel for channel in CHANNELS if (options.out / f"{name}_{channel}.npz").is_file()]
    by_channel = [
        row(f"{enrolling} → {channel}", read_points(options, name, channel), over=enrolling)
        for channel in channels for enrolling in ("clean", channel)
    ]  # fmt: skip
    by_channel.append(row("unknown speakers of other corpora", read_points(options, "general")))
    by_second = [row(f"{seconds} s", read_points(options, name, seconds=seconds)) for seconds in SECONDS]
    parts = {
        "by sentences enrolled": [row(f"{count} enrolled", count=count) for count in COUNTS],
        "people who are enrolled together": [row(f"{size} people", size=size) for size in SIZES],
        "by seconds of speech": by_second,
        "enrolled → recognised over": by_channel,
    }
    return [([f"{name}, {part}", *columns], rows) for part, rows in parts.items()]


def compare(options: Options) -> None:
    """Write people.safetensors, results.json and RESULTS.md."""
    points, speakers = read_background_points(options)
    background = fit_background(points, speakers)
    write_background(options.out, background, load_base("mini").fingerprint)
    made = [*tables(options, "train", background), *tables(options, "test", background)]
    rows = [dict(zip(head, map(str, row), strict=True)) for head, rows in made for row in rows]
    results = {"sets": rows, "versions": provenance(), "people": len({*speakers})}
    write_json(options.out / "results.json", results)
    write_text(options.out / "RESULTS.md", "\n".join(markdown_table(*each) for each in made))


def main(options: Options) -> None:
    """Measure who is recognised."""
    options.out.mkdir(parents=True, exist_ok=True)
    measure_all(options)
    compare(options)


if __name__ == "__main__":
    command(main)
