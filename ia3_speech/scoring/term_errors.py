"""Term error rate: how many of the words that matter (drugs, diagnoses, orders) came through whole.

In: a file with one term a line, a word or a phrase, and after TABs the categories it belongs to, if any:

    atrial fibrillation<TAB>condition
    metformin<TAB>drug<TAB>unseen

Out: for each utterance, reference occurrences, missed ones and falsely produced ones, pooled and by category.

- Occurrences are found from left to right, the longest term first, and don't overlap: in "type two
  diabetes" the term "diabetes" doesn't occur again, so that one garbled phrase is one error and not two.
- A reference occurrence is a hit if all its words are aligned as correct and stand next to each other in the
  hypothesis too (the alignment is per_utt's). Otherwise it is missed.
- An occurrence in the hypothesis is falsely produced unless the same holds from its side: the reference has
  all its words there, next to each other.
- Rate = (missed + false) / reference occurrences; it can pass 1, and without an occurrence it is not a
  number. An occurrence counts once in the pool and once in each category of its term.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data.text import normalize
from ia3_speech.scoring.alignment import Pair

REFERENCE, MISSED, FALSE = 0, 1, 2  # the columns of a count

Words = tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """A term list, ready to search: terms with their categories, and by first word with the longest first."""

    categories_of: dict[Words, tuple[str, ...]]
    by_first_word: dict[str, list[Words]]
    categories: list[str]

    def __len__(self) -> int:
        return len(self.categories_of)


def read_terms(path: Path, mode: str = "ctc") -> Terms:
    """Read a term list, its terms normalised like the texts. Raises UserError naming file and line.

    A term may stand on several lines: it then has the categories of all of them.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the term list can't be read ({error})") from error
    terms: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        term, *categories = (field.strip() for field in line.split("\t"))
        normalized = " ".join(normalize(term, mode).split())
        if not normalized:
            raise UserError(f'{path}:{number}: nothing is left of the term "{term}" once normalised ({mode})')
        terms.setdefault(normalized, []).extend(category for category in categories if category)
    if not terms:
        raise UserError(f"{path}: no terms (expected one a line, optionally a TAB and its category)")
    return make_terms(terms)


def make_terms(terms: dict[str, Sequence[str]]) -> Terms:
    """Terms from {term: categories}, already normalised."""
    categories_of = {tuple(term.split()): tuple(sorted(set(names))) for term, names in terms.items()}
    by_first_word: dict[str, list[Words]] = {}
    for words in sorted(categories_of, key=lambda words: (-len(words), words)):
        by_first_word.setdefault(words[0], []).append(words)
    categories = sorted({name for names in categories_of.values() for name in names})
    return Terms(categories_of, by_first_word, categories)


def occurrences(words: Sequence[str], terms: Terms) -> list[tuple[int, Words]]:
    """(position, term) from left to right, the longest first, without overlap."""
    found = []
    position = 0
    while position < len(words):
        for term in terms.by_first_word.get(words[position], ()):
            if tuple(words[position : position + len(term)]) == term:
                found.append((position, term))
                position += len(term)
                break
        else:
            position += 1
    return found


def count_terms(pairs: Sequence[Pair], terms: Terms) -> np.ndarray:
    """Counts of one aligned utterance, (1 + categories, 3): row 0 pooled; reference, missed, false."""
    counts = np.zeros((1 + len(terms.categories), 3), dtype=np.int64)
    row_of = {category: row for row, category in enumerate(terms.categories, start=1)}

    def add(term: Words, column: int) -> None:
        for row in (0, *(row_of[category] for category in terms.categories_of[term])):
            counts[row, column] += 1

    for term, right in judge(pairs, terms):
        add(term, REFERENCE)
        if not right:
            add(term, MISSED)
    for term, right in judge([(word, other) for other, word in pairs], terms):
        if not right:
            add(term, FALSE)
    return counts


def judge(pairs: Sequence[Pair], terms: Terms) -> Iterator[tuple[Words, bool]]:
    """Each occurrence on the left side of `pairs`, and whether the right side has it whole."""
    words = [word for word, _ in pairs if word is not None]
    places: list[int | None] = []  # of each word on the right side, if it is aligned as correct
    place = 0
    for word, other in pairs:
        if word is not None:
            places.append(place if word == other else None)
        place += other is not None
    for start, term in occurrences(words, terms):
        first = places[start]
        adjacent = first is not None and places[start : start + len(term)] == [
            *range(first, first + len(term))
        ]
        yield term, adjacent
