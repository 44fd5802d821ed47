"""Are word confidences probabilities, and do they find the errors? A reliability diagram of each system.

In: report data; confidences are those that `ia3-speech decode` wrote into hyp.ctm. Out: a section of the
page, and a table. Without hyp.ctm there is neither. Of ten ranges of confidence a dot shows what share of
their words is right; on the diagonal, a confidence of 70 % is right in 70 % of the cases (Guo et al. 2017,
arXiv 1706.04599).
"""

import math
from collections.abc import Iterator, Sequence

from ia3_speech.confidence.reliability import (
    BINS,
    REVIEWED,
    Bin,
    Calibration,
    reviewed_words,
)
from ia3_speech.formatting import percent, plural, with_interval
from ia3_speech.report.charts import Axis, Point, Series, draw_chart, tick_labels
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.report_data import DecodedSystem, ReportData
from ia3_speech.report.table import Cell, Rate, Table
from ia3_speech.scoring.score_table import INTERVAL
from ia3_speech.scoring.significance import wilson_interval

ENDS = (-0.04, 1.04)  # of the axes, so that dots at 0 and 100 % are whole
TICKS = tick_labels([0, 0.25, 0.5, 0.75, 1], 100)
SMALLEST, LARGEST = 2.5, 11.0  # radius of a dot, pixels


def confidence_section(report: ReportData) -> Iterator[Child]:
    """A sentence and a reliability diagram of each system, how they are to be read, and the table."""
    found = report.calibrations
    if not found:
        return
    for system, measured in found:
        yield element("p", element("b", system.name), f": {' '.join(reliability_sentences(measured))}")
    charts = [
        reliability_chart(system.name, measured, "system" if system is report.system else "baseline")
        for system, measured in found
    ]
    yield element("div", charts, class_="charts")
    for note in notes(report.system.score["ci_unit"]):
        yield element("p", note, class_="note")
    yield element("details", element("summary", "Show as a table"), confidence_table(found).html())


def reliability_sentences(measured: Calibration) -> Iterator[str]:
    """What a reviewer gains, and how well the confidences are calibrated."""
    words = plural(measured.words, "word")
    if measured.errors:
        share = with_interval(measured.found, measured.found_ci, digits=0)
        errors = plural(measured.errors, "error")
        least = f"{percent(REVIEWED, 0)} % of the {words}"
        best = min(1.0, reviewed_words(measured.words) / measured.errors)
        yield f"looking at the least certain {least} finds {share} % of the {errors}"
        yield f"({percent(REVIEWED, 0)} % by chance, {percent(best, 0)} % at best)."
    else:
        yield f"all of the {words} are right."
    error = percent(measured.calibration_error)
    yield f"Calibration error {error} % ({words}), {scaling_text(measured)}."
    if not math.isnan(measured.area):
        yield f"Area under the ROC curve {measured.area:.3f}."


def scaling_text(measured: Calibration) -> str:
    if measured.scaling is None:
        return "not calibrated (ia3-speech calibrate does it on a dev set)"
    return f"calibrated with {measured.scaling}"


def reliability_chart(name: str, measured: Calibration, style: str) -> Markup:
    """A dot for each range of confidences that holds words: its area shows how many."""
    largest = max(row.words for row in measured.bins)
    words, error = plural(measured.words, "word"), percent(measured.calibration_error)
    return draw_chart(
        f"Reliability of {name}",
        f"{words} in {len(measured.bins)} of {BINS} ranges of confidence, calibration error {error} %",
        Axis("confidence, %", *ENDS, TICKS),
        Axis("words that are right, %", *ENDS, TICKS),
        [
            Series("", [Point(0, 0, ""), Point(1, 1, "")], "guide", dots=False),
            Series("", [dot(row, largest) for row in measured.bins], style, line=False),
        ],
    )


def dot(row: Bin, largest: int) -> Point:
    low, high = right_interval(row)
    title = (
        f"confidence {range_text(row.low, row.high)} %: {plural(row.words, 'word')}, mean confidence "
        f"{percent(row.confidence)} %, right {with_interval(row.right, (low, high))} %"
    )
    radius = SMALLEST + (LARGEST - SMALLEST) * math.sqrt(row.words / largest)
    return Point(row.confidence, row.right, title, low, high, radius=radius)


def right_interval(row: Bin) -> tuple[float, float]:
    """Of the share of right words."""
    return wilson_interval(round(row.right * row.words), row.words)


def range_text(low: float, high: float) -> str:
    """`70 to 80`."""
    return f"{100 * low:.0f} to {100 * high:.0f}"


def notes(unit: str) -> Iterator[str]:
    """How diagram and sentences are to be read."""
    yield (
        "Of each tenth of the range of confidences, a dot shows the share of its words that is right, with a "
        "95 % interval (Wilson); its area shows how many words it stands for. Below the diagonal confidences "
        "are too high. The calibration error is the mean distance from the diagonal, over the words."
    )
    yield (
        "Errors are words of the hypothesis that the alignment does not have in the reference; missing words "
        f"have no confidence. The interval of their share is a bootstrap by {unit}."
    )


def confidence_table(found: Sequence[tuple[DecodedSystem, Calibration]]) -> Table:
    """Words, mean confidence and share of right words in each range, for each system."""
    head = ["confidence %"]
    for system, _ in found:
        head += [f"{system.name} words", f"{system.name} mean %", f"{system.name} right %"]
    rows: list[list[Cell]] = []
    for place in range(BINS):
        row: list[Cell] = [range_text(place / BINS, (place + 1) / BINS)]
        for _, measured in found:
            one = next((one for one in measured.bins if one.low == place / BINS), None)
            row += (
                [one.words, Rate(one.confidence), Rate(one.right, right_interval(one))]
                if one
                else [0, None, None]
            )
        rows.append(row)
    return Table("confidences", f"Word confidences and right words {INTERVAL}", head, rows)
