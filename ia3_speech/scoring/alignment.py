"""Count the errors of a hypothesis (by jiwer), and align it with its reference as Kaldi and sclite do.

In: two sequences of words. Out: the counted errors (`ErrorCounts`), or the aligned pairs. Alignments of
minimal cost have the same total of errors, but may divide it differently among insertions, deletions and
substitutions. Error rates use jiwer's division; Kaldi's and sclite's files need these programs' alignments:

    reference    a  b  *         COMPUTE_WER   the %WER line      1 insertion, 1 deletion
    hypothesis   *  b  c         ALIGN_TEXT    per_utt, ops …     2 substitutions
                                 SCLITE        MAPSSWE            costs 4/3/3: 1 insertion, 1 deletion

All three fill the same table of costs (Levenshtein) and trace a path back from its end; an `AlignmentRule`
holds the costs and decides between steps of equal cost. Kaldi's compute-wer carries its counts along the step
that the rule takes backwards, so the totals agree.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import jiwer
import numpy as np

Pair = tuple[str | None, str | None]  # reference word, hypothesis word; None for an insertion, a deletion

MATCH, DELETE, INSERT = 0, 1, 2  # steps of the path: a match or substitution, a deletion, an insertion


@dataclass(frozen=True, slots=True)
class AlignmentRule:
    substitution: int  # the cost of each error
    insertion: int
    deletion: int
    # MATCH, DELETE and INSERT, in the order of preference among steps of equal cost
    ties: tuple[int, int, int]


COMPUTE_WER = AlignmentRule(1, 1, 1, (INSERT, DELETE, MATCH))
ALIGN_TEXT = AlignmentRule(1, 1, 1, (MATCH, DELETE, INSERT))
SCLITE = AlignmentRule(4, 3, 3, (MATCH, INSERT, DELETE))


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Word errors of an utterance, or of several: counts add up with `+`."""

    words: int = 0  # words of the reference
    insertions: int = 0  # words of the hypothesis that no reference word is aligned with
    deletions: int = 0  # words of the reference that no word of the hypothesis is aligned with
    substitutions: int = 0  # words of the reference that are aligned with another word
    utterances: int = 0  # utterances counted
    wrong_utterances: int = 0  # utterances with at least one error

    @property
    def total(self) -> int:
        """Insertions, deletions and substitutions together."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def wer(self) -> float:
        """Word error rate: errors per reference word, as a fraction; nan without reference words."""
        return self.total / self.words if self.words else math.nan

    @property
    def ser(self) -> float:
        """Sentence error rate: the fraction of utterances with an error; nan without utterances."""
        return self.wrong_utterances / self.utterances if self.utterances else math.nan

    @property
    def hits(self) -> int:
        """Reference words that are aligned with themselves."""
        return self.words - self.deletions - self.substitutions

    @property
    def mer(self) -> float:
        """Match error rate: errors / (hits + errors), as a fraction from 0 to 1; nan without words."""
        aligned = self.hits + self.total
        return self.total / aligned if aligned else math.nan

    @property
    def wil(self) -> float:
        """Word information lost: 1 − hits² / (reference · hypothesis words); nan without reference words."""
        if not self.words:
            return math.nan
        hypothesis_words = self.hits + self.substitutions + self.insertions
        return 1 - self.hits**2 / (self.words * hypothesis_words) if hypothesis_words else 1.0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(*map(int.__add__, astuple(self), astuple(other)))


def align(
    reference: Sequence[str], hypothesis: Sequence[str], rule: AlignmentRule = ALIGN_TEXT
) -> list[Pair]:
    """The pairs of an alignment of minimal cost, in order; either side may be empty.

    >>> align(["a", "b"], ["b", "c"])
    [('a', 'b'), ('b', 'c')]
    >>> align(["a", "b"], ["b", "c"], COMPUTE_WER)
    [('a', None), ('b', 'b'), (None, 'c')]
    """
    if list(reference) == list(hypothesis):
        return list(zip(reference, hypothesis, strict=True))
    indices: dict[str, int] = {}
    words = np.array([indices.setdefault(word, len(indices)) for word in hypothesis], dtype=np.int64)
    ties, ramp = np.array(rule.ties), rule.insertion * np.arange(len(words) + 1)
    steps = np.full((len(reference) + 1, len(words) + 1), DELETE, dtype=np.int8)
    steps[0], row = INSERT, ramp
    for position, word in enumerate(reference, start=1):
        match = row[:-1] + np.where(words == indices.get(word, -1), 0, rule.substitution)
        delete = row[1:] + rule.deletion
        # A row depends on itself through insertions: row[h] = min over k ≤ h of best[k] + (h − k)·insertion,
        # which is a running minimum once the ramp h·insertion is subtracted.
        best = np.concatenate([row[:1] + rule.deletion, np.minimum(match, delete)])
        row = np.minimum.accumulate(best - ramp) + ramp
        costs = np.stack([match, delete, row[:-1] + rule.insertion])
        steps[position, 1:] = ties[np.argmin(costs[ties], axis=0)]
    pairs: list[Pair] = []
    r, h = len(reference), len(hypothesis)
    while r or h:
        step = steps[r, h]
        r, h = r - (step != INSERT), h - (step != DELETE)
        pairs.append((None if step == INSERT else reference[r], None if step == DELETE else hypothesis[h]))
    return pairs[::-1]


def operation(pair: Pair) -> str:
    """C(orrect), S(ubstitution), I(nsertion) or D(eletion)."""
    reference, hypothesis = pair
    if reference is None:
        return "I"
    if hypothesis is None:
        return "D"
    return "C" if reference == hypothesis else "S"


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """The word errors of an utterance, as jiwer counts them.

    >>> count_errors(["no", "fever"], ["know", "fever", "today"])
    ErrorCounts(words=2, insertions=1, deletions=0, substitutions=1, utterances=1, wrong_utterances=1)
    """
    counts = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    errors = (counts.insertions, counts.deletions, counts.substitutions)
    return ErrorCounts(len(reference), *errors, utterances=1, wrong_utterances=int(any(errors)))


def count_as_kaldi(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """The word errors of an utterance, divided among the three kinds as in Kaldi's compute-wer."""
    operations = [operation(pair) for pair in align(reference, hypothesis, COMPUTE_WER)]
    errors = [operations.count(kind) for kind in "IDS"]
    return ErrorCounts(len(reference), *errors, utterances=1, wrong_utterances=int(any(errors)))
