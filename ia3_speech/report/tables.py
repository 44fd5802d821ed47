"""The tables of the report: in the page, and as files TABLE.csv in a folder beside it.

In: report data. Out: `Table`s; report/error_rates.csv, report/words.csv … beside report.html.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ia3_speech.atomic import replacing, unexpected_file
from ia3_speech.errors import UserError
from ia3_speech.formatting import numeric_order, plural
from ia3_speech.report.browse import count_words, label_names
from ia3_speech.report.data import ReportData
from ia3_speech.results.curve_files import learning_curve_table, trade_off_table
from ia3_speech.scoring.error_rates import compared_rows, rates_table, terms_table
from ia3_speech.scoring.sentences import direction, true_minus
from ia3_speech.scoring.table import INTERVAL, Cell, Rate, Table, cell_text


def report_tables(report: ReportData) -> dict[str, Table]:
    """Each table of the report by its name, which is safe as a file name; in the page's order."""
    terms = report.system.result.terms
    tables = [systems_table(report)]
    tables += [terms_table(terms, bool(report.baseline))] if terms else []
    tables += [words_table(report), *tables_by_label(report), utterances_table(report)]
    tables += [learning_curve_table(report.curve)] if report.curve else []
    tables += [trade_off_table(report.trade_off)] if report.trade_off else []
    return {re.sub(r"[^\w.-]", "_", table.name): table for table in tables}


def systems_table(report: ReportData) -> Table:
    """Error rates of all systems, and the changes of the WER from the systems that they are compared with."""
    head = ["system", "WER %", "CER %", *["term errors %"] * bool(report.system.result.terms)]
    head += ["substitutions", "deletions", "insertions"]
    systems = [(system.name, system.result) for system in report.all_systems]
    head += ["change %", "compared with"] * any(result.has_baseline for _, result in systems)
    rows = [
        (name, result.all, {"compared with": result.baseline_label, "CER %": result.all.rate("cer")})
        for name, result in systems
    ]
    rates = report.system.result.all
    size = f"{plural(rates.utterances, 'utterance')}, {plural(rates.words, 'word')}"
    return rates_table("error_rates", f"{size} {INTERVAL}", head, rows)


def tables_by_label(report: ReportData) -> Iterator[Table]:
    """A table for each label that has several values with words, the speakers first."""
    labels = report.system.result.by_label
    names = [f"{system.name} WER %" for system in report.systems] + ["change %"] * bool(report.baseline)
    for label in sorted(labels, key=lambda label: (label != "speaker", label)):
        values = [value for value, row in labels[label].items() if row.wer is not None]
        sides = [system.result.by_label[label] for system in report.systems]
        values = sorted(values, key=numeric_order)
        rows = compared_rows((value, [side[value] for side in sides]) for value in values)
        if len(rows) > 1:
            head = [label, "utterances", "words", *names]
            yield Table(f"by_{label}", f"WER by {label} {INTERVAL}", head, rows)


def words_table(report: ReportData) -> Table:
    """The accuracy of each reference word."""
    names = [system.name for system in report.systems]
    gain, rows = ["gain"] if len(names) > 1 else [], []
    for word in count_words(report):
        rates = [Rate(correct / word["count"]) for correct in word["correct"]]
        cells = [word["word"], word["count"], *rates, *([word["gain"]] if gain else []), word["term"]]
        rows.append([*cells, *word["instead"]])
    head = ["word", "count", *(f"{name} correct %" for name in names), *gain, "term"]
    head += [f"{name} instead" for name in names]
    return Table("words", "Accuracy of each reference word, and what is recognised instead", head, rows)


def utterances_table(report: ReportData) -> Table:
    """Each utterance with its labels, error rates and texts."""
    rows, labels = [], label_names(report)
    for utterance in report.utterances:
        reference = report.system.references[utterance.id]
        words = len(reference.split())
        rates, texts = [], [reference]
        for system in report.all_systems:
            rates.append(Rate(system.errors(utterance.id) / words if words else None))
            texts.append(system.hypotheses.get(utterance.id, ""))
        labelled = [utterance.id, utterance.speaker, *(utterance.labels.get(label) for label in labels)]
        rows.append([*labelled, utterance.duration, words, *rates, *texts])
    names = [system.name for system in report.all_systems]
    head = ["utterance", "speaker", *labels, "seconds", "words", *(f"{name} WER %" for name in names)]
    return Table("utterances", "Utterances", [*head, "reference", *names], rows)


def tables_folder(page: Path) -> Path:
    """`exp/report_test.html` → `exp/report_test`."""
    return page.with_suffix("") if page.suffix else page.with_name(f"{page.name}_tables")


def write_table_files(page: Path, tables: Mapping[str, Table]) -> None:
    """Write the tables, by their names, into the folder beside the page, in place of earlier tables. Raises
    UserError if the folder holds other files, which would be lost."""
    folder, again = tables_folder(page), page.is_file()

    def is_table(path: Path) -> bool:
        return path.suffix == ".csv" and path.is_file() and (again or path.stem in tables)

    if name := unexpected_file(folder, is_table):
        raise UserError(f"{folder / name}: is in the way of the report's tables (choose another `out`)")
    with replacing(folder) as new:
        new.mkdir()
        for name, table in tables.items():
            (new / f"{name}.csv").write_text(table.csv(), "utf-8", newline="")


def shown_cell(cell: Cell, few_clusters: bool = False) -> tuple[str, str, str]:
    """A cell's text, interval and CSS class; interval and class may be empty. A change is coloured if its
    interval excludes 0 and is from enough clusters."""
    if isinstance(cell, Rate):
        text, bounds = cell.parts
        style = direction(cell.bounds) if cell.signed and not few_clusters else ""
        return true_minus(text), true_minus(bounds), style
    return true_minus(cell_text(cell)) if isinstance(cell, int | float) else cell_text(cell), "", ""
