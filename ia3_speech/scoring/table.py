"""The table that the score command prints: Kaldi's %WER lines, then percentages by label and by term."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

from ia3_speech.scoring.alignment import Errors
from ia3_speech.scoring.error_rates import Change, Rates, TermRate
from ia3_speech.scoring.kaldi_files import wer_report
from ia3_speech.scoring.significance import Interval

if TYPE_CHECKING:
    from ia3_speech.score import Score

MOST_VALUES = 12  # a label with more values gets one line, their range
FEW_CLUSTERS = 10  # below this, percentile intervals are known to be too narrow
INTERVAL = "[95 % interval]"
MARK = "*"  # of a row with too few


def is_few(label: str, clusters: int, unit: str, wanted: str) -> bool:
    """Whether the interval of a label's value, over so many units, says too little: of one speaker it is over
    utterances, where speakers are wanted. That of a speaker's own row is so by its nature."""
    return label != wanted and (unit != wanted or clusters < FEW_CLUSTERS)


def mark_note(unit: str) -> str:
    """What the mark says of a row; `unit` is what intervals are over."""
    alone = "" if unit == "utterance" else f" (of a single {unit}: over the utterances)"
    return f"{MARK} of fewer than {FEW_CLUSTERS} {unit}s{alone}: its interval is too narrow."


def format_table(score: Score) -> str:
    """All that a person wants to see at once, rates in percent; score.json has every number."""
    blocks = [
        wer_report(sum((row.errors for row in score.rows), Errors()), score.missing),
        in_columns(rate_rows(score)) + "".join(line + "\n" for line in label_ranges(score)),
    ]
    if score.terms:
        blocks.append(in_columns(term_rows(score)))
    blocks.append("".join(line + "\n" for line in notes(score)))
    return "\n".join(blocks)


def in_columns(rows: Iterator[list[str]]) -> str:
    """The first column to the left, the others to the right, two spaces between."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *rest in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip() + "\n")
    return "".join(lines)


def rate_rows(score: Score) -> Iterator[list[str]]:
    terms = ["term errors"] if score.terms else []
    yield ["", "utts", "words", "WER", INTERVAL, "CER", *terms, *change_heads(score)]
    yield rate_row("all", score)
    for label, value, rates in shown_values(score):
        yield rate_row(f"{label} {value}{MARK * marked(label, rates, score)}", rates)


def shown_values(score: Score) -> Iterator[tuple[str, str, Rates]]:
    """(label, value, its rates) of the labels with a few values."""
    for label, values in score.by_label.items():
        if 1 < len(values) <= MOST_VALUES:
            for value, rates in values.items():
                yield label, value, rates


def marked(label: str, rates: Rates, score: Score) -> bool:
    return is_few(label, rates.ci_clusters, rates.ci_unit, score.ci_unit)


def rate_row(name: str, rates: Rates) -> list[str]:
    terms = [] if rates.terms is None else [percent(rates.terms.term_error_rate)]
    numbers = [str(rates.utterances), str(rates.words), percent(rates.wer), percents(rates.wer_ci)]
    return [name, *numbers, percent(rates.cer), *terms, *change_cells(rates.changes.get("wer"))]


def label_ranges(score: Score) -> Iterator[str]:
    """A line for each label with too many values for the table."""
    for label, values in score.by_label.items():
        rates = sorted(rates.wer for rates in values.values() if rates.words)
        if len(values) > MOST_VALUES and rates:
            middle, low, high = (percent(rate) for rate in (median(rates), rates[0], rates[-1]))
            yield f"{label}: {len(values)} values, median WER {middle}, from {low} to {high}"


def term_rows(score: Score) -> Iterator[list[str]]:
    yield ["terms", "in reference", "missed", "false", "rate", INTERVAL, *change_heads(score)]
    if score.terms:
        yield term_row("all", score.terms)
    for category, rate in score.terms_by_category.items():
        yield term_row(category, rate)


def term_row(name: str, rate: TermRate) -> list[str]:
    numbers = [str(rate.reference), str(rate.missed), str(rate.false), percent(rate.term_error_rate)]
    return [name, *numbers, percents(rate.term_error_rate_ci), *change_cells(rate.change)]


def change_heads(score: Score) -> list[str]:
    return ["baseline", "change", INTERVAL] if score.baseline else []


def change_cells(change: Change | None) -> list[str]:
    if change is None:
        return []
    return [percent(change.baseline), percent(change.relative, "+.1f"), percents(change.relative_ci, "+.1f")]


def percent(rate: float, form: str = ".2f") -> str:
    return "-" if math.isnan(rate) else f"{100 * rate:{form}}"


def percents(interval: Interval, form: str = ".2f") -> str:
    return "-" if interval is None else f"[{', '.join(percent(end, form) for end in interval)}]"


def notes(score: Score) -> Iterator[str]:
    """What the intervals are made of, the tests, and what a reader should beware of."""
    units = f"{score.ci_clusters} {score.ci_unit}" + ("s" if score.ci_clusters != 1 else "")
    yield f"Percent. Intervals: bootstrap over {units}, {score.replications} draws, seed {score.seed}."
    if score.ci_clusters < FEW_CLUSTERS:
        yield f"With as few as {units} they are too narrow."
    if any(marked(label, rates, score) for label, _, rates in shown_values(score)):
        yield mark_note(score.ci_unit)
    if score.baseline:
        yield "Change: relative to the baseline, on the same draws; negative is better."
    if score.mapsswe:
        test = score.mapsswe
        yield f"MAPSSWE of baseline and system: {test.segments} segments, z {test.z:.3f}, p {test.p:.3g}"
    yield f"Kaldi's bootstrap over utterances:\n{score.wer_bootci}".rstrip("\n")
    for name, rates in (("system", score), ("baseline", score.baseline)):
        if rates and rates.missing:
            yield f"{rates.missing} hypotheses of the {name} are missing: all their words count as deleted."
