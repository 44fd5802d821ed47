#!/usr/bin/env python3
"""Generate the sentences that the publisher's grammar has for an order.

    ordered = order({"size": "small", "coffeeDrink": "latte", "milkAmount": " soy milk"})
    sentences(ordered)    # "brew a small latte with soy milk", "can i get a small latte with soy milk", …

The grammar's article is obligatory; people leave it out, so here it is optional. `local/grammar.py DATA/test
EXP/base/decode_greedy_test OUT` reports how often `nearest`, which prepare.py uses in place of
transcripts.tsv, selects that table's sentence.
"""

from collections.abc import Mapping
from itertools import permutations, product
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.scoring.alignment import ErrorCounts, count_errors

LEADS = (
    "brew", "can i get", "can i have", "i want", "get me", "give me", "i'd like", "make me", "may i have",
)  # fmt: skip
ARTICLES = ("a", "an", "")

# Slot → the label that it becomes, and the category of its term.
BEFORE = {"size": "size", "roast": "roast", "numberOfShots": "shots"}
DRINK = "coffeeDrink"
AFTER = {"milkAmount": "milk", "sugarAmount": "sugar"}
LABELS = {**BEFORE, DRINK: "drink", **AFTER}


def order(slots: Mapping[str, str]) -> dict[str, str]:
    """Label → words, in lower case with single spaces. ValueError: a slot that the grammar lacks."""
    if unknown := sorted(set(slots) - set(LABELS)):
        raise ValueError(f"the slot {unknown[0]!r} is not one of {', '.join(LABELS)}")
    if DRINK not in slots:
        raise ValueError(f"there is no {DRINK}")
    return {LABELS[name]: " ".join(words.lower().split()) for name, words in slots.items()}


def sentences(ordered: Mapping[str, str]) -> list[str]:
    """All sentences for an order, at most 324.

    Sentences with the right article come first, sentences with the other article next.
    """
    before = [ordered[label] for label in BEFORE.values() if label in ordered]
    after = [ordered[label] for label in AFTER.values() if label in ordered]

    ranked = set()
    for first, last in product(permutations(before), permutations(after)):
        words = " ".join([*first, ordered["drink"], *(["with", " and ".join(last)] if last else [])])
        right = "an" if words[0] in "aeiou" else "a"
        for article, lead in product(ARTICLES, LEADS):
            rank = 0 if article == right else 1 if article else 2
            ranked.add((rank, " ".join(f"{lead} {article} {words}".split())))
    return [sentence for _, sentence in sorted(ranked)]


def nearest(ordered: Mapping[str, str], hypothesis: str) -> str:
    """The sentence for an order that takes the fewest edits of characters from a hypothesis.

    Of equally near sentences, the first of `sentences`. A sentence without an article must be nearer by two
    characters: else unclear speech would lose its articles.
    """

    def cost(sentence: str) -> float:
        lead = next(lead for lead in LEADS if sentence.startswith(f"{lead} "))
        has_article = sentence[len(lead) :].split()[0] in ARTICLES
        return Levenshtein.distance(sentence, hypothesis) + (0 if has_article else len("a ") - 0.5)

    return min(sentences(ordered), key=cost)


def main(data: Path, decoded: Path, out: Path) -> None:
    """Write to OUT, and print, in how many orders `nearest` selects the text; OUT also lists the others."""
    hypotheses, orders = read_kaldi_text(decoded / "text"), read_data_directory(data, wav=False).utterances
    texts = {order.id: nearest(order.labels, hypotheses[order.id]) for order in orders}
    errors = sum((count_errors(o.text.split(), texts[o.id].split()) for o in orders), ErrorCounts())
    other = [f"{o.id}: {texts[o.id]!r}, not {o.text!r}\n" for o in orders if texts[o.id] != o.text]
    same = len(orders) - len(other)
    text = (
        f"Narrowing by the base's own decoding finds the sentence of transcripts.tsv in {same} of "
        f"{len(orders)} orders ({100 * same / len(orders):.1f} %); {errors.total} of {errors.words} words "
        f"differ ({100 * errors.wer:.1f} %).\n"
    )
    write_text(out, text + "".join(other))
    print(text, end="")


if __name__ == "__main__":
    command(main)
