#!/usr/bin/env python3
"""Two accents × the grammar of the dictation, spoken by espeak-ng: what each adapter hears, and the tests.

    local/prepare_espeak.py OUT_DIR [--sentences FILE] [--size full|small]

Corpus card

    What      English, one sentence an utterance, read by a speech synthesiser
    Sets      accent_NAME   everyday sentences in an accent that the mini base never heard
              domain        medical dictation in accents and voices that it has heard
              both_NAME     the utterances of accent_NAME and of domain
              test_NAME     medical dictation in that accent, in voices that nothing here and no base heard
              Each but the tests has a train and a dev, of different voices and sentences
    Accents   caribbean, scottish: both with the same sentences and the same voices, so that they differ in
              nothing else
    Minutes   5 to 6 of train for accent_NAME and for domain, 6 a test
    Text      everyday: everyday.grammar in our own wording, or lines of FILE. Medical: the grammar of
              egs/medical_dictation; a third of its terms and an eighth of its patterns are in test alone
    Labels    utt2voice, utt2wording; accent and gender of the speakers
    Licence   text Apache-2.0, as this repository; espeak-ng puts no terms on the sound that it makes
    Caution   synthetic speech: an accent here is a set of rules

The modules of egs/medical_dictation/local have to be on PYTHONPATH, as local/espeak.sh puts them.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import prepare as dictation
from grammar import LONGEST, Expansion, Sentence, read_sections
from prepare import Speaker, record
from wording import with_articles

from ia3_speech.cli import UserError, command
from ia3_speech.data.corpora.espeak import UNHEARD_VARIANTS
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.text import normalize

EVERYDAY = Path(__file__).with_name("everyday.grammar")
NEW_ACCENTS = {"caribbean": "en-029", "scottish": "en-gb-scotland"}
KNOWN_ACCENTS = {
    "american": "en-us", "british": "en", "received": "en-gb-x-rp", "newyork": "en-us-nyc",
    "lancastrian": "en-gb-x-gbclan", "midlands": "en-gb-x-gbcwmd",
}  # fmt: skip

# Variant, gender, words a minute, pitch. The mini base has heard those of train and dev, not those of test.
VOICES = {
    "train": [
        ("m1", "m", 152, 46), ("f1", "f", 146, 52), ("m3", "m", 170, 56),
        ("f2", "f", 164, 44), ("m6", "m", 158, 50), ("f4", "f", 176, 54),
    ],
    "dev": [("m2", "m", 156, 52), ("f3", "f", 166, 46)],
    "test": [
        (variant, gender, rate, pitch)
        for variant, gender in zip(UNHEARD_VARIANTS, "mffmfm", strict=True)
        for rate, pitch in ((150, 46), (168, 55))
    ],
}  # fmt: skip

# Sentences a set.
COUNTS = {
    "full": {"everyday": {"train": 120, "dev": 24}, "medical": {"train": 96, "dev": 24, "test": 96}},
    "small": {"everyday": {"train": 18, "dev": 6}, "medical": {"train": 12, "dev": 6, "test": 12}},
}
SEEDS = {"everyday": 11, "train": 12, "dev": 13, "test": 14}


def main(out: Path, sentences: Path | None = None, size: Literal["full", "small"] = "full") -> None:
    """Write OUT/{accent_NAME,domain,both_NAME}/{train,dev} and OUT/test_NAME.

    Args:
        out: where the data directories go
        sentences: text file with a sentence a line, instead of everyday.grammar
        size: small takes a minute of speech, to see that everything works
    """
    dictation.ACCENTS |= {accent: name for name, accent in KNOWN_ACCENTS.items()}
    counts = COUNTS[size]
    everyday = list(lines_of(sentences) if sentences else made_up(sum(counts["everyday"].values())))
    everyday = divide(everyday, counts["everyday"], sentences or EVERYDAY)
    medical = draw_medical(counts["medical"])
    for side in ("train", "dev"):
        record(medical[side], known_speakers(side), out / "domain" / side)
    for name in NEW_ACCENTS:
        for side in ("train", "dev"):
            record(everyday[side], speakers(name, side), out / f"accent_{name}" / side)
            parts = [read_data_directory(out / part / side) for part in (f"accent_{name}", "domain")]
            write_data_directory(out / f"both_{name}" / side, [one for part in parts for one in part])
        record(medical["test"], speakers(name, "test"), out / f"test_{name}")


def speakers(name: str, side: str) -> list[Speaker]:
    """The voices of a set, all in one new accent."""
    return [
        Speaker(f"{name}-{side}{number:02d}", NEW_ACCENTS[name], *voice)
        for number, voice in enumerate(VOICES[side], 1)
    ]


def known_speakers(side: str) -> list[Speaker]:
    """The voices of a set, each in another of the accents that the base has heard."""
    return [
        Speaker(f"{name}-{side}{number:02d}", accent, *voice)
        for number, ((name, accent), voice) in enumerate(
            zip(KNOWN_ACCENTS.items(), VOICES[side], strict=False), 1
        )
    ]


def draw_medical(counts: dict[str, int]) -> dict[str, list[Sentence]]:
    """Sentences of the dictation; none in two sets, held-out terms and patterns in test alone."""
    grammar = dictation.Grammar(dictation.HERE)
    texts: dict[str, list[Sentence]] = {}
    for side, count in counts.items():
        used = {sentence.text for drawn in texts.values() for sentence in drawn}
        texts[side] = grammar.draw(count, seed=SEEDS[side], test=side == "test", avoid=used)
    return texts


def made_up(count: int) -> Iterator[Sentence]:
    """Different sentences of everyday.grammar. Choices come off shuffled decks: each before any again."""
    written, rng = read_sections(EVERYDAY), random.Random(SEEDS["everyday"])
    decks: dict[str, list[str]] = {}
    used: set[str] = set()

    def deal(name: str, cards: list[str]) -> str:
        if not decks.get(name):
            decks[name] = rng.sample(cards, len(cards))
        return decks[name].pop()

    while len(used) < count:
        pattern = deal("sentence", written.patterns)
        text = with_articles(Expansion(written, written.sections, deal, rng).expand(pattern))
        if text not in used and len(text.split()) <= LONGEST:
            used.add(text)
            yield Sentence(text, pattern, (), False)


def lines_of(path: Path) -> list[Sentence]:
    """The different lines of a text file that are 3 to 20 words long, in an order that hangs on a seed."""
    if not path.is_file():
        raise UserError(f"{path}: no such file (a text file with a sentence a line is wanted)")
    texts = {normalize(line): " ".join(line.split()) for line in read_utf8(path).splitlines()}
    kept = [text for plain, text in sorted(texts.items()) if 3 <= len(plain.split()) <= LONGEST]
    return [
        Sentence(text, "", (), False) for text in random.Random(SEEDS["everyday"]).sample(kept, len(kept))
    ]


def divide(sentences: list[Sentence], counts: dict[str, int], source: Path) -> dict[str, list[Sentence]]:
    """So many of them for each set, in their order."""
    needed = sum(counts.values())
    if len(sentences) < needed:
        raise UserError(
            f"{source}: holds {len(sentences)} different sentences of 3 to {LONGEST} words, and {needed} are "
            f"needed (add some)"
        )
    rest = iter(sentences)
    return {side: [next(rest) for _ in range(count)] for side, count in counts.items()}


if __name__ == "__main__":
    command(main)
