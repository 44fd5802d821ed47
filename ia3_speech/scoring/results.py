"""A score.json as rows: what the terminal, RESULTS.md and the report show of it, and what they warn of.

In: score.json, as scorer.py writes it. Out: `Results`: a `ResultRow` for all utterances, for those whose
sentence is not in training, and for each value of each label; the errors of terms; the warnings and notes
that belong to them, in words.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from ia3_speech.data.kaldi.overlap import training_in_words
from ia3_speech.errors import UserError
from ia3_speech.formatting import in_columns, percent, plural, with_interval
from ia3_speech.scoring.alignment import ErrorCounts
from ia3_speech.scoring.error_rates import Change, TermErrorRate
from ia3_speech.scoring.kaldi_files import format_wer_lines
from ia3_speech.scoring.scorer import SCHEMA
from ia3_speech.scoring.significance import FEW_CLUSTERS, BootCI, UtteranceBootstrap
from ia3_speech.scoring.table import INTERVAL, Rate

Json = dict[str, Any]

# How a set was searched, as decode_SEARCH_SET says, and what of it stands in a system's name.
ADDED = {"greedy": "", "lm": " + LM", "hotwords": " + LM + hot words"}

MARK = "*"  # of a row whose interval is of few clusters
MAX_VALUES = 12  # a label with more values gets one line on the terminal, the range of its WER
NOT_IMPROVED = "no epoch of the training improved on its start, so the adapter is as it started"


@dataclass(frozen=True)
class ResultRow:
    """Error rates of a test set, or of a part of it."""

    utterances: int  # this and those down to substitutions as in `ErrorRates`
    missing: int
    words: int
    errors: int
    insertions: int
    deletions: int
    substitutions: int
    wer: Rate
    cer: Rate
    term_error_rate: Rate  # without a value where there is no term list
    changes: Mapping[str, Change]  # with a baseline, of "wer", "cer" and, with terms, "term_error_rate"
    clusters: int  # how many of what the bootstrap draws
    unit: str
    few_clusters: bool  # the interval is too narrow, since it is of fewer than ten clusters

    def change(self, rate: str = "wer") -> Rate:
        """The change of a rate relative to the baseline; without a value where there is no baseline."""
        return change_rate(self.changes.get(rate))


@dataclass(frozen=True)
class Results:
    """The results of one test set."""

    record: Json  # the contents of score.json

    @cached_property
    def all(self) -> ResultRow:
        """Of all utterances."""
        return self.row(self.record)

    @cached_property
    def unseen(self) -> ResultRow | None:
        """Of the utterances whose sentence is not in training; None where these are unknown, all or none."""
        rates = self.record.get("unseen_sentences")
        return self.row(rates) if rates else None

    @cached_property
    def by_label(self) -> dict[str, dict[str, ResultRow]]:
        """Label → value → the row of its utterances; "speaker" is a label."""
        return {
            label: {value: self.row(rates, label) for value, rates in values.items()}
            for label, values in self.record["by_label"].items()
        }

    @cached_property
    def terms(self) -> dict[str, TermErrorRate]:
        """Errors of all terms, by the name "", and of each category; empty without a term list."""
        if not self.record["terms"]:
            return {}
        entries = {"": self.record["terms"]} | self.record["terms_by_category"]
        return {
            category: TermErrorRate(**rates | {"change": rates["change"] and Change(**rates["change"])})
            for category, rates in entries.items()
        }

    @property
    def has_baseline(self) -> bool:
        return bool(self.record.get("baseline"))

    def is_against(self, baseline: "Results") -> bool:
        """Whether this is the baseline that it was scored against, by the numbers that were kept of it."""
        then, now = self.record.get("baseline") or {}, baseline.record
        return all(then.get(name) == now[name] for name in ("utterances", "words", "errors", "wer"))

    @property
    def few_clusters(self) -> bool:
        """Whether all intervals are of too few speakers (or other clusters) to be trusted."""
        return self.record["ci_clusters"] < FEW_CLUSTERS

    @property
    def confidences(self) -> Json | None:
        """How reliable the word confidences are; None where decode wrote none."""
        return self.record.get("confidences")

    @property
    def bootstrap(self) -> UtteranceBootstrap:
        """Kaldi's bootstrap over utterances."""
        record, nan = self.record["wer_bootci"], float("nan")
        system, baseline = (
            side and BootCI(*(nan if side[name] is None else side[name] for name in ("wer", "margin")))
            for side in (record["system"], record["baseline"])
        )
        return UtteranceBootstrap(system, baseline, record["improvement"])

    @property
    def overlap(self) -> Json:
        """What the test set has in common with training; empty where that is not known."""
        return self.record.get("overlap") or {}

    @property
    def warnings(self) -> list[str]:
        """What the test set has in common with training, each a sentence without its full stop."""
        return list(self.overlap.get("warnings", ()))

    @property
    def no_overlap_note(self) -> str | None:
        """That no sentence is in training, where that is known."""
        if not self.overlap or self.overlap["common_sentences"]:
            return None
        place = training_in_words(self.overlap.get("by_speaker", False))
        return f"No sentence of the test set occurs in {place}."

    def row(self, rates: Json, label: str = "") -> ResultRow:
        """A row of the error rates that score.json has of some utterances, those with a value of `label`."""
        unit, clusters, unit_of_all = rates["ci_unit"], rates["ci_clusters"], self.record["ci_unit"]
        # Each value of the clusters' own label (each speaker) is one cluster, which needs no mark. Where
        # another value is of one cluster only, utterances are drawn instead.
        few = label not in ("", unit_of_all) and (unit != unit_of_all or clusters < FEW_CLUSTERS)
        copied = ("utterances", "missing", "words", "errors", "insertions", "deletions", "substitutions")
        changes = {name: Change(**change) for name, change in rates["changes"].items()}
        return ResultRow(
            *(rates[name] for name in copied),
            *(Rate(rates[name], rates[f"{name}_ci"]) for name in ("wer", "cer", "term_error_rate")),
            changes,
            clusters,
            unit,
            few,
        )


