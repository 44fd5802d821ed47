"""Figures for papers: the report's charts as SVG and PDF files, each with the numbers that it shows as CSV.

    ia3-speech report data/test exp/NAME/decode --figures figures
    ia3-speech adapters show speaker42 --plot speaker42.pdf

In: report data. Out: a folder of NAME.svg, NAME.pdf, NAME.csv; or one picture of the format that its suffix
says. PDF and PNG are made of the SVG by CairoSVG, the extra `figures`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ia3_speech.atomic import replacing, write_text
from ia3_speech.cli import pip_install
from ia3_speech.errors import UserError
from ia3_speech.report import diagrams
from ia3_speech.report.data import ReportData
from ia3_speech.report.page import labels_content
from ia3_speech.report.vector_chart import QUANTILES, draw_vectors, quantiles_of
from ia3_speech.scoring.significance import wilson_interval
from ia3_speech.scoring.table import Rate, Table

SUFFIXES = (".svg", ".pdf", ".png")
PNG_SCALE = 2  # pixels for each of SVG's
HINT = f"needs CairoSVG (in the clone: {pip_install('.[figures]')}; apt install libcairo2; .svg doesn't)"


@dataclass(frozen=True)
class Figure:
    """A chart."""

    name: str  # of its files, without the suffix
    svg: str  # the content of an SVG file
    table: Table  # the numbers that are drawn


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
    """Letters, digits and underscores: a name from outside never leads elsewhere."""
    return re.sub(r"\W+", "_", text)


def ranges_of_confidence(system: diagrams.DecodedSystem) -> Table:
    """The ranges of confidence that hold words."""
    rows = [
        [100 * part["low"], 100 * part["high"], part["words"], Rate(part["confidence"]),
         Rate(part["right"], wilson_interval(part["right"], part["words"]))]
        for part in system.result.confidences["bins"]
    ]  # fmt: skip
    head = ["from %", "to %", "words", "mean confidence %", "right %"]
    return Table("reliability", f"Reliability of {system.name}", head, rows)


# ---- files


def write_figures(folder: Path, figures: list[Figure]) -> list[str]:
    """Write the three files of each figure into `folder`, where others stay; returns the formats."""
    suffixes = [".svg", ".pdf"] if has_cairo() else [".svg"]
    for figure in figures:
        write_text(folder / f"{figure.name}.csv", figure.table.csv())
        for suffix in suffixes:
            write_picture(folder / f"{figure.name}{suffix}", figure.svg)
    return [suffix.removeprefix(".").upper() for suffix in suffixes]


def check_picture(path: Path) -> None:
    """Raises UserError for a suffix that is no picture's, or one for which CairoSVG is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a picture ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() != ".svg" and not has_cairo():
        raise UserError(f"{path}: {path.suffix.removeprefix('.').upper()} {HINT}")


def write_picture(path: Path, svg: str) -> None:
    """Write a picture of the format that the suffix says."""
    content = svg.encode()
    if path.suffix.lower() != ".svg":
        import cairosvg

        as_pdf = path.suffix.lower() == ".pdf"
        content = cairosvg.svg2pdf(content) if as_pdf else cairosvg.svg2png(content, scale=PNG_SCALE)
    with replacing(path) as new:
        new.write_bytes(content)


def has_cairo() -> bool:
    """Whether CairoSVG and the system's Cairo are there."""
    try:
        import cairosvg  # noqa: F401
    except (ImportError, OSError):
        return False
    return True
