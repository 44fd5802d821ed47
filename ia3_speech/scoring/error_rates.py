"""Error rates of a set of utterances, with 95 % intervals, and their changes against a baseline.

In: aligned and counted utterances. Out: WER, CER, MER, WIL and term error rate (`ErrorRates`), as in
score.json, and rows of tables. WER, CER and term error rate are sums of errors divided by sums of reference
words, characters or terms, or nan without any. Intervals are from a bootstrap over clusters.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ia3_speech.data.numbers_in_words import verbalize_numbers
from ia3_speech.data.text import Mode, normalize
from ia3_speech.scoring import significance
from ia3_speech.scoring.alignment import ErrorCounts, Pair, count_errors
from ia3_speech.scoring.significance import Interval, percentile_interval, ratio
from ia3_speech.scoring.table import Cell, Rate, Table
from ia3_speech.scoring.term_errors import FALSE, MISSED, REFERENCE, TermList

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScoredUtterance:
    """An aligned utterance with its counts."""

    id: str  # as in the data directory; labels are {name: value}, such as {"accent": "welsh"}
    speaker: str
    labels: dict[str, str]
    reference: list[str]  # words of the normalised reference
    hypothesis: list[str]  # words of the normalised hypothesis; empty if it is missing
    missing: bool  # there is no hypothesis, not even an empty text
    pairs: list[Pair]  # the alignment, as Kaldi's per_utt shows it
    errors: ErrorCounts  # word errors, as jiwer counts them
    characters: int  # characters of the reference, single spaces between words included
    character_errors: int  # edit distance of reference and hypothesis in characters
    # Term counts, `(1 + categories, 3)`: all terms, then each category; occurrences in the reference, missed,
    # falsely produced (`count_terms`). `(1, 3)` zeros without a term list.
    terms: np.ndarray


@dataclass(frozen=True, slots=True)
class Change:
    """The change of an error rate from a baseline to a system; negative: the system is better."""

    baseline: float  # the baseline's rate, as a fraction
    difference: float  # rate of the system − rate of the baseline, as a fraction
    difference_ci: Interval  # its 95 % interval, over paired replicates
    relative: float  # difference / baseline; nan if the baseline makes no error
    relative_ci: Interval  # its 95 % interval, over paired replicates


@dataclass(frozen=True, slots=True)
class TermErrorRate:
    """Term errors of all terms, or of a category."""

    reference: int  # occurrences in the references
    missed: int  # occurrences in the references that the hypotheses lack
    false: int  # occurrences in the hypotheses that the references lack
    # (missed + false) / reference, as a fraction; may exceed 1; nan without occurrences
    term_error_rate: float
    term_error_rate_ci: Interval  # its 95 % interval
    change: Change | None = None  # the change against the baseline, if there is a baseline

    @classmethod
    def read(cls, record: Json) -> "TermErrorRate":
        """The values in a score.json."""
        return cls(**record | {"change": record["change"] and Change(**record["change"])})


@dataclass(kw_only=True)
class ErrorRates:
    """Error rates of a set of utterances. Rates are fractions; intervals are 95 % percentile intervals."""

    utterances: int  # utterances scored
    missing: int  # utterances without a hypothesis; all their words count as deleted
    words: int  # words of the references
    errors: int  # insertions + deletions + substitutions
    insertions: int  # these three as jiwer counts them
    deletions: int
    substitutions: int
    wer: float  # word error rate: errors / words
    wer_ci: Interval  # None for a single utterance
    mer: float | None = None  # match error rate and word information lost, of the same counts
    wil: float | None = None
    ci_unit: str  # the unit of the bootstrap: "speaker", "consultation", "utterance" or another label
    ci_clusters: int  # the number of these units
    ser: float  # sentence error rate: fraction of utterances with at least one error
    characters: int  # characters of the references, single spaces between words included
    character_errors: int  # edit distances in characters, added up
    cer: float  # character error rate: character_errors / characters
    cer_ci: Interval
    term_error_rate: float | None = None  # of all terms, as in `terms`, and its interval
    term_error_rate_ci: Interval = None
    terms: TermErrorRate | None = None  # errors of all terms; None without a term list
    terms_by_category: dict[str, TermErrorRate] = field(default_factory=dict)
    # With a baseline, the changes of "wer", "cer" and, with terms, "term_error_rate"
    changes: dict[str, Change] = field(default_factory=dict)

    @classmethod
    def read(cls, record: Json) -> "ErrorRates":
        """The values in a score.json, for all utterances or a part of them; null becomes None."""
        values = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        values["changes"] = {name: Change(**change) for name, change in record["changes"].items()}
        if terms := record.get("terms"):
            values["terms"] = TermErrorRate.read(terms)
            categories = record["terms_by_category"].items()
            values["terms_by_category"] = {name: TermErrorRate.read(rates) for name, rates in categories}
        return cls(**values)

    def rate(self, name: str = "wer") -> Rate:
        """A rate with its interval."""
        return Rate(getattr(self, name), getattr(self, f"{name}_ci", None))

    def change(self, name: str = "wer") -> Rate:
        """The change of a rate relative to the baseline; its value is None without a baseline."""
        return change_rate(self.changes.get(name))

    def before(self) -> Rate:
        """The WER of the baseline; its value is None without a baseline."""
        return Rate(self.changes["wer"].baseline if "wer" in self.changes else None)


def change_rate(change: Change | None) -> Rate:
    return Rate(change.relative, change.relative_ci, signed=True) if change else Rate(None, signed=True)


COLUMNS: dict[str, Callable[[ErrorRates], Cell]] = {  # further columns are fields of `ErrorRates`
    "WER %": ErrorRates.rate,
    "before %": ErrorRates.before,
    "change %": ErrorRates.change,
    "CER %": lambda rates: Rate(rates.cer),
    "CER change %": lambda rates: rates.change("cer"),
    "MER %": lambda rates: Rate(rates.mer),
    "WIL %": lambda rates: Rate(rates.wil),
    "term errors %": lambda rates: rates.rate("term_error_rate"),
    "term errors change %": lambda rates: rates.change("term_error_rate"),
}


def rates_table(
    name: str, caption: str, head: Sequence[str], rows: Iterable[tuple[str, ErrorRates, Mapping[str, Cell]]]
) -> Table:
    """A table with a row for each system, test set or part of a set. `head`: the head of the names' column,
    then keys of COLUMNS, fields, or keys of the rows' further cells; `rows`: name, rates, and further cells
    by the head of their column."""

    def cell(column: str, rates: ErrorRates, more: Mapping[str, Cell]) -> Cell:
        if column in more:
            return more[column]
        return COLUMNS[column](rates) if column in COLUMNS else getattr(rates, column)

    cells = [[label, *(cell(column, *row) for column in head[1:])] for label, *row in rows]
    return Table(name, caption, head, cells)


def compared_rows(
    rows: Iterable[tuple[str, Sequence[ErrorRates]]], with_intervals: bool = True
) -> list[list[Cell]]:
    """For each part of a test set: its name, utterances, words, the first system's WER, and WER and change of
    each further system."""
    lines = []
    for name, systems in rows:
        line: list[Cell] = [name, systems[0].utterances, systems[0].words]
        for number, rates in enumerate(systems):
            line.append(rates.rate() if with_intervals else Rate(rates.wer))
            line += [rates.change() if rates.changes else None] * (number > 0)
        lines.append(line)
    return lines


def terms_table(terms: Mapping[str, TermErrorRate], with_baseline: bool) -> Table:
    """Term errors by category; "" is all terms."""
    head = ["terms", "in reference", "missed", "false", "term errors %"]
    head += ["before %", "change %"] if with_baseline else []
    rows: list[list[Cell]] = []
    for category, row in terms.items():
        rate = Rate(row.term_error_rate, row.term_error_rate_ci)
        line: list[Cell] = [category or "all", row.reference, row.missed, row.false, rate]
        if with_baseline:
            line += [Rate(row.change and row.change.baseline), change_rate(row.change)]
        rows.append(line)
    return Table("terms", "Terms [95 % interval]", head, rows)


def normalized_words(text: str, mode: str) -> list[str]:
    """The words of a text that are scored, numbers in words; `mode` is a mode of `data.text.normalize`.

    References and hypotheses are treated alike, so that "B12" is "b twelve" on both sides. Mode "none" does
    not change digits.
    """
    return normalize(text if mode == "none" else verbalize_numbers(text), mode).split()


def text_errors(reference: str | None, hypothesis: str | None, mode: Mode = "ctc") -> ErrorCounts:
    """The word errors of a text; both sides are normalised, by default as in training, without more."""
    return count_errors(*(normalize(text or "", mode).split() for text in (reference, hypothesis)))


def label_value(utterance: ScoredUtterance, label: str) -> str:
    """The value of a label, "(none)" if it is missing; "speaker" and "utterance" (the id) are labels."""
    labels = utterance.labels | {"speaker": utterance.speaker, "utterance": utterance.id}
    return labels.get(label, "(none)")


def compute_error_rates(
    scored: Sequence[ScoredUtterance],
    baseline: Sequence[ScoredUtterance] | None,
    terms: TermList | None,
    unit: str,
    replications: int,
    seed: int,
) -> ErrorRates:
    """Error rates of utterances, and their changes against the same utterances of the baseline. The values of
    the label `unit` are the clusters of the bootstrap; if all utterances have the same value, the bootstrap
    draws utterances."""
    clusters = [label_value(utterance, unit) for utterance in scored]
    if len(set(clusters)) < 2:
        unit, clusters = "utterance", [utterance.id for utterance in scored]
    sides = [counts_by_utterance(scored)] + ([counts_by_utterance(baseline)] if baseline else [])
    counts = {(side, name): values for side, table in enumerate(sides) for name, values in table.items()}
    if len(scored) > 1:
        by_cluster = significance.sums_by_cluster(counts, clusters)
        sums = significance.bootstrap_sums(by_cluster, replications, seed)
    else:  # the spread of a single utterance is unknown: no interval
        sums = {name: np.array([math.nan]) for name in counts}

    def rate(errors: str, whole: str) -> tuple[float, Interval, Change | None]:
        replicates = [ratio(sums[side, errors], sums[side, whole]) for side in range(len(sides))]
        rates = [float(ratio(table[errors].sum(), table[whole].sum())) for table in sides]
        change = compute_change(*rates, *replicates) if baseline else None
        return rates[0], percentile_interval(replicates[0]), change

    def term_error_rate(row: int) -> TermErrorRate:  # columns REFERENCE, MISSED, FALSE
        counts = sum(utterance.terms[row] for utterance in scored).tolist()
        return TermErrorRate(*counts, *rate(f"term errors {row}", f"terms {row}"))

    total = sum((utterance.errors for utterance in scored), ErrorCounts())
    wer, wer_ci, wer_change = rate("errors", "words")
    cer, cer_ci, cer_change = rate("character errors", "characters")
    counted = ("utterances", "words", "insertions", "deletions", "substitutions", "mer", "wil", "ser")
    summed = ("missing", "characters", "character_errors")
    result = ErrorRates(
        **{name: getattr(total, name) for name in counted},
        **{name: sum(getattr(utterance, name) for utterance in scored) for name in summed},
        errors=total.total,
        wer=wer,
        wer_ci=wer_ci,
        ci_unit=unit,
        ci_clusters=len(set(clusters)),
        cer=cer,
        cer_ci=cer_ci,
    )
    if wer_change and cer_change:
        result.changes = {"wer": wer_change, "cer": cer_change}
    if terms:
        result.terms = pooled = term_error_rate(0)
        result.term_error_rate, result.term_error_rate_ci = pooled.term_error_rate, pooled.term_error_rate_ci
        result.terms_by_category = {n: term_error_rate(row) for row, n in enumerate(terms.categories, 1)}
        if pooled.change:
            result.changes["term_error_rate"] = pooled.change
    return result


def counts_by_utterance(scored: Sequence[ScoredUtterance]) -> dict[str, np.ndarray]:
    """Numerators and denominators of all rates, a value for each utterance: `(utterances,)`."""
    terms = np.stack([utterance.terms for utterance in scored])  # (utterances, 1 + categories, 3)
    counts = {
        "errors": np.array([utterance.errors.total for utterance in scored]),
        "words": np.array([utterance.errors.words for utterance in scored]),
        "character errors": np.array([utterance.character_errors for utterance in scored]),
        "characters": np.array([utterance.characters for utterance in scored]),
    }
    for row in range(terms.shape[1]):
        counts[f"terms {row}"] = terms[:, row, REFERENCE]
        counts[f"term errors {row}"] = terms[:, row, MISSED] + terms[:, row, FALSE]
    return counts


def compute_change(
    rate: float, baseline: float, replicates: np.ndarray, baseline_replicates: np.ndarray
) -> Change:
    """The change between two rates; replicate i of both, `(replications,)`, is of the same draw."""
    difference, differences = rate - baseline, replicates - baseline_replicates
    return Change(
        baseline=baseline,
        difference=difference,
        difference_ci=percentile_interval(differences),
        relative=difference / baseline if baseline else math.nan,
        relative_ci=percentile_interval(ratio(differences, baseline_replicates)),
    )
