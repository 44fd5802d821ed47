"""Term error rate: the share of important terms (drugs, diagnoses, orders) that are not recognised in full.

In: a term list with a term (a word or a phrase) in each line, followed by any categories after TABs:

    atrial fibrillation<TAB>condition
    metformin<TAB>drug<TAB>unseen

Out: for each utterance the occurrences in the reference, the missed and the false occurrences, over all terms
and by category. They are searched from left to right, the longest term first, without overlap. An occurrence
in the reference is missed unless all its words are aligned as correct and are adjacent in the hypothesis; an
occurrence in the hypothesis is false unless the same holds of the reference. Term error rate = (missed +
false) / occurrences in the reference; it may exceed 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.numbers_in_words import verbalize_numbers
from ia3_speech.data.text import normalize
from ia3_speech.scoring.alignment import Pair

REFERENCE, MISSED, FALSE = 0, 1, 2  # the columns of term counts

TermWords = tuple[str, ...]


@dataclass(frozen=True)
class TermList:
    """Terms and their categories."""

    categories_of: dict[TermWords, tuple[str, ...]]  # term → its categories
    categories: list[str]  # all categories, sorted


def read_term_list(path: Path, mode: str = "ctc") -> TermList:
    """Read a term list; its terms are normalised like the texts (`mode` is a mode of `data.text.normalize`),
    with numbers in words unless the mode is "none".

    A term on several lines has the categories of all of them. Raises UserError if the file cannot be read or
    holds no terms, or nothing is left of a line once it is normalised.
    """
    lines = read_utf8(path, "a term list: one term a line").split("\n")
    categories_of: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        term, *categories = (field.strip() for field in line.split("\t"))
        normalized = " ".join(normalize(term if mode == "none" else verbalize_numbers(term), mode).split())
        if not normalized:
            raise UserError(f'{path}:{number}: nothing is left of the term "{term}" once normalised ({mode})')
        categories_of.setdefault(normalized, []).extend(category for category in categories if category)
    if not categories_of:
        raise UserError(f"{path}: no terms (expected one a line, optionally a TAB and its category)")
    return make_term_list(categories_of)


def make_term_list(terms: dict[str, Sequence[str]]) -> TermList:
    """A term list from {term: categories}, already normalised."""
    categories_of = {tuple(term.split()): tuple(sorted(set(names))) for term, names in terms.items()}
    categories = sorted({name for names in categories_of.values() for name in names})
    return TermList(categories_of, categories)


def find_terms(words: Sequence[str], terms: TermList) -> list[tuple[int, TermWords]]:
    """(position, term) from left to right, the longest first, without overlap."""
    occurrences, position, lengths = [], 0, sorted({*map(len, terms.categories_of)}, reverse=True)
    while position < len(words):
        for length in lengths:
            term = tuple(words[position : position + length])
            if term in terms.categories_of:
                occurrences.append((position, term))
                position += len(term)
                break
        else:
            position += 1
    return occurrences


def count_terms(pairs: Sequence[Pair], terms: TermList) -> np.ndarray:
    """Term counts of an aligned utterance, `(1 + categories, 3)`: row 0 counts all terms, each further row a
    category; columns REFERENCE, MISSED and FALSE."""
    counts = np.zeros((1 + len(terms.categories), 3), dtype=np.int64)
    row_of = {category: row for row, category in enumerate(terms.categories, start=1)}
    swapped = [(hypothesis, reference) for reference, hypothesis in pairs]
    for sides, error in ((pairs, MISSED), (swapped, FALSE)):
        for term, hit in match_terms(sides, terms):
            rows = [0, *(row_of[category] for category in terms.categories_of[term])]
            counts[rows, error] += not hit
            counts[rows, REFERENCE] += error == MISSED
    return counts


def match_terms(pairs: Sequence[Pair], terms: TermList) -> Iterator[tuple[TermWords, bool]]:
    """Each occurrence on the first side of `pairs`, and whether the second side has all its words."""
    words = [word for word, _ in pairs if word is not None]
    positions: list[int | None] = []  # of each word on the second side, None unless aligned as correct
    position = 0
    for word, other in pairs:
        if word is not None:
            positions.append(position if word == other else None)
        position += other is not None
    for start, term in find_terms(words, terms):
        matched, first = positions[start : start + len(term)], positions[start]
        yield term, first is not None and matched == [*range(first, first + len(term))]
