"""Rates and their 95 % intervals: counted utterances in, WER, CER and term error rates out, with a
baseline's beside.

A rate is a sum of parts by a sum of wholes (errors by words). The bootstrap draws whole clusters (speakers,
consultations) and takes the rate of each draw; a baseline's rate is taken on the same draws, so that the
interval of a change is that of a paired comparison. A rate of nothing is not a number (nan).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ia3_speech.scoring.alignment import Errors, Pair
from ia3_speech.scoring.significance import Interval, add_up, interval, ratio, resample
from ia3_speech.scoring.term_errors import FALSE, MISSED, REFERENCE, Terms


@dataclass(frozen=True, slots=True)
class ScoredUtterance:
    """One utterance, aligned and counted."""

    id: str
    speaker: str
    labels: dict[str, str]
    reference: list[str]
    hypothesis: list[str]
    missing: bool  # there was no hypothesis, not even an empty one
    pairs: list[Pair]  # as Kaldi's per_utt shows them
    errors: Errors  # as Kaldi's %WER line counts them
    characters: int
    character_errors: int
    terms: np.ndarray  # (1 + categories, 3), see terms.py


@dataclass(frozen=True, slots=True)
class Change:
    """One rate against the baseline's: difference = system − baseline; relative = difference / baseline."""

    baseline: float
    difference: float
    difference_ci: Interval
    relative: float
    relative_ci: Interval


@dataclass(frozen=True, slots=True)
class TermRate:
    """Term errors of one category, or of all (`false`: produced without being said)."""

    reference: int
    missed: int
    false: int
    term_error_rate: float
    term_error_rate_ci: Interval
    change: Change | None = None


@dataclass(kw_only=True)
class Rates:
    """The rates of a set of utterances, as fractions, with 95 % intervals over `ci_clusters` × `ci_unit`."""

    utterances: int
    missing: int
    words: int
    errors: int
    insertions: int
    deletions: int
    substitutions: int
    wer: float
    wer_ci: Interval
    ci_unit: str
    ci_clusters: int
    ser: float
    characters: int
    character_errors: int
    cer: float
    cer_ci: Interval
    term_error_rate: float | None = None  # None without a term list
    term_error_rate_ci: Interval = None
    terms: TermRate | None = None
    terms_by_category: dict[str, TermRate] = field(default_factory=dict)
    changes: dict[str, Change] = field(default_factory=dict)  # of wer and cer, with a baseline


def label_of(row: ScoredUtterance, label: str) -> str:
    """The value of a label; the speaker and the utterance id are labels too; "(none)" where it is missing."""
    if label in ("speaker", "utterance"):
        return row.speaker if label == "speaker" else row.id
    return row.labels.get(label, "(none)")


def make_rates(
    rows: Sequence[ScoredUtterance],
    baseline: Sequence[ScoredUtterance] | None,
    terms: Terms | None,
    unit: str,
    replications: int,
    seed: int,
) -> Rates:
    """Rates of some utterances, and their changes against the same utterances of the baseline."""
    clusters = [label_of(row, unit) for row in rows]
    if len(set(clusters)) < 2:
        unit, clusters = "utterance", [row.id for row in rows]
    numbers = [columns(rows)] + ([columns(baseline)] if baseline else [])
    named = {(side, name): values for side, table in enumerate(numbers) for name, values in table.items()}
    if len(rows) > 1:
        drawn = resample(add_up(named, clusters), replications, seed)
    else:  # one utterance says nothing about its spread: no interval
        drawn = {name: np.array([math.nan]) for name in named}

    def rate(part: str, whole: str) -> tuple[float, Interval, Change | None]:
        draws = [ratio(drawn[side, part], drawn[side, whole]) for side in range(len(numbers))]
        rates = [fraction(table[part].sum(), table[whole].sum()) for table in numbers]
        return rates[0], interval(draws[0]), make_change(*rates, *draws) if baseline else None

    def term_rate(row: int) -> TermRate:
        counts = sum(utterance.terms[row] for utterance in rows)
        reference, missed, false = (int(counts[column]) for column in (REFERENCE, MISSED, FALSE))
        return TermRate(reference, missed, false, *rate(f"terms {row} wrong", f"terms {row}"))

    total = sum((row.errors for row in rows), Errors())
    wer, wer_ci, wer_change = rate("errors", "words")
    cer, cer_ci, cer_change = rate("character errors", "characters")
    result = Rates(
        utterances=total.utterances,
        missing=sum(row.missing for row in rows),
        words=total.words,
        errors=total.total,
        insertions=total.insertions,
        deletions=total.deletions,
        substitutions=total.substitutions,
        wer=wer,
        wer_ci=wer_ci,
        ci_unit=unit,
        ci_clusters=len(set(clusters)),
        ser=total.ser,
        characters=sum(row.characters for row in rows),
        character_errors=sum(row.character_errors for row in rows),
        cer=cer,
        cer_ci=cer_ci,
    )
    if wer_change and cer_change:
        result.changes = {"wer": wer_change, "cer": cer_change}
    if terms:
        result.terms = pooled = term_rate(0)
        result.term_error_rate, result.term_error_rate_ci = pooled.term_error_rate, pooled.term_error_rate_ci
        result.terms_by_category = {
            name: term_rate(row) for row, name in enumerate(terms.categories, start=1)
        }
        if pooled.change:
            result.changes["term_error_rate"] = pooled.change
    return result


def columns(rows: Sequence[ScoredUtterance]) -> dict[str, np.ndarray]:
    """What the rates are made of, one value an utterance: parts and wholes."""
    table = {
        "errors": [row.errors.total for row in rows],
        "words": [row.errors.words for row in rows],
        "character errors": [row.character_errors for row in rows],
        "characters": [row.characters for row in rows],
    }
    for number in range(len(rows[0].terms)):
        table[f"terms {number}"] = [row.terms[number, REFERENCE] for row in rows]
        table[f"terms {number} wrong"] = [
            row.terms[number, MISSED] + row.terms[number, FALSE] for row in rows
        ]
    return {name: np.array(values) for name, values in table.items()}


def fraction(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan


def make_change(rate: float, baseline: float, draws: np.ndarray, baseline_draws: np.ndarray) -> Change:
    """From the two rates and from those of the replications, (replications,), drawn alike."""
    difference, differences = rate - baseline, draws - baseline_draws
    return Change(
        baseline=baseline,
        difference=difference,
        difference_ci=interval(differences),
        relative=difference / baseline if baseline else math.nan,
        relative_ci=interval(ratio(differences, baseline_draws)),
    )
