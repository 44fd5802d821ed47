"""The report's charts: training, learning curve, in-domain against out-of-domain WER, confidences, labels.

In: what `experiments.curve_files` reads, and results. Out: `Chart`s, and bars by label.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from ia3_speech.experiments.curve_files import Epoch, LearningCurve, TradeOff, TradeOffPoint
from ia3_speech.formatting import interval, numeric_order, percent, plural, with_interval
from ia3_speech.report.browse import FROM_0_TO_100
from ia3_speech.report.charts import (
    Axis,
    Chart,
    Level,
    Point,
    Series,
    diagonal,
    draw_bars,
    draw_tick_labels,
    rate_axis,
    round_ticks,
    tick_labels,
)
from ia3_speech.report.report_data import DecodedSystem, ReportData
from ia3_speech.report.report_tables import BINS, by_amount, right_interval
from ia3_speech.scoring.results import ResultRow
from ia3_speech.scoring.table import Rate

MAX_OPEN = 12  # values of a label that are shown without folding, in their own order
MIN_SCATTER = 8  # values from which there is a scatter plot
RADII = (2.5, 11.0)  # of the dots of a reliability diagram, pixels
SIDE_BY_SIDE = 1.04  # factor between the amounts at which the seeds of one amount are drawn


def training_charts(epochs: Sequence[Epoch]) -> list[Chart]:
    """Loss and dev WER of each epoch; the selected epoch is marked."""
    first, last = min(epoch.number for epoch in epochs), max(epoch.number for epoch in epochs)
    whole = [tick for tick in round_ticks(first, last, 8) if tick == int(tick)]
    x = Axis("epoch", first - 0.3, last + 0.3, tick_labels(whole))
    trained = [epoch for epoch in epochs if epoch.loss is not None]
    return [*([loss_chart(trained, x)] if trained else []), dev_wer_chart(epochs, x)]


def loss_chart(epochs: Sequence[Epoch], x: Axis) -> Chart:
    points = [Point(e.number, e.loss, f"epoch {e.number}: loss {e.loss:.3f}") for e in epochs]
    low, high = min(point.y for point in points), max(point.y for point in points)
    margin = 0.08 * (high - low) or 0.1
    low, high = low - margin, high + margin
    y = Axis("CTC loss", low, high, tick_labels(round_ticks(low, high)))
    span = f"From {epochs[0].loss:.3f} to {epochs[-1].loss:.3f} in {plural(len(epochs), 'epoch')}"
    return Chart("Training loss", span, x, y, [Series(points, "system")])


def dev_wer_chart(epochs: Sequence[Epoch], x: Axis) -> Chart:
    points = [
        Point(e.number, e.dev_wer, f"epoch {e.number}: dev WER {percent(e.dev_wer, 2)} %") for e in epochs
    ]
    selected = next(epoch for epoch in epochs if epoch.number == epochs[-1].selected)
    lowest = min(epoch.dev_wer for epoch in epochs)
    description = f"Selected: epoch {selected.number} with {percent(selected.dev_wer, 2)} %"
    if selected.number == 0:
        description += ": no epoch improved on the start"
    elif selected.dev_wer > lowest:
        description += f", the last epoch within one standard error of the lowest, {percent(lowest, 2)} %"
    mark = Point(selected.number, selected.dev_wer, f"selected: epoch {selected.number}", text="selected")
    series = [Series(points, "system"), Series([mark], "selected", line=False)]
    y = rate_axis("dev WER, %", [epoch.dev_wer for epoch in epochs])
    return Chart("WER of the development set", description, x, y, series, note=f"{description}.")


def learning_curve_chart(curve: LearningCurve) -> Chart:
    """WER by the amount of audio, on a logarithmic axis: a dot per seed, a line through the medians."""
    unit, base = curve.unit, curve.base
    dots, medians = [], []
    for amount, seeds in by_amount(curve):
        medians.append(Point(amount, median(point.estimate.wer for point in seeds)))
        for index, point in enumerate(seeds):
            x = amount * SIDE_BY_SIDE ** (index - (len(seeds) - 1) / 2)
            wer = point.estimate
            rate = with_interval(wer.wer, wer.interval)
            title = f"{amount_text(amount, unit)}, seed {point.seed}: WER {rate} %"
            dots.append(Point(x, wer.wer, title, wer.interval))
    ticks = [(point.x, f"{point.x:g}") for point in medians]
    title = f"{unit} of training audio" if unit == "minutes" else f"training {unit}"
    x = Axis(title, medians[0].x / 1.25, medians[-1].x * 1.25, ticks, log=True)
    estimates = [point.estimate for point in curve.points] + ([base] if base else [])
    ends = [f"{percent(point.y)} % with {amount_text(point.x, unit)}" for point in (medians[0], medians[-1])]
    description = f"Median of the seeds from {' to '.join(ends)}"
    description += f"; the base has {percent(base.wer)} %" if base else ""
    return Chart(
        f"WER{f' on {curve.set}' if curve.set else ''} by amount of audio",
        description,
        x,
        rate_axis("WER, %", [value for estimate in estimates for value in estimate.values]),
        [Series(medians, "system", "median of the seeds", dots=False), Series(dots, "system", line=False)],
        [Level("base", base.wer, "baseline", base.interval)] if base else [],
    )


def amount_text(amount: float, unit: str) -> str:
    """`1 minute`, `2.5 minutes`."""
    return f"{amount:g} {unit.removesuffix('s') if amount == 1 else unit}"


def trade_off_chart(trade_off: TradeOff) -> Chart:
    """In-domain against out-of-domain WER: the adapter scaled from 0 (the base) to 1, and adapters trained
    with decay towards 1."""
    series, points = [], trade_off.points
    for setting, name, style in (
        ("scale", "scaled adapter", "system"),
        ("decay_to_one", "trained with decay towards 1", "third"),
    ):
        dots = [trade_off_dot(point, trade_off) for point in points if point.setting == setting]
        series += [Series(dots, style, name, text_below=style == "third")] if dots else []
    return Chart(
        "In-domain WER against out-of-domain WER",
        "Lower is better on both axes. At scale 0 the adapter has no effect, which is the base",
        rate_axis(f"WER on {trade_off.out_of_domain}, %", [point.out_of_domain.wer for point in points]),
        rate_axis(f"WER on {trade_off.own}, %", [value for point in points for value in point.own.values]),
        series,
    )


def trade_off_dot(point: TradeOffPoint, names: TradeOff) -> Point:
    own, out_of_domain = (f"{percent(side.wer)} %" for side in (point.own, point.out_of_domain))
    title = f"{point.name}: {names.own} {own}, {names.out_of_domain} {out_of_domain}"
    return Point(point.out_of_domain.wer, point.own.wer, title, point.own.interval, f"{point.value:g}")


# ---- confidences and labels


def reliability_chart(system: DecodedSystem, style: str) -> Chart:
    """A dot for each range of confidences that holds words: its area shows how many."""
    measured, points = system.results.confidences, []
    largest = max(part["words"] for part in measured["bins"])
    for part in measured["bins"]:
        bounds = right_interval(part)
        title = (
            f"confidence {100 * part['low']:.0f} to {100 * part['high']:.0f} %: "
            f"{plural(part['words'], 'word')}, mean confidence {percent(part['confidence'])} %, "
            f"right {with_interval(part['right'], bounds)} %"
        )
        radius = RADII[0] + (RADII[1] - RADII[0]) * math.sqrt(part["words"] / largest)
        points.append(Point(part["confidence"], part["right"], title, bounds, radius=radius))
    error = f"calibration error {percent(measured['calibration_error'])} %"
    ranges = f"{plural(measured['words'], 'word')} in {len(points)} of {BINS} ranges of confidence"
    return Chart(
        f"Reliability of {system.name}",
        f"{ranges}, {error}",
        Axis("confidence, %", *FROM_0_TO_100),
        Axis("words that are right, %", *FROM_0_TO_100),
        [diagonal(1.0), Series(points, style, line=False)],
    )


def label_contents(report: ReportData) -> Iterator[dict[str, Any]]:
    """Bars for each label that has several values, speakers first. Many values are folded, the worst first,
    and shown as a scatter plot of the baseline's against the system's WER."""
    by_label = report.system.results.by_label
    for label in sorted(by_label, key=lambda label: (label != "speaker", label)):
        rows = [row for row in by_label[label].values() if row.wer.value is not None]
        if len(rows) < 2:
            continue
        rows.sort(key=lambda row: numeric_order(row.value))
        summary = ""
        if len(rows) > MAX_OPEN:
            rates = sorted(row.wer.value for row in rows)
            ends = f"from {percent(rates[0])} to {percent(rates[-1])} %"
            summary = f"{len(rows)} values, median WER {percent(median(rates))} %, {ends}"
            rows.sort(key=lambda row: -row.wer.value)
        bars = [bars_of(report, row) for row in rows]
        limit = 1.06 * max(bar_end(rate) for pair in bars for rate, _ in pair) or 1.0
        ticks = round_ticks(0, limit, 5)
        scatter = report.baseline and len(rows) >= MIN_SCATTER
        yield {
            "name": label,
            "summary": summary,
            "ruler": draw_tick_labels(limit, ticks),
            "chart": label_scatter(label, rows, report) if scatter else None,
            "lines": [
                {
                    "row": row,
                    "size": f"{plural(row.utterances, 'utterance')}, {plural(row.words, 'word')}",
                    "rates": [rate for rate, _ in pair],
                    "picture": draw_bars(pair, limit, ticks, bars_title(report, row, pair)),
                }
                for row, pair in zip(rows, bars, strict=True)
            ],
        }


def bars_of(report: ReportData, row: ResultRow) -> list[tuple[Rate, str]]:
    """A bar for the baseline, where it has a rate, and one for the system: its length and its style."""
    before = report.baseline and report.baseline.results.by_label[row.label][row.value]
    return [(side.wer, style) for side, style in ((before, "baseline"), (row, "system")) if side]


def bars_title(report: ReportData, row: ResultRow, bars: Sequence[tuple[Rate, str]]) -> str:
    """`bob: base 66.7 % [40.0, 80.0], ia3_seed1 33.3 % [20.0, 40.0]`."""
    texts = [
        f"{system.name} {percent(rate.value)} % {interval(rate.bounds)}".rstrip()
        for system, (rate, _) in zip(report.systems, bars, strict=True)
    ]
    return f"{row.value}: {', '.join(texts)}"


def bar_end(rate: Rate) -> float:
    """How far a bar reaches with its whisker, which is cut at twice the rate: the interval of a few words is
    wide."""
    return min(2 * rate.value, rate.bounds[1]) if rate.bounds else rate.value


def label_scatter(label: str, rows: Sequence[ResultRow], report: ReportData) -> Chart:
    """A dot per value; below the diagonal the system has the lower WER."""
    points = []
    for row in rows:
        before, after = row.changes["wer"].baseline, row.wer.value
        rates = f"{percent(before)} to {percent(after)} %"
        points.append(Point(before, after, f"{row.value}: {rates}, {plural(row.words, 'word')}"))
    limit = 1.06 * max(max(point.x, point.y) for point in points) or 1.0
    ticks = tick_labels(round_ticks(0, limit), 100)
    lower, higher = sum(point.y < point.x for point in points), sum(point.y > point.x for point in points)
    equal = len(points) - lower - higher
    counts = f"of {len(points)}, {lower} improved, {equal} unchanged, {higher} degraded"
    return Chart(
        f"WER by {label}",
        counts,
        Axis(f"WER of {report.baseline.name}, %", 0, limit, ticks),
        Axis(f"WER of {report.system.name}, %", 0, limit, ticks),
        [diagonal(limit), Series(points, "system", line=False)],
        note=f"Below the diagonal {report.system.name} has the lower WER: {counts}.",
    )
