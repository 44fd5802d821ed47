#!/usr/bin/env python3
"""Compare orders in which a person may read sentences: suggested, random, the longest first, as listed.

    python local/suggest.py --corpus DIR/speechocean762 --out exp/suggest

Each test person has 20 sentences: 15 to choose from, and 5 to test on. The suggested order chooses five by
coverage, then five by the base's errors and doubts in those (corrections/suggest.py).
Training is that of `ia3-speech train --config few`, from the base. Out: OUT/ORDER_seedS/SPEAKER_kK.json, and
OUT/RESULTS.md. Finished trainings are not repeated.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from start import of_people

from ia3_speech.adapters.load import load_adapter
from ia3_speech.adapters.record import read_json
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.corrections.suggest import choose_sentences
from ia3_speech.corrections.voice import few_options
from ia3_speech.data.corpora import speechocean762
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance, load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base, load_base
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import ratio_of_sums, relative_change
from ia3_speech.scoring.table import Rate, markdown_table
from ia3_speech.training.few_minutes import train_on_few

ORDERS = ("suggested", "random", "longest", "listed")
KS = (5, 10)
TESTS = 5
HEAD = ("sentences", "order", "people", "base WER %", "WER %", "change against random %")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the study."""

    corpus: Path
    """speechocean762 as published"""
    out: Path
    """folder to write"""
    people: int = 85
    """number of test people"""
    seeds: int = 3
    """number of draws of the 5 test sentences, of random orders, and of trainings"""


def chosen(order: str, pool: Sequence[Utterance], k: int, base: Base, seed: int) -> list[Utterance]:
    """The first `k` utterances of a pool in an order."""
    if order == "random":
        return [pool[n] for n in np.random.default_rng(seed).permutation(len(pool))[:k]]
    if order == "longest":
        return sorted(pool, key=lambda utterance: -len(utterance.text))[:k]
    if order == "listed":
        return [*pool[:k]]
    by_text, read = {utterance.text: utterance for utterance in pool}, []
    while len(read) < k:
        waves = [load_utterance(utterance) for utterance in read]
        words = [recognition.words for recognition in Recognizer(base).recognize(waves, with_words=True)]
        recorded = [*zip((utterance.text for utterance in read), words, strict=True)]
        left = [text for text in by_text if by_text[text] not in read]
        read += [by_text[text] for text in choose_sentences(left, recorded, 5)]
    return read[:k]


def adapt(base: Base, read: Sequence[Utterance], tests: Sequence[Utterance], seed: int) -> dict[str, object]:
    """Word errors in the tests, with the base and with an adapter of what was read."""
    waves = [load_utterance(utterance) for utterance in tests]
    before = Recognizer(base).texts(waves)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data_directory(folder / "data", sorted(read, key=lambda utterance: utterance.id))
        options = few_options(base.name, folder / "data", folder / "exp", init_adapter=None, seed=seed)
        train_on_few(options)
        load_adapter(base.model, folder / "exp/adapter", check=False)
        after = Recognizer(base).texts(waves)
        detach(base.model)
    counts = {"words": [""] * len(tests), "before": before, "after": after}
    errors = {
        name: sum(text_errors(u.text, text).total for u, text in zip(tests, texts, strict=True))
        for name, texts in counts.items()
    }
    return errors | {"read": [utterance.id for utterance in read]}


def main(options: Options) -> None:
    """Compare orders in which a person may read sentences."""
    utterances = of_people([*speechocean762.read_set(options.corpus, "test", [])], options.people)
    people: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        people.setdefault(utterance.speaker, []).append(replace(utterance, text=utterance.text.lower()))
    base, records = load_base("mini"), {}
    for (speaker, spoken), seed in product(people.items(), range(1, options.seeds + 1)):
        mixed = [spoken[n] for n in np.random.default_rng([seed, int(speaker)]).permutation(len(spoken))]
        for order, k in product(ORDERS, KS):
            file = options.out / f"{order}_seed{seed}/{speaker}_k{k}.json"
            if not file.is_file():
                read = chosen(order, mixed[TESTS:], k, base, seed)
                write_json(file, adapt(base, read, mixed[:TESTS], seed))
            counts = {name: n for name, n in read_json(file).items() if name != "read"}
            records.setdefault((k, order), {}).setdefault(speaker, Counter()).update(counts)
    text = markdown_table(HEAD, [row(records, k, order) for k, order in product(KS, ORDERS)])
    write_text(options.out / "RESULTS.md", text)
    print(text, end="")


def row(records: dict[tuple[int, str], dict[str, Counter]], k: int, order: str) -> list[object]:
    """A row of the table: rates of all seeds, with 95 % intervals over people."""
    people = records[k, order].values()
    counts = {name: np.array([each[name] for each in people]) for name in ("words", "before", "after")}
    counts["random"] = np.array([each["after"] for each in records[k, "random"].values()])
    base = Rate(counts["before"].sum() / counts["words"].sum())
    wer = Rate(*ratio_of_sums(counts["after"], counts["words"]))
    change = Rate(*relative_change(counts["random"], counts["after"]), signed=True)
    return [k, order, len(counts["words"]), base, wer, change]


if __name__ == "__main__":
    command(main)
