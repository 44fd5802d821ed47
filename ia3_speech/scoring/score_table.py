"""The table that the score command prints: Kaldi's %WER lines, then percentages by label and by term."""

from collections.abc import Iterator
from statistics import median

from ia3_speech.confidence.reliability import REVIEWED, Calibration
from ia3_speech.data.kaldi.overlap import training_in_words
from ia3_speech.formatting import MISSING, in_columns, interval, percent, plural, with_interval
from ia3_speech.scoring.error_rates import Change, ErrorRates, TermErrorRate
from ia3_speech.scoring.kaldi_files import format_wer
from ia3_speech.scoring.score_file import Score
from ia3_speech.scoring.significance import FEW_CLUSTERS, Interval

MAX_VALUES = 12  # a label with more values gets one line, the range of its WER
INTERVAL = "[95 % interval]"
MARK = "*"  # of a row whose interval is of few clusters


def format_score(score: Score) -> str:
    """The printed table, rates in percent; score.json has every number.

    %WER 35.71 [ 5 / 14, 2 ins, 1 del, 2 sub ]
    %SER 60.00 [ 3 / 5 ]
    Scored 5 sentences, 0 not present in hyp.

                      utts  words    WER  [95 % interval]    CER  baseline  change  [95 % interval]
    all                  5     14  35.71   [25.00, 66.67]   6.17     71.43   -50.0   [-50.0, -50.0]
    speaker ann          2      7  28.57    [0.00, 40.00]   2.33     57.14   -50.0  [-100.0, -33.3]
    speaker bob          2      3  66.67   [66.67, 66.67]   4.76    133.33   -50.0   [-50.0, -33.3]
    speaker cat          1      4  25.00                –  17.65     50.00   -50.0                –
    accent scottish*     4     10  40.00   [28.57, 66.67]   3.12     80.00   -50.0   [-50.0, -50.0]
    accent welsh*        1      4  25.00                –  17.65     50.00   -50.0                –

    Rates in percent. Intervals: bootstrap over 3 speakers, 10,000 replicates, seed 0.
    With only 3 speakers, the intervals are too narrow.
    * fewer than 10 speakers (for a single speaker, utterances are drawn): the interval is too narrow.
    Change: relative to the baseline, paired; negative is better.
    MAPSSWE, baseline against system: 8 segments, z = 3.416, p = 0.000636
    Kaldi's bootstrap over utterances:
    Set1: %WER 74.64 95% Conf Interval [ 40.34, 108.95 ]
    Set2: %WER 35.39 95% Conf Interval [ 15.18, 55.61 ]
    Probability of Set2 improving Set1: 100.00
    """
    blocks = [
        format_wer(score.scored),
        "".join(line + "\n" for line in [*in_columns(rate_rows(score)), *label_ranges(score)]),
    ]
    if score.terms:
        blocks.append("".join(line + "\n" for line in in_columns(term_rows(score))))
    blocks.append("".join(line + "\n" for line in score_notes(score)))
    return "\n".join(blocks)


def rate_rows(score: Score) -> Iterator[list[str]]:
    terms = ["term errors"] if score.terms else []
    yield ["", "utts", "words", "WER", INTERVAL, "CER", *terms, *change_heads(score)]
    yield rate_row("all", score)
    if score.unseen_sentences:
        yield rate_row("sentences not in training", score.unseen_sentences)
    for label, value, rates in listed_values(score):
        mark = MARK if has_few_clusters(label, rates.ci_clusters, rates.ci_unit, score.ci_unit) else ""
        yield rate_row(f"{label} {value}{mark}", rates)


def listed_values(score: Score) -> Iterator[tuple[str, str, ErrorRates]]:
    """(label, value, its error rates) of the labels that have from two to MAX_VALUES values."""
    for label, values in score.by_label.items():
        if 1 < len(values) <= MAX_VALUES:
            for value, rates in values.items():
                yield label, value, rates


def rate_row(name: str, rates: ErrorRates) -> list[str]:
    terms = [] if rates.terms is None else [percent(rates.terms.term_error_rate, 2)]
    cells = [str(rates.utterances), str(rates.words), percent(rates.wer, 2), interval_cell(rates.wer_ci, 2)]
    return [name, *cells, percent(rates.cer, 2), *terms, *change_cells(rates.changes.get("wer"))]


def label_ranges(score: Score) -> Iterator[str]:
    """A line for each label with more than MAX_VALUES values."""
    for label, values in score.by_label.items():
        rates = sorted(rates.wer for rates in values.values() if rates.words)
        if len(values) > MAX_VALUES and rates:
            middle, low, high = (percent(rate, 2) for rate in (median(rates), rates[0], rates[-1]))
            yield f"{label}: {len(values)} values, median WER {middle}, from {low} to {high}"


