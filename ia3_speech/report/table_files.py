"""The tables of the report as files beside the page: TABLE.csv and TABLE.md in a folder of its name.

In: report data. Out: report/error_rates.csv, report/error_rates.md, report/words.csv …, beside report.html.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ia3_speech.atomic import replacing, unexpected_file
from ia3_speech.cli import UserError
from ia3_speech.report.confidence_charts import confidence_table
from ia3_speech.report.curve_charts import epoch_table, learning_curve_table, trade_off_table
from ia3_speech.report.label_bars import tables_by_label
from ia3_speech.report.report_data import ReportData
from ia3_speech.report.result_tables import few_clusters, rates_table, systems_tables, terms_table
from ia3_speech.report.table import Table
from ia3_speech.report.utterance_table import utterances_table
from ia3_speech.report.vector_plots import vectors_table
from ia3_speech.report.word_accuracy import words_table

SUFFIXES = (".csv", ".md")


def report_tables(report: ReportData) -> Iterator[Table]:
    """Every table of the page, in its order."""
    system, baseline = report.system, report.baseline
    yield rates_table(system, baseline)
    if system.score["terms"]:
        yield terms_table(system, baseline)
    for results in report.results.values():
        yield from systems_tables(results, few_clusters(system.score))
    yield words_table(report)
    if report.calibrations:
        yield confidence_table(report.calibrations)
    yield from tables_by_label(system, baseline)
    yield utterances_table(report)
    if report.training:
        yield epoch_table(report.training)
    if report.curve:
        yield learning_curve_table(report.curve)
    if report.trade_off:
        yield trade_off_table(report.trade_off)
    if report.vectors:
        yield vectors_table(report.vectors)


def tables_folder(page: Path) -> Path:
    """`exp/report_test.html` → `exp/report_test`."""
    return page.with_suffix("") if page.suffix else page.with_name(f"{page.name}_tables")


def write_table_files(page: Path, report: ReportData) -> int:
    """Write the tables into the folder beside the page, in place of earlier ones; how many there are.

    Raises:
        UserError: the folder holds other files, which would be lost.
    """
    folder = tables_folder(page)
    if name := unexpected_file(folder, lambda path: path.suffix in SUFFIXES and path.is_file()):
        raise UserError(f"{folder / name}: is in the way of the report's tables (choose another --out)")
    tables = dict(named(report_tables(report)))
    with replacing(folder) as new:
        new.mkdir()
        for name, table in tables.items():
            (new / f"{name}.csv").write_text(table.csv(), "utf-8", newline="")
            (new / f"{name}.md").write_text(table.markdown(), "utf-8", newline="")
    return len(tables)


def named(tables: Iterator[Table]) -> Iterator[tuple[str, Table]]:
    """Each table with a name that can be a file's, and that no other has: systems_test, systems_test_2."""
    used: set[str] = set()
    for table in tables:
        stem = name = re.sub(r"[^\w.-]", "_", table.name)
        number = 1
        while name.casefold() in used:
            number += 1
            name = f"{stem}_{number}"
        used.add(name.casefold())
        yield name, table
