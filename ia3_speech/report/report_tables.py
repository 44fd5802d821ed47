"""The tables of the report: in the page, and as files TABLE.csv and TABLE.md in a folder beside it.

In: report data. Out: `Table`s; report/error_rates.csv, report/error_rates.md, report/words.csv … beside
report.html.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

from ia3_speech.adapters.weights import spreads
from ia3_speech.atomic import replacing, unexpected_file
from ia3_speech.cli import UserError
from ia3_speech.experiments.curve_files import Epoch, LearningCurve, LearningCurvePoint, TradeOff
from ia3_speech.formatting import numeric_order, plural
from ia3_speech.report.browse import count_words, instead_text, label_names
from ia3_speech.report.report_data import DecodedSystem, ReportData
from ia3_speech.scoring.results import Json, change_rate
from ia3_speech.scoring.table import INTERVAL, Cell, Rate, Table

SUFFIXES = (".csv", ".md")
BINS = 10  # ranges of confidence in score.json


def report_tables(report: ReportData) -> dict[str, Table]:
    """Every table of the report by its name, which can be a file's; in the page's order."""
    tables = [rates_table(report)]
    tables += [terms_table(report)] if report.system.results.terms else []
    tables += systems_tables(report.experiment) if report.experiment else []
    tables += [words_table(report)]
    tables += [confidence_table(report.with_confidences)] if report.with_confidences else []
    tables += [*tables_by_label(report), utterances_table(report)]
    tables += [epoch_table(report.training)] if report.training else []
    tables += [learning_curve_table(report.curve)] if report.curve else []
    tables += [trade_off_points_table(report.trade_off)] if report.trade_off else []
    tables += [vectors_table(report)] if report.vectors else []
    return {re.sub(r"[^\w.-]", "_", table.name): table for table in tables}


# ---- rates


def rates_table(report: ReportData) -> Table:
    """Error rates of both systems, and the change of the WER."""
    score, rows = report.system.results, []
    for system in report.systems:
        row = system.results.all
        rates = [row.wer, row.cer, *([row.term_error_rate] if score.terms else [])]
        cells: list[Cell] = [system.name, *rates, row.substitutions, row.deletions, row.insertions]
        if report.baseline:
            cells.append(row.change() if system is report.system else Rate(None, signed=True))
        rows.append(cells)
    head = ["system", "WER %", "CER %", *(["term errors %"] if score.terms else [])]
    head += ["substitutions", "deletions", "insertions", *(["WER, change %"] if report.baseline else [])]
    size = f"{plural(score.all.utterances, 'utterance')}, {plural(score.all.words, 'word')}"
    return Table("error_rates", f"{size} {INTERVAL}", head, rows)


def terms_table(report: ReportData) -> Table:
    """Term errors of all terms, and of each category."""
    rows: list[list[Cell]] = []
    for category, row in report.system.results.terms.items():
        rate = Rate(row.term_error_rate, row.term_error_rate_ci)
        cells: list[Cell] = [category or "all", row.reference, row.missed, row.false, rate]
        if report.baseline:
            cells += [Rate(row.change and row.change.baseline), change_rate(row.change)]
        rows.append(cells)
    head = ["terms", "in reference", "missed", "false", "term errors %"]
    return Table(
        "terms", f"Terms {INTERVAL}", head + ["baseline %", "change %"] * bool(report.baseline), rows
    )


def systems_tables(experiment: Json) -> Iterator[Table]:
    """A table for each test set of a results.json, with every seed; columns without a value are omitted. No
    trained parameters and no training time are shown as missing."""
    pairs = {(pair.get("set"), pair.get("system"), pair.get("seed")): pair for pair in experiment["pairs"]}
    for name in dict.fromkeys(system.get("set") for system in experiment["systems"]):
        rows = []
        for system in experiment["systems"]:
            if system.get("set") == name:
                pair = pairs.get((name, system.get("name"), system.get("seed"))) or {}
                rows.append({
                    "system": str(system.get("name")),
                    "seed": None if system.get("seed") is None else str(system["seed"]),
                    "WER %": Rate(system.get("wer"), system.get("wer_ci")),
                    "CER %": Rate(system.get("cer")),
                    "term errors %": Rate(system.get("term_error_rate")),
                    "WER, change %": Rate(pair.get("relative"), pair.get("relative_ci"), signed=True),
                    "utterances": system.get("utterances") or None,
                    "words": system.get("words") or None,
                    "trained parameters": system.get("trainable") or None,
                    "training, s": round(system["seconds"]) if system.get("seconds") else None,
                })  # fmt: skip
        head = [head for head in rows[0] if any(has_value(row[head]) for row in rows)]
        cells = [[row[name] for name in head] for row in rows]
        yield Table(f"systems_{name}", f"All systems on {name} {INTERVAL}", head, cells)


def has_value(cell: Cell) -> bool:
    return (cell.value if isinstance(cell, Rate) else cell) is not None


def tables_by_label(report: ReportData) -> Iterator[Table]:
    """A table for each label that has several values with words."""
    system, baseline = report.system.results, report.baseline and report.baseline.results
    names = [f"{side.name} WER %" for side in report.systems]
    for label, values in sorted(system.by_label.items()):
        rows: list[list[Cell]] = []
        for value in sorted(values, key=numeric_order):
            row = values[value]
            if row.wer.value is not None:
                before = [baseline.by_label[label][value].wer] if baseline else []
                change = [row.change()] if baseline else []
                rows.append([value, row.utterances, row.words, *before, row.wer, *change])
        head = [label, "utterances", "words", *names, *(["change %"] if baseline else [])]
        if len(rows) > 1:
            yield Table(f"by_{label}", f"WER by {label} {INTERVAL}", head, rows)


def words_table(report: ReportData) -> Table:
    """How often each reference word is recognised."""
    names = [system.name for system in report.systems]
    gain, rows = ["gain"] if len(names) > 1 else [], []
    for word in count_words(report):
        rates = [Rate(correct / word.count) for correct in word.correct]
        cells = [word.word, word.count, *rates, *([word.gain] if gain else []), word.term]
        rows.append([*cells, *map(instead_text, word.instead)])
    head = ["word", "count", *(f"{name} correct %" for name in names), *gain, "term"]
    head += [f"{name} instead" for name in names]
    return Table("words", "Accuracy of each reference word, and what is recognised instead", head, rows)


def utterances_table(report: ReportData) -> Table:
    """Every utterance with its labels, error rates and texts."""
    rows, labels = [], label_names(report)
    for utterance in report.utterances:
        reference = report.system.references[utterance.id]
        words = len(reference.split())
        rates, texts = [], [reference]
        for system in report.systems:
            errors = sum(word != heard for word, heard in system.alignments[utterance.id])
            rates.append(Rate(errors / words if words else None))
            texts.append(system.hypotheses.get(utterance.id, ""))
        labelled = [utterance.id, utterance.speaker, *(utterance.labels.get(label) for label in labels)]
        rows.append([*labelled, utterance.duration, words, *rates, *texts])
    names = [system.name for system in report.systems]
    head = ["utterance", "speaker", *labels, "seconds", "words", *(f"{name} WER %" for name in names)]
    return Table("utterances", "Utterances", [*head, "reference", *names], rows)


def confidence_table(systems: list[DecodedSystem]) -> Table:
    """Words, mean confidence and share of right words in each range of confidences, for each system."""
    head = ["confidence %"]
    for system in systems:
        head += [f"{system.name} words", f"{system.name} mean %", f"{system.name} right %"]
    rows: list[list[Cell]] = []
    for number in range(BINS):
        cells: list[Cell] = [f"{10 * number} to {10 * number + 10}"]
        for system in systems:
            bins = {round(BINS * part["low"]): part for part in system.results.confidences["bins"]}
            if part := bins.get(number):
                right = Rate(part["right"], right_interval(part))
                cells += [part["words"], Rate(part["confidence"]), right]
            else:
                cells += [0, None, None]
        rows.append(cells)
    return Table("confidences", f"Word confidences and right words {INTERVAL}", head, rows)


def right_interval(part: Json) -> tuple[float, float]:
    """The 95 % interval of the share of right words in a range of confidences (Wilson 1927)."""
    z, share, words = 1.959964, part["right"], part["words"]
    centre = (share + z**2 / (2 * words)) / (1 + z**2 / words)
    half = z * math.sqrt(share * (1 - share) / words + (z / (2 * words)) ** 2) / (1 + z**2 / words)
    return max(0.0, centre - half), min(1.0, centre + half)


def epoch_table(epochs: Sequence[Epoch]) -> Table:
    rows = [
        [epoch.number, None if epoch.loss is None else f"{epoch.loss:.3f}", Rate(epoch.dev_wer, digits=2)]
        for epoch in epochs
    ]
    return Table("training", "Training", ["epoch", "CTC loss", "dev WER %"], rows)


def by_amount(curve: LearningCurve) -> Iterator[tuple[float, list[LearningCurvePoint]]]:
    """Each amount with the points of its seeds."""
    for amount, points in groupby(curve.points, key=lambda point: point.amount):
        yield amount, list(points)


def learning_curve_table(curve: LearningCurve) -> Table:
    """The median of the seeds, their range, and the change of the median relative to the base."""
    rows = []
    for amount, seeds in by_amount(curve):
        rates = [point.estimate.wer for point in seeds]
        base = curve.base.wer if curve.base else None
        change = Rate((median(rates) - base) / base if base else None, signed=True)
        rows.append([f"{amount:g}", len(seeds), *map(Rate, (median(rates), min(rates), max(rates))), change])
    head = [curve.unit, "seeds", "median WER %", "lowest", "highest", "change %"]
    return Table("learning_curve", "Change of the median relative to the base", head, rows)


def trade_off_points_table(trade_off: TradeOff) -> Table:
    rows = [
        [point.name, *(Rate(rate.wer, rate.interval) for rate in (point.own, point.out_of_domain))]
        for point in trade_off.points
    ]
    head = ["adapter", trade_off.own, trade_off.out_of_domain]
    return Table("trade_off", f"WER % {INTERVAL}", head, rows)


def vectors_table(report: ReportData) -> Table:
    """How the vectors' values lie around 1, by placement and layer."""
    rows = [
        [row.placement, "all" if row.layer is None else str(row.layer), row.parameters]
        + [f"{value:.4f}" for value in (row.min, row.mean, row.max)]
        + [Rate(row.inhibiting), Rate(row.amplifying)]
        for row in spreads(report.vectors)
    ]
    head = ["placement", "layer", "parameters", "minimum", "mean", "maximum", "below 0.9 %", "above 1.1 %"]
    return Table("adapter_vectors", "Values of the adapter's vectors", head, rows)


# ---- files


def tables_folder(page: Path) -> Path:
    """`exp/report_test.html` → `exp/report_test`."""
    return page.with_suffix("") if page.suffix else page.with_name(f"{page.name}_tables")


def write_table_files(page: Path, tables: Mapping[str, Table]) -> None:
    """Write the tables, by their names, into the folder beside the page, in place of earlier ones.

    Raises:
        UserError: the folder holds other files, which would be lost.
    """
    folder = tables_folder(page)
    if name := unexpected_file(folder, lambda path: path.suffix in SUFFIXES and path.is_file()):
        raise UserError(f"{folder / name}: is in the way of the report's tables (choose another --out)")
    with replacing(folder) as new:
        new.mkdir()
        for name, table in tables.items():
            (new / f"{name}.csv").write_text(table.csv(), "utf-8", newline="")
            (new / f"{name}.md").write_text(table.markdown(), "utf-8", newline="")