def term_rows(score: Score) -> Iterator[list[str]]:
    yield ["terms", "in reference", "missed", "false", "rate", INTERVAL, *change_heads(score)]
    if score.terms:
        yield term_row("all", score.terms)
    for category, rate in score.terms_by_category.items():
        yield term_row(category, rate)


def term_row(name: str, rate: TermErrorRate) -> list[str]:
    counts = [str(rate.reference), str(rate.missed), str(rate.false)]
    bounds = interval_cell(rate.term_error_rate_ci, 2)
    return [name, *counts, percent(rate.term_error_rate, 2), bounds, *change_cells(rate.change)]


def change_heads(score: Score) -> list[str]:
    return ["baseline", "change", INTERVAL] if score.baseline else []


def change_cells(change: Change | None) -> list[str]:
    if change is None:
        return []
    relative = percent(change.relative, signed=True), interval_cell(change.relative_ci, signed=True)
    return [percent(change.baseline, 2), *relative]


def interval_cell(bounds: Interval, digits: int = 1, signed: bool = False) -> str:
    return interval(bounds, digits, signed) or MISSING


def has_few_clusters(label: str, clusters: int, unit: str, unit_of_all: str) -> bool:
    """Whether the interval of a label's value is too narrow.

    It is where it covers fewer than FEW_CLUSTERS clusters, or where utterances were drawn (`unit`) because
    the value has one cluster only. A value of the clusters' own label (each speaker) always has one cluster,
    which needs no mark.

    Args:
        label: the label.
        clusters: clusters of this value.
        unit: what the bootstrap drew for this value.
        unit_of_all: what it draws for all utterances.
    """
    return label != unit_of_all and (unit != unit_of_all or clusters < FEW_CLUSTERS)


def few_clusters_note(unit: str) -> str:
    """What the mark of a row means; `unit` is what the bootstrap draws."""
    single = "" if unit == "utterance" else f" (for a single {unit}, utterances are drawn)"
    return f"{MARK} fewer than {FEW_CLUSTERS} {unit}s{single}: the interval is too narrow."


def interval_notes(clusters: int, unit: str, replications: int, seed: int) -> Iterator[str]:
    """How the intervals were computed, and whether they are of too few clusters (each a `unit`)."""
    units = plural(clusters, unit)
    yield f"Intervals: bootstrap over {units}, {plural(replications, 'replicate')}, seed {seed}."
    if clusters < FEW_CLUSTERS:
        yield f"With only {units}, the intervals are too narrow."


def missing_note(count: int, system: str) -> str:
    """What a number of missing hypotheses means."""
    missing = plural(count, "hypothesis is", "hypotheses are")
    return f"{missing} missing from {system}: all their words count as deleted."


def reliability_note(found: Calibration) -> str:
    """`Word confidences: calibration error 3.1 %; the least certain 10 % of the words hold 24 [21, 27] % of
    the errors.`"""
    share = with_interval(found.found, found.found_ci, digits=0)
    return (
        f"Word confidences: calibration error {percent(found.calibration_error)} %; the least certain "
        f"{percent(REVIEWED, 0)} % of the words hold {share} % of the errors."
    )


def score_notes(score: Score) -> Iterator[str]:
    """How the intervals were computed, the tests, and warnings."""
    method, *warnings = interval_notes(score.ci_clusters, score.ci_unit, score.replications, score.seed)
    yield f"Rates in percent. {method}"
    yield from warnings
    if any(
        has_few_clusters(label, rates.ci_clusters, rates.ci_unit, score.ci_unit)
        for label, _, rates in listed_values(score)
    ):
        yield few_clusters_note(score.ci_unit)
    if score.baseline:
        yield "Change: relative to the baseline, paired; negative is better."
    if score.mapsswe:
        test = score.mapsswe
        segments = plural(test.segments, "segment")
        yield f"MAPSSWE, baseline against system: {segments}, z = {test.z:.3f}, p = {test.p:.3g}"
    if score.overlap:
        yield from (f"Warning: {one}." for one in score.overlap.warnings)
        if not score.overlap.common_sentences:
            yield f"No sentence of the test set occurs in {training_in_words(score.overlap.by_speaker)}."
    if score.confidences:
        yield reliability_note(score.confidences)
    yield f"Kaldi's bootstrap over utterances:\n{score.wer_bootci}".rstrip("\n")
    for name, rates in (("system", score), ("baseline", score.baseline)):
        if rates and rates.missing:
            yield missing_note(rates.missing, f"the {name}")
