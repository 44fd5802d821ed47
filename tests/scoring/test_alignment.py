"""Alignment: every rule's promise by property, and its ties by exact cases."""

from functools import cache

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.scoring.alignment import (
    ALIGN_TEXT,
    COMPUTE_WER,
    SCLITE,
    ErrorCounts,
    align,
    count_as_kaldi,
    count_errors,
    operation,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=9)
RULES = pytest.mark.parametrize(
    "rule", [COMPUTE_WER, ALIGN_TEXT, SCLITE], ids=["compute-wer", "align-text", "sclite"]
)


def forward_counts(reference, hypothesis):
    """compute-wer: counts carried forward, hypothesis words outside, reference words inside.

    Returns (cost, insertions, deletions, substitutions); independent of alignment.py's walk backwards.
    """
    row = [(n, 0, n, 0) for n in range(len(reference) + 1)]
    for heard in hypothesis:
        cost, ins, dele, sub = row[0]
        new = [(cost + 1, ins + 1, dele, sub)]
        for position, word in enumerate(reference, start=1):
            wrong = int(word != heard)
            match, delete, insert = row[position - 1][0] + wrong, new[-1][0] + 1, row[position][0] + 1
            if match < insert and match < delete:
                _, ins, dele, sub = row[position - 1]
                new.append((match, ins, dele, sub + wrong))
            elif delete < insert:
                _, ins, dele, sub = new[-1]
                new.append((delete, ins, dele + 1, sub))
            else:
                _, ins, dele, sub = row[position]
                new.append((insert, ins + 1, dele, sub))
        row = new
    return row[-1]


def cheapest(reference, hypothesis, rule):
    """The cost of the best alignment, by the definition."""

    @cache
    def cost(r, h):
        if r == 0 or h == 0:
            return r * rule.deletion + h * rule.insertion
        wrong = rule.substitution * (reference[r - 1] != hypothesis[h - 1])
        return min(
            cost(r - 1, h - 1) + wrong, cost(r - 1, h) + rule.deletion, cost(r, h - 1) + rule.insertion
        )

    return cost(len(reference), len(hypothesis))


@RULES
@given(reference=WORDS, hypothesis=WORDS)
def test_an_alignment_keeps_both_sides_and_is_cheapest(rule, reference, hypothesis):
    pairs = align(reference, hypothesis, rule)
    assert [word for word, _ in pairs if word is not None] == reference
    assert [word for _, word in pairs if word is not None] == hypothesis
    price = {"C": 0, "S": rule.substitution, "I": rule.insertion, "D": rule.deletion}
    assert sum(price[operation(pair)] for pair in pairs) == cheapest(reference, hypothesis, rule)


@given(reference=WORDS, hypothesis=WORDS)
def test_counts_are_jiwers_and_kaldis_have_the_same_total(reference, hypothesis):
    errors, kaldi = count_errors(reference, hypothesis), count_as_kaldi(reference, hypothesis)
    cost, *counts = forward_counts(reference, hypothesis)
    assert [kaldi.insertions, kaldi.deletions, kaldi.substitutions] == counts
    assert errors.total == kaldi.total == cost
    assert errors.words == kaldi.words == len(reference)
    assert errors.wrong_utterances == kaldi.wrong_utterances == (reference != hypothesis)


@given(texts=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_rates_of_several_utterances_are_jiwers(texts):
    total = sum((count_errors(*pair) for pair in texts), ErrorCounts())
    theirs = jiwer.process_words(*([" ".join(pair[side]) for pair in texts] for side in (0, 1)))
    assert (total.hits, total.insertions) == (theirs.hits, theirs.insertions)
    if total.words:
        assert [total.wer, total.mer, total.wil] == pytest.approx([theirs.wer, theirs.mer, theirs.wil])


def test_ties_as_kaldi_and_sclite_break_them():
    reference, hypothesis = ["a", "b"], ["b", "c"]
    assert align(reference, hypothesis, COMPUTE_WER) == [("a", None), ("b", "b"), (None, "c")]
    assert align(reference, hypothesis, ALIGN_TEXT) == [("a", "b"), ("b", "c")]
    assert align(reference, hypothesis, SCLITE) == [("a", None), ("b", "b"), (None, "c")]
    reference, hypothesis = ["x", "a", "y"], ["y", "a", "x"]
    assert align(reference, hypothesis, ALIGN_TEXT) == [("x", "y"), ("a", "a"), ("y", "x")]
    reference, hypothesis = ["a", "b", "c", "d"], ["c", "d", "a", "b"]
    assert [operation(pair) for pair in align(reference, hypothesis, ALIGN_TEXT)] == list("SSSS")
    assert [operation(pair) for pair in align(reference, hypothesis, SCLITE)] == list("DDCCII")
