"""The report's charts. In: report data. Out: `Chart`s."""

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from ia3_speech.common.formatting import percent, plural, with_interval
from ia3_speech.report import charts
from ia3_speech.report.charts import Axis, Chart, Point, Series, rate_axis, tick_labels
from ia3_speech.report.curve_files import LearningCurve, TradeOff
from ia3_speech.report.data import DecodedSystem, ReportData
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.sentences import few_clusters_sentence
from ia3_speech.scoring.significance import wilson_interval
from ia3_speech.scoring.table import Rate, Table

RADII = (2.5, 11.0)  # of the dots of a reliability diagram, pixels
SIDE_BY_SIDE = 0.04  # between the logarithms at which the seeds of an amount are drawn
FROM_0_TO_100 = (-0.06, 1.06, tick_labels([0, 0.25, 0.5, 0.75, 1], 100))  # with space for dots at the ends
MAX_OPEN = 12  # values of a label that are shown unfolded
MIN_SCATTER = 8  # values that a scatter plot needs


def experiment_charts(report: ReportData) -> dict[str, Chart]:
    """Name → chart of training, learning curve and trade-off, as far as the report has their data."""
    drawn = training_charts(report.training) if report.training else {}
    if report.curve:
        drawn["learning_curve"] = learning_curve_chart(report.curve)
    if report.trade_off:
        drawn["trade_off"] = trade_off_chart(report.trade_off)
    return drawn


def training_charts(epochs: list[Json]) -> dict[str, Chart]:
    """Loss and dev WER of each epoch (a line of metrics.jsonl); the selected epoch is marked."""
    numbers = [epoch["epoch"] for epoch in epochs]
    whole = [tick for tick in charts.round_ticks(min(numbers), max(numbers), 8) if tick == int(tick)]
    x = Axis("epoch", min(numbers) - 0.3, max(numbers) + 0.3, tick_labels(whole))
    drawn = {}
    if losses := {epoch["epoch"]: epoch["loss"] for epoch in epochs if epoch["loss"] is not None}:
        points = [Point(number, loss, f"epoch {number}: loss {loss:.3f}") for number, loss in losses.items()]
        y = rate_axis("CTC loss", losses.values(), factor=1)
        span = f"From {points[0].y:.3f} to {points[-1].y:.3f} in {plural(len(losses), 'epoch')}"
        drawn["training_loss"] = Chart("Training loss", span, x, y, [Series(points, "system")])
    rates = {epoch["epoch"]: epoch["dev_wer"] for epoch in epochs}
    return drawn | {"dev_wer": dev_wer_chart(rates, epochs[-1]["selected_epoch"], x)}


def dev_wer_chart(rates: Mapping[int, float], selected: int, x: Axis) -> Chart:
    points = [Point(n, rate, f"epoch {n}: dev WER {percent(rate, 2)} %") for n, rate in rates.items()]
    lowest = min(rates.values())
    description = f"Selected: epoch {selected} with {percent(rates[selected], 2)} %"
    if selected == 0:
        description += ": no epoch improved on the start"
    elif rates[selected] > lowest:
        description += f", the last epoch within one standard error of the lowest, {percent(lowest, 2)} %"
    mark = Point(selected, rates[selected], f"selected: epoch {selected}", text="selected")
    series = [Series(points, "system"), Series([mark], "selected", line=False)]
    y = rate_axis("dev WER, %", rates.values())
    return Chart("WER of the development set", description, x, y, series)


def learning_curve_chart(curve: LearningCurve) -> Chart:
    """WER by the amount of audio, on a logarithmic axis: a dot for each seed, a line through the medians."""
    unit, dots = curve.unit, []
    texts = {n: f"{n:g} {unit.removesuffix('s') if n == 1 else unit}" for n in curve.points}
    for amount, seeds in curve.points.items():
        for index, (seed, wer) in enumerate(seeds):
            x = math.log(amount) + SIDE_BY_SIDE * (index - (len(seeds) - 1) / 2)
            dots.append(Point(x, wer.value, f"{texts[amount]}, seed {seed}: WER {wer} %", wer.bounds))
    medians = [Point(math.log(amount), wer) for amount, wer in curve.medians.items()]
    ticks = [(math.log(amount), f"{amount:g}") for amount in curve.points]
    title = f"{unit} of training audio" if unit == "minutes" else f"training {unit}"
    x = Axis(title, medians[0].x - 0.22, medians[-1].x + 0.22, ticks)
    ends = [f"{percent(point.y)} % with {text}" for point, text in zip(medians, texts.values(), strict=True)]
    rates = [curve.base, *(rate for seeds in curve.points.values() for _, rate in seeds)]
    level = [Point(end, curve.base.value) for end in (x.low, x.high)]
    return Chart(
        f"WER{f' on {curve.set}' if curve.set else ''} by amount of audio",
        f"Median of the seeds from {ends[0]} to {ends[-1]}; the base has {percent(curve.base.value)} %",
        x,
        rate_axis("WER, %", [value for rate in rates for value in ends_of(rate)]),
        [
            Series(level, "baseline", "base", dots=False),
            Series(medians, "system", "median of the seeds", dots=False),
            Series(dots, "system", line=False),
        ],
    )


