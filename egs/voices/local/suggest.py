#!/usr/bin/env python3
"""Compare orders in which a person may read sentences: suggested, random, the longest first.

    python local/suggest.py --corpus DIR/speechocean762 --out exp/suggest

Each test person has 20 sentences. A draw holds out five of them; of the 15 others the first 5 or 10 in each
order train an adapter, as `ia3-speech speakers` would, from the base. The other draws choose its epochs and
scale. The suggested order chooses five by coverage, then five by the base's errors and doubts in those
(corrections/suggest.py). Out: OUT/kK/SPEAKER.json, and OUT/RESULTS.md. Finished trainings are not repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from start import of_people, speaker_options

from ia3_speech.adapters.record import read_json
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.corrections.suggest import choose_sentences
from ia3_speech.data.corpora import speechocean762
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.transcript import Word
from ia3_speech.model.base import load_base
from ia3_speech.scoring.significance import ratio_of_sums, relative_change
from ia3_speech.scoring.table import Rate, markdown_table
from ia3_speech.training.cross_validation import Adaptation, adapt, count_record, epochs_of
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.replay import read_replay
from ia3_speech.training.starts import prepare
from ia3_speech.training.steps import Progress

ORDERS = ("suggested", "random", "longest")
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
    draws: int = 3
    """number of draws of five test sentences (2 to 4); they have no sentence in common"""
    ks: str = "5 10"
    """numbers of sentences to read"""


@dataclass
class Reading(Adaptation):
    """An adaptation whose folds are trained on the first `k` sentences of an order."""

    order: list[list[Example]] = field(default_factory=list)  # the sentences of each fold

    def training_examples(self, part: list[Example]) -> list[Example]:
        return self.order[self.parts.index(part)][: self.k]


def ordered(order: str, pool: Sequence[Example], words: dict[str, Sequence[Word]]) -> list[Example]:
    """Sentences, which are in random order, in another. `words`: the base's words of each sentence."""
    if order == "random":
        return [*pool]
    if order == "longest":
        return sorted(pool, key=lambda example: -len(example.utterance.text))
    by_text = {example.utterance.text: example for example in pool}
    read = choose_sentences(by_text, [], 5)
    recorded = [(text, words[by_text[text].utterance.id]) for text in read]
    read += choose_sentences([text for text in by_text if text not in read], recorded, 5)
    return [by_text[text] for text in read]


def main(options: Options) -> None:
    """Compare orders in which a person may read sentences."""
    data, ks = options.out / "data", [int(k) for k in options.ks.split()]
    write_data_directory(
        data, of_people([*speechocean762.read_set(options.corpus, "test", [])], options.people)
    )
    training = speaker_options(options.out, data, seed=1)
    base = load_base("mini")
    cache, replay = prepare(base, training, None), read_replay(base, training)
    people: dict[str, list[Example]] = {}
    for example in read_examples(data, base, training, [1.0]):
        people.setdefault(example.utterance.speaker, []).append(example)
    records: dict[tuple[int, str], list[dict[str, int]]] = {}
    for k, (speaker, examples) in product(ks, people.items()):
        file = options.out / f"k{k}/{speaker}.json"
        if not file.is_file():
            waves = [load_utterance(example.utterance) for example in examples]
            recognitions = Recognizer(base).recognize(waves, with_words=True)
            words = {e.utterance.id: r.words for e, r in zip(examples, recognitions, strict=True)}
            mixed = np.random.default_rng([1, int(speaker)]).permutation(np.array(examples, dtype=object))
            parts = [mixed[n * TESTS :][:TESTS].tolist() for n in range(options.draws)]
            pools = [[example for example in mixed if example not in part] for part in parts]
            adaptations = []
            for order in ORDERS:
                reading = [ordered(order, pool, words) for pool in pools]
                adaptations.append(Reading(speaker, examples, parts, k, folds_only=True, order=reading))
            with Progress(epochs_of(adaptations, training), "epoch") as progress:
                adapt(adaptations, training, cache, replay, progress)
            counts = [count_record(adaptation.unbiased) for adaptation in adaptations]
            write_json(file, dict(zip(ORDERS, counts, strict=True)))
        for order, counts in read_json(file).items():
            records.setdefault((k, order), []).append(counts)
    text = markdown_table(HEAD, [row(records, k, order) for k, order in product(ks, ORDERS)])
    write_text(options.out / "RESULTS.md", text)
    print(text, end="")


def row(records: dict[tuple[int, str], list[dict[str, int]]], k: int, order: str) -> list[object]:
    """A row of the table: rates of all draws, with 95 % intervals over people."""
    names = ("words", "start_errors", "errors")
    words, before, after = (np.array([each[name] for each in records[k, order]]) for name in names)
    random = np.array([each["errors"] for each in records[k, "random"]])
    change, wer = Rate(*relative_change(random, after), signed=True), Rate(*ratio_of_sums(after, words))
    return [k, order, len(words), Rate(before.sum() / words.sum()), wer, change]


if __name__ == "__main__":
    command(main)