def read_results(file: Path) -> Results:
    """The results in a score.json. Raises UserError where it is not there, or not of this schema."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = f'run "ia3-speech score DATA {file.parent}" first'
        raise UserError(f"{file}: is not there ({hint})") from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise UserError(f'{file}: not a score.json of "schema" {SCHEMA} (ia3-speech score writes it)')
    return Results(record)


def search_of(decode_dir: str | Path) -> str:
    """`exp/clinic/ia3_plus_seed1/decode_lm_test` → `lm`; greedy where a folder is called otherwise."""
    search = Path(decode_dir).name.removeprefix("decode_").partition("_")[0]
    return search if search in ADDED else "greedy"


def search_in_words(decode_dir: Path) -> str:
    """`LM + hot words`, as decode.json records the search, else as the folder is called; empty if greedy."""
    file = decode_dir / "decode.json"
    record = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if "search" not in record:
        return ADDED[search_of(decode_dir)].removeprefix(" + ")
    parts = ["LM" if record.get("lm") else "beam search"] if record["search"] == "beam" else []
    return " + ".join([*parts, *(["hot words"] if record.get("hotwords") else [])])


def system_name(decode_dir: str | Path) -> str:
    """`exp/clinic/ia3_plus_seed1/decode_lm_test` → `ia3_plus_seed1 + LM`; another folder's own name."""
    path = Path(decode_dir).absolute()
    return path.parent.name + ADDED[search_of(path)] if path.name.startswith("decode") else path.name


def change_rate(change: Change | None) -> Rate:
    """A change relative to the baseline, as a rate."""
    return Rate(change.relative, change.relative_ci, signed=True) if change else Rate(None, signed=True)


# ---- sentences


def few_clusters_note(unit: str) -> str:
    """What the mark of a row means; `unit` is what the bootstrap draws."""
    single = "" if unit == "utterance" else f" (for a single {unit}, utterances are drawn)"
    return f"{MARK} fewer than {FEW_CLUSTERS} {unit}s{single}: the interval is too narrow."


def interval_notes(results: Results) -> Iterator[str]:
    """How the intervals were computed, and whether they are of too few clusters."""
    record = results.record
    units = plural(record["ci_clusters"], record["ci_unit"])
    replicates = plural(record["replications"], "replicate")
    yield f"Intervals: bootstrap over {units}, {replicates}, seed {record['seed']}."
    if results.few_clusters:
        yield f"With only {units}, the intervals are too narrow."


def significance_note(results: Results, system: str, baseline: str) -> str:
    """The matched pairs test and Kaldi's bootstrap of a system against its baseline; empty without a test."""
    test, bootci = results.record.get("mapsswe"), results.record.get("wer_bootci")
    if not test:
        return ""
    text = f"Matched pairs test (MAPSSWE) of {system} against {baseline}: "
    text += f"{test['segments']} segments, z = {test['z']:.2f}, p = {test['p']:.2g}."
    sides = [bootci[name] for name in ("baseline", "system")]
    if any(side["margin"] is None for side in sides):
        return text
    before, after = (
        with_interval(side["wer"], [side["wer"] - side["margin"], side["wer"] + side["margin"]])
        for side in sides
    )
    better = f"better in {percent(bootci['improvement'], 2)} % of the draws"
    return f"{text} Kaldi's bootstrap over utterances: {before} and {after}, {better}."


