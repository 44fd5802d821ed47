"""Figures for papers: the report's charts as SVG and PDF files, with their numbers as CSV files.

    ia3-speech report data/test exp/NAME/decode --figures figures
    ia3-speech adapters show speaker42 --plot speaker42.pdf

In: report data. Out: a folder of NAME.svg, NAME.pdf, NAME.csv; or a picture in the format of its suffix.
CairoSVG, the extra `figures`, converts the SVG to PDF and PNG.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ia3_speech.atomic import write_text
from ia3_speech.report import diagrams
from ia3_speech.report.charts import has_cairo, write_picture
from ia3_speech.report.data import ReportData
from ia3_speech.report.page import labels_content
from ia3_speech.report.vector_chart import QUANTILES, draw_vectors, quantiles_of
from ia3_speech.scoring.significance import wilson_interval
from ia3_speech.scoring.table import Rate, Table


@dataclass(frozen=True)
class Figure:
    """A chart with its numbers."""

    name: str  # of its files, without the suffix
    svg: str  # contents of the SVG file
    table: Table  # its numbers


def report_figures(report: ReportData, tables: Mapping[str, Table]) -> Iterator[Figure]:
    """Every chart of the page, in its order."""
    for system in report.with_confidences:
        chart = diagrams.reliability_chart(report, system)
        yield Figure(f"reliability_{file_name(system.name)}", chart.svg_file, ranges_of_confidence(system))
    for label in labels_content(report, tables).get("labels", ()):
        if label["chart"]:
            yield Figure(f"wer_{file_name(label['table'].name)}", label["chart"].svg_file, label["table"])
    rows = [[e.number, e.loss, Rate(e.dev_wer)] for e in report.training]
    epochs = Table("training", "Loss and dev WER of each epoch", ["epoch", "CTC loss", "dev WER %"], rows)
    for name, chart in diagrams.experiment_charts(report).items():
        yield Figure(name, chart.svg_file, tables.get(name, epochs))
    if report.vectors:
        head = ["layer", "placement", *(f"{100 * share:g} % lie below" for share in QUANTILES)]
        rows = [[*key, *values.tolist()] for key, values in quantiles_of(report.vectors).items()]
        svg = draw_vectors(report.vectors, "Values of the vectors")
        yield Figure("vectors", svg, Table("vectors", "Values of the vectors", head, rows))


def file_name(text: str) -> str:
    """The text in letters, digits and underscores, so that a name from outside can't be another path."""
    return re.sub(r"\W+", "_", text)


def ranges_of_confidence(system: diagrams.DecodedSystem) -> Table:
    """The ranges of confidence that contain words."""
    rows = [
        [100 * part["low"], 100 * part["high"], part["words"], Rate(part["confidence"]),
         Rate(part["right"], wilson_interval(part["right"], part["words"]))]
        for part in system.result.confidences["bins"]
    ]  # fmt: skip
    head = ["from %", "to %", "words", "mean confidence %", "right %"]
    return Table("reliability", f"Reliability of {system.name}", head, rows)


# ---- files


def write_figures(folder: Path, figures: list[Figure]) -> list[str]:
    """Write the files of each figure into `folder`, whose other files stay; returns the formats."""
    suffixes = [".svg", ".pdf"] if has_cairo() else [".svg"]
    for figure in figures:
        write_text(folder / f"{figure.name}.csv", figure.table.csv())
        for suffix in suffixes:
            write_picture(folder / f"{figure.name}{suffix}", figure.svg)
    return [suffix.removeprefix(".").upper() for suffix in suffixes]
