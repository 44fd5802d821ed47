"""Align a reference with a hypothesis word by word, and break ties as Kaldi and sclite break them.

In: two sequences of words. Out: the aligned pairs, or the counted `Errors`. Where several alignments are
equally cheap, three programs choose differently, and their files only match to the byte if the choice does
too:

    reference    a  b  *         COMPUTE_WER   the %WER line      1 insertion, 1 deletion
    hypothesis   *  b  c         ALIGN_TEXT    per_utt, ops …     2 substitutions
                                 SCLITE        MAPSSWE            costs 4/3/3: 1 insertion, 1 deletion

All three fill the same table of costs and walk back from its end; a `Rule` holds the costs and says which
step to take where more than one is cheapest. Kaldi's compute-wer counts forwards instead, but each of its
counts is carried along the very step that the rule takes backwards, so that the totals are the same.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Pair = tuple[str | None, str | None]  # reference word, hypothesis word; None where the other stands alone

MATCH, DELETE, INSERT = 0, 1, 2  # a step of the walk: both words, the reference's, the hypothesis's


@dataclass(frozen=True, slots=True)
class Rule:
    """Costs of the three errors and the choice among steps, given the cost of reaching a cell by each."""

    substitution: int
    insertion: int
    deletion: int
    choose: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def choose_compute_wer(match: np.ndarray, delete: np.ndarray, insert: np.ndarray) -> np.ndarray:
    """Both words only if strictly cheapest, else the deletion if cheaper than the insertion."""
    strictly = (match < delete) & (match < insert)
    return np.where(strictly, MATCH, np.where(delete < insert, DELETE, INSERT))


def choose_align_text(match: np.ndarray, delete: np.ndarray, insert: np.ndarray) -> np.ndarray:
    """Both words if as cheap as any, then the deletion, then the insertion."""
    cheapest = match <= np.minimum(delete, insert)
    return np.where(cheapest, MATCH, np.where(delete <= insert, DELETE, INSERT))


def choose_sclite(match: np.ndarray, delete: np.ndarray, insert: np.ndarray) -> np.ndarray:
    """Both words if as cheap as any, then the insertion, then the deletion."""
    cheapest = match <= np.minimum(delete, insert)
    return np.where(cheapest, MATCH, np.where(delete < insert, DELETE, INSERT))


COMPUTE_WER = Rule(1, 1, 1, choose_compute_wer)
ALIGN_TEXT = Rule(1, 1, 1, choose_align_text)
SCLITE = Rule(4, 3, 3, choose_sclite)


@dataclass(frozen=True, slots=True)
class Errors:
    """Counted errors of one utterance or of many; they add up with `+`."""

    words: int = 0  # of the reference
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0
    utterances: int = 0
    wrong: int = 0  # utterances with at least one error

    @property
    def total(self) -> int:
        return self.insertions + self.deletions + self.substitutions

    @property
    def wer(self) -> float:
        """Errors a reference word, as a fraction. Of no reference words it is not a number (nan)."""
        return self.total / self.words if self.words else math.nan

    @property
    def ser(self) -> float:
        """Utterances with an error, as a fraction; nan of no utterances."""
        return self.wrong / self.utterances if self.utterances else math.nan

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.words + other.words,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
            self.utterances + other.utterances,
            self.wrong + other.wrong,
        )


def align(reference: Sequence[str], hypothesis: Sequence[str], rule: Rule = ALIGN_TEXT) -> list[Pair]:
    """The pairs of one cheapest alignment, in order; either side may be empty.

    >>> align(["a", "b"], ["b", "c"])
    [('a', 'b'), ('b', 'c')]
    >>> align(["a", "b"], ["b", "c"], COMPUTE_WER)
    [('a', None), ('b', 'b'), (None, 'c')]
    """
    if list(reference) == list(hypothesis):
        return list(zip(reference, hypothesis, strict=True))
    steps = np.full((len(reference) + 1, len(hypothesis) + 1), DELETE, dtype=np.int8)
    steps[0] = INSERT
    for position, reached_by in enumerate(costs(reference, hypothesis, rule), start=1):
        steps[position, 1:] = rule.choose(*reached_by)
    pairs: list[Pair] = []
    r, h = len(reference), len(hypothesis)
    while r or h:
        step = steps[r, h]
        r, h = r - (step != INSERT), h - (step != DELETE)
        pairs.append((None if step == INSERT else reference[r], None if step == DELETE else hypothesis[h]))
    return pairs[::-1]


def costs(reference: Sequence[str], hypothesis: Sequence[str], rule: Rule) -> Iterator[tuple]:
    """For each reference word what its row of the table costs by each step: three arrays, (hypothesis,).

    A row depends on itself through insertions: row[h] = min over k ≤ h of best[k] + (h − k)·insertion,
    which is a running minimum once the ramp h·insertion is taken off.
    """
    numbers: dict[str, int] = {}
    words = np.array([numbers.setdefault(word, len(numbers)) for word in hypothesis], dtype=np.int64)
    ramp = rule.insertion * np.arange(len(words) + 1)
    row = ramp
    for word in reference:
        match = row[:-1] + np.where(words == numbers.get(word, -1), 0, rule.substitution)
        delete = row[1:] + rule.deletion
        best = np.concatenate([row[:1] + rule.deletion, np.minimum(match, delete)])
        row = np.minimum.accumulate(best - ramp) + ramp
        yield match, delete, row[:-1] + rule.insertion


def edit_distance(reference: str, hypothesis: str) -> int:
    """Levenshtein distance of two texts in characters.

    A column of the table is held as two integers, bit r telling whether its entry is one more (`up`) or one
    less (`down`) than the entry above, so that a character of the hypothesis costs a dozen operations on
    integers (Myers 1999, in the form of Hyyrö 2003).
    """
    if not reference:
        return len(hypothesis)
    places: dict[str, int] = {}
    for place, character in enumerate(reference):
        places[character] = places.get(character, 0) | 1 << place
    every = (1 << len(reference)) - 1
    last = 1 << len(reference) - 1
    up, down, distance = every, 0, len(reference)
    for character in hypothesis:
        equal = places.get(character, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        right = down | ~(diagonal | up)
        left = up & diagonal
        distance += bool(right & last) - bool(left & last)
        right = right << 1 | 1
        up = (left << 1 | ~(diagonal | right)) & every
        down = right & diagonal & every
    return distance


def operation(pair: Pair) -> str:
    """C(orrect), S(ubstitution), I(nsertion) or D(eletion)."""
    reference, hypothesis = pair
    if reference is None:
        return "I"
    if hypothesis is None:
        return "D"
    return "C" if reference == hypothesis else "S"


def count(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """The errors of one utterance, split into kinds as Kaldi's compute-wer splits them."""
    operations = [operation(pair) for pair in align(reference, hypothesis, COMPUTE_WER)]
    return Errors(
        words=len(reference),
        insertions=operations.count("I"),
        deletions=operations.count("D"),
        substitutions=operations.count("S"),
        utterances=1,
        wrong=int(list(reference) != list(hypothesis)),
    )