def missing_note(count: int, system: str) -> str:
    """What a number of missing hypotheses means."""
    missing = plural(count, "hypothesis is", "hypotheses are")
    return f"{missing} missing from {system}: all their words count as deleted."


def reliability_note(confidences: Json) -> str:
    """`Word confidences: calibration error 3.1 %; the least certain 10 % of the words hold 24 [21, 27] % of
    the errors.`"""
    share = with_interval(confidences["found"], confidences["found_ci"], digits=0)
    return (
        f"Word confidences: calibration error {percent(confidences['calibration_error'])} %; the least "
        f"certain 10 % of the words hold {share} % of the errors."
    )


# ---- the terminal


def format_results(results: Results) -> str:
    """What the score command prints: Kaldi's %WER lines, then percentages; score.json has every number.

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
    row, wrong = results.all, round((results.record["ser"] or 0.0) * results.all.utterances)
    counts = (row.words, row.insertions, row.deletions, row.substitutions, row.utterances, wrong)
    kaldi_lines = format_wer_lines(ErrorCounts(*counts), row.missing)
    blocks = [[*in_columns(rate_lines(results)), *label_ranges(results)]]
    if results.terms:
        blocks.append(in_columns(term_lines(results)))
    blocks.append([*score_notes(results)])
    return "\n".join([kaldi_lines, *("".join(f"{line}\n" for line in block) for block in blocks)])


def listed_rows(results: Results) -> Iterator[tuple[str, ResultRow]]:
    """Those of the labels that have from two to MAX_VALUES values, each with its name."""
    for label, rows in results.by_label.items():
        if 1 < len(rows) <= MAX_VALUES:
            yield from ((f"{label} {value}", row) for value, row in rows.items())


def rate_lines(results: Results) -> Iterator[list[str]]:
    """A line for all utterances, for those not in training, and for each value of a label."""
    with_terms = bool(results.terms)
    head = ["", "utts", "words", "WER", INTERVAL, "CER", *(["term errors"] if with_terms else [])]
    yield head + change_heads(results)
    rows = [("all", results.all)]
    if results.unseen:
        rows.append(("sentences not in training", results.unseen))
    for name, row in [*rows, *listed_rows(results)]:
        terms = [percent(row.term_error_rate.value, 2)] if with_terms else []
        wer = Rate(row.wer.value, row.wer.bounds, digits=2)
        marked = f"{name}{MARK * row.few_clusters}"
        cells = [marked, str(row.utterances), str(row.words), *wer.columns, percent(row.cer.value, 2), *terms]
        yield cells + change_cells(row.changes.get("wer"))


def label_ranges(results: Results) -> Iterator[str]:
    """A line for each label with more than MAX_VALUES values."""
    for label, rows in results.by_label.items():
        rates = sorted(row.wer.value for row in rows.values() if row.words)
        if len(rows) > MAX_VALUES and rates:
            middle, low, high = (percent(rate, 2) for rate in (median(rates), rates[0], rates[-1]))
            yield f"{label}: {len(rows)} values, median WER {middle}, from {low} to {high}"


def term_lines(results: Results) -> Iterator[list[str]]:
    yield ["terms", "in reference", "missed", "false", "rate", INTERVAL, *change_heads(results)]
    for category, row in results.terms.items():
        rate = Rate(row.term_error_rate, row.term_error_rate_ci, digits=2)
        counts = [str(row.reference), str(row.missed), str(row.false)]
        yield [category or "all", *counts, *rate.columns, *change_cells(row.change)]


def change_heads(results: Results) -> list[str]:
    return ["baseline", "change", INTERVAL] if results.has_baseline else []


def change_cells(change: Change | None) -> list[str]:
    return [percent(change.baseline, 2), *change_rate(change).columns] if change else []


def score_notes(results: Results) -> Iterator[str]:
    """How the intervals were computed, the tests, and warnings."""
    method, *too_narrow = interval_notes(results)
    yield f"Rates in percent. {method}"
    yield from too_narrow
    if any(row.few_clusters for _, row in listed_rows(results)):
        yield few_clusters_note(results.all.unit)
    if results.has_baseline:
        yield "Change: relative to the baseline, paired; negative is better."
    if test := results.record.get("mapsswe"):
        segments = plural(test["segments"], "segment")
        yield f"MAPSSWE, baseline against system: {segments}, z = {test['z']:.3f}, p = {test['p']:.3g}"
    yield from (f"Warning: {text}." for text in results.warnings)
    if results.no_overlap_note:
        yield results.no_overlap_note
    if results.confidences:
        yield reliability_note(results.confidences)
    yield f"Kaldi's bootstrap over utterances:\n{results.bootstrap}".rstrip("\n")
    for name, rates in (("system", results.record), ("baseline", results.record.get("baseline"))):
        if rates and rates["missing"]:
            yield missing_note(rates["missing"], f"the {name}")