def ends_of(rate: Rate) -> list[float]:
    """The rate and the bounds of its interval, which an axis has to include."""
    return [rate.value, *(rate.bounds or ())]


def trade_off_chart(trade_off: TradeOff) -> Chart:
    """In-domain against out-of-domain WER: a line for the scaled adapter, and for each changed option."""
    dots: dict[str, list[Point]] = {}
    for setting, value, in_domain, other in trade_off.points:
        title = f"{setting} {value}: {trade_off.in_domain} {percent(in_domain.value)} %, "
        title += f"{trade_off.out_of_domain} {percent(other.value)} %"
        point = Point(other.value, in_domain.value, title, in_domain.bounds, value)
        dots.setdefault(setting, []).append(point)
    styles = {"scale": ("system", "scaled adapter")}
    in_domain_rates = [value for point in trade_off.points for value in ends_of(point.in_domain)]
    return Chart(
        "In-domain WER against out-of-domain WER",
        "Lower is better on both axes. At scale 0 the adapter has no effect, which is the base",
        rate_axis(f"WER on {trade_off.out_of_domain}, %", [p.out_of_domain.value for p in trade_off.points]),
        rate_axis(f"WER on {trade_off.in_domain}, %", in_domain_rates),
        [Series(dots[name], *styles.get(name, ("third", f"trained with {name}"))) for name in dots],
    )


def reliability_chart(report: ReportData, system: DecodedSystem) -> Chart:
    """A dot for each range of confidences that contains words; its area shows their number."""
    measured, points = system.result.confidences, []
    style = "system" if system is report.system else "baseline"
    largest = max(part["words"] for part in measured["bins"])
    for part in measured["bins"]:
        bounds = wilson_interval(part["right"], part["words"])
        title = (
            f"confidence {100 * part['low']:.0f} to {100 * part['high']:.0f} %: "
            f"{plural(part['words'], 'word')}, mean confidence {percent(part['confidence'])} %, "
            f"right {with_interval(part['right'], bounds)} %"
        )
        radius = RADII[0] + (RADII[1] - RADII[0]) * math.sqrt(part["words"] / largest)
        points.append(Point(part["confidence"], part["right"], title, bounds, radius=radius))
    error = f"calibration error {percent(measured['calibration_error'])} %"
    ranges = f"{plural(measured['words'], 'word')} in {len(points)} of 10 ranges of confidence"
    return Chart(
        f"Reliability of {system.name}",
        f"{ranges}, {error}",
        Axis("confidence, %", *FROM_0_TO_100),
        Axis("words that are right, %", *FROM_0_TO_100),
        [charts.diagonal(1.0), Series(points, style, line=False)],
    )


def labels_content(report: ReportData, tables: Mapping[str, Table]) -> dict[str, Any]:
    """The table of each label with several values; many values are folded away below a scatter plot."""
    labels, result = [], report.system.result
    for table in [table for name, table in tables.items() if name.startswith("by_")]:
        label = table.head[0]
        rows = {value: result.by_label[label][value] for value, *_ in table.rows}
        rates, summary, chart = [row.wer for row in rows.values()], "", None
        if len(rows) > MAX_OPEN:
            ends = f"from {percent(min(rates))} to {percent(max(rates))} %"
            summary = f"{len(rows)} values, median WER {percent(median(rates))} %, {ends}"
        if report.baseline and len(rows) >= MIN_SCATTER:
            values = [(value, row.changes["wer"].baseline, row.wer, row.words) for value, row in rows.items()]
            names = [system.name for system in report.systems]
            what = "speakers" if label == "speaker" else f"values of {label}"
            chart = charts.scatter_before_and_after(f"WER by {label}", what, names, values)
        few = {value for value, row in rows.items() if result.is_marked(label, row)}
        labels.append({"table": table, "summary": summary, "chart": chart, "few": few})
    note = few_clusters_sentence(result.all.ci_unit) if any(label["few"] for label in labels) else ""
    return {"labels": labels, "note": note} if labels else {}
