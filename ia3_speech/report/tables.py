"""The tables of the report: in the page, and as files TABLE.csv in a folder beside it.

In: report data. Out: `Table`s; report/error_rates.csv, report/words.csv … beside report.html.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ia3_speech.atomic import replacing, unexpected_file
from ia3_speech.errors import UserError
from ia3_speech.formatting import interval, numeric_order, percent, plural
from ia3_speech.report.browse import count_words, label_names
from ia3_speech.report.data import ReportData
from ia3_speech.results.curve_files import learning_curve_table, trade_off_table
from ia3_speech.scoring.results import change_rate, system_name
from ia3_speech.scoring.table import INTERVAL, Bounds, Cell, Rate, Table, cell_text


def report_tables(report: ReportData) -> dict[str, Table]:
    """Every table of the report by its name, which can be a file's; in the page's order."""
    tables = [rates_table(report)]
    tables += [terms_table(report)] if report.system.results.terms else []
    tables += [words_table(report), *tables_by_label(report), utterances_table(report)]
    tables += [learning_curve_table(report.curve)] if report.curve else []
    tables += [trade_off_table(report.trade_off)] if report.trade_off else []
    return {re.sub(r"[^\w.-]", "_", table.name): table for table in tables}


# ---- rates


def rates_table(report: ReportData) -> Table:
    """Error rates of all systems, and the change of the WER from what each is compared with."""
    score, rows = report.system.results, []
    compared = any(system.results.has_baseline for system in report.all_systems)
    for system in report.all_systems:
        row, against = system.results.all, system.results.record.get("baseline_dir")
        rates = [row.wer, row.cer, *([row.term_error_rate] if score.terms else [])]
        cells: list[Cell] = [system.name, *rates, row.substitutions, row.deletions, row.insertions]
        if compared:
            cells += [row.change(), system_name(against) if against else None]
        rows.append(cells)
    head = ["system", "WER %", "CER %", *(["term errors %"] if score.terms else [])]
    head += ["substitutions", "deletions", "insertions"]
    head += ["WER, change %", "compared with"] * compared
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
    head += [f"{report.baseline.name} %", "change %"] if report.baseline else []
    return Table("terms", f"Terms {INTERVAL}", head, rows)


def tables_by_label(report: ReportData) -> Iterator[Table]:
    """A table for each label that has several values with words, the speakers first."""
    system, baseline = report.system.results, report.baseline and report.baseline.results
    names = [f"{side.name} WER %" for side in report.systems]
    for label in sorted(system.by_label, key=lambda label: (label != "speaker", label)):
        values = system.by_label[label]
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
        rates = [Rate(correct / word["count"]) for correct in word["correct"]]
        cells = [word["word"], word["count"], *rates, *([word["gain"]] if gain else []), word["term"]]
        rows.append([*cells, *word["instead"]])
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
        for system in report.all_systems:
            errors = sum(word != heard for word, heard in system.alignments[utterance.id])
            rates.append(Rate(errors / words if words else None))
            texts.append(system.hypotheses.get(utterance.id, ""))
        labelled = [utterance.id, utterance.speaker, *(utterance.labels.get(label) for label in labels)]
        rows.append([*labelled, utterance.duration, words, *rates, *texts])
    names = [system.name for system in report.all_systems]
    head = ["utterance", "speaker", *labels, "seconds", "words", *(f"{name} WER %" for name in names)]
    return Table("utterances", "Utterances", [*head, "reference", *names], rows)


# ---- files


def tables_folder(page: Path) -> Path:
    """`exp/report_test.html` → `exp/report_test`."""
    return page.with_suffix("") if page.suffix else page.with_name(f"{page.name}_tables")


def write_table_files(page: Path, tables: Mapping[str, Table]) -> None:
    """Write the tables, by their names, into the folder beside the page, in place of earlier ones. Raises
    UserError where the folder holds other files, which would be lost."""
    folder, again = tables_folder(page), page.is_file()

    def is_ours(path: Path) -> bool:
        return path.suffix == ".csv" and path.is_file() and (again or path.stem in tables)

    if name := unexpected_file(folder, is_ours):
        raise UserError(f"{folder / name}: is in the way of the report's tables (choose another --out)")
    with replacing(folder) as new:
        new.mkdir()
        for name, table in tables.items():
            (new / f"{name}.csv").write_text(table.csv(), "utf-8", newline="")


# ---- cells, as the page shows them


def shown_cell(cell: Cell, few_clusters: bool = False) -> tuple[str, str, str]:
    """A cell as its text, its interval and its CSS class: a change is coloured if its interval excludes 0 and
    is of enough clusters. Either of the last two may be empty."""
    if isinstance(cell, Rate):
        bounds = interval(cell.bounds, cell.digits, cell.signed) if cell.value is not None else ""
        text = percent(cell.value, cell.digits, cell.signed)
        style = change_class(cell.bounds) if cell.signed and not few_clusters else ""
        return true_minus(text), true_minus(bounds), style
    return true_minus(cell_text(cell)) if isinstance(cell, int | float) else cell_text(cell), "", ""


def change_class(bounds: Bounds) -> str:
    """`better` or `worse` if the interval of a change excludes 0, else nothing."""
    if not bounds or bounds[0] <= 0 <= bounds[1]:
        return ""
    return "better" if bounds[1] < 0 else "worse"


def true_minus(text: str) -> str:
    """`−13.6` instead of `-13.6`."""
    return text.replace("-", "−")
