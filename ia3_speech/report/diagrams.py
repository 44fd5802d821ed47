"""The report's charts: training, learning curve, in-domain against out-of-domain WER, confidences.

In: contents of `results.curve_files`, and results. Out: `Chart`s.
"""

import math
from collections.abc import Sequence
from statistics import median

from ia3_speech.formatting import percent, plural, with_interval
from ia3_speech.report.charts import Axis, Chart, Point, Series, diagonal, rate_axis, round_ticks, tick_labels
from ia3_speech.report.data import DecodedSystem, ReportData
from ia3_speech.results.curve_files import Epoch, LearningCurve, TradeOff
from ia3_speech.scoring.significance import wilson_interval
from ia3_speech.scoring.table import Rate

RADII = (2.5, 11.0)  # of the dots of a reliability diagram, pixels
SIDE_BY_SIDE = 0.04  # between the logarithms at which the seeds of an amount are drawn
FROM_0_TO_100 = (-0.06, 1.06, tick_labels([0, 0.25, 0.5, 0.75, 1], 100))  # with space for dots at the ends


def experiment_charts(report: ReportData) -> dict[str, Chart]:
    """Name → chart of training, learning curve and trade-off, as far as the report has their data."""
    charts = training_charts(report.training) if report.training else {}
    if report.curve:
        charts["learning_curve"] = learning_curve_chart(report.curve)
    if report.trade_off:
        charts["trade_off"] = trade_off_chart(report.trade_off)
    return charts


def training_charts(epochs: Sequence[Epoch]) -> dict[str, Chart]:
    """Loss and dev WER of each epoch; the selected epoch is marked."""
    first, last = min(epoch.number for epoch in epochs), max(epoch.number for epoch in epochs)
    whole = [tick for tick in round_ticks(first, last, 8) if tick == int(tick)]
    x = Axis("epoch", first - 0.3, last + 0.3, tick_labels(whole))
    charts = {"dev_wer": dev_wer_chart(epochs, x)}
    if trained := [epoch for epoch in epochs if epoch.loss is not None]:
        points = [Point(e.number, e.loss, f"epoch {e.number}: loss {e.loss:.3f}") for e in trained]
        y = rate_axis("CTC loss", [point.y for point in points], factor=1)
        span = f"From {points[0].y:.3f} to {points[-1].y:.3f} in {plural(len(trained), 'epoch')}"
        charts = {"training_loss": Chart("Training loss", span, x, y, [Series(points, "system")])} | charts
    return charts


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
    return Chart("WER of the development set", description, x, y, series)


def learning_curve_chart(curve: LearningCurve) -> Chart:
    """WER by the amount of audio, on a logarithmic axis: a dot for each seed, a line through the medians."""
    unit, dots, medians = curve.unit, [], []
    for amount, seeds in curve.by_amount:
        place = math.log(amount)
        medians.append(Point(place, median(point.wer.value for point in seeds)))
        for index, point in enumerate(seeds):
            x = place + SIDE_BY_SIDE * (index - (len(seeds) - 1) / 2)
            title = f"{amount_text(amount, unit)}, seed {point.seed}: WER {point.wer} %"
            dots.append(Point(x, point.wer.value, title, point.wer.bounds))
    amounts = [amount for amount, _ in curve.by_amount]
    ticks = [(math.log(amount), f"{amount:g}") for amount in amounts]
    title = f"{unit} of training audio" if unit == "minutes" else f"training {unit}"
    x = Axis(title, medians[0].x - 0.22, medians[-1].x + 0.22, ticks)
    ends = [f"{percent(medians[end].y)} % with {amount_text(amounts[end], unit)}" for end in (0, -1)]
    rates = [curve.base, *(point.wer for point in curve.points)]
    level = [Point(end, curve.base.value) for end in (x.low, x.high)]
    return Chart(
        f"WER{f' on {curve.set}' if curve.set else ''} by amount of audio",
        f"Median of the seeds from {' to '.join(ends)}; the base has {percent(curve.base.value)} %",
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


def amount_text(amount: float, unit: str) -> str:
    """`1 minute`, `2.5 minutes`."""
    return f"{amount:g} {unit.removesuffix('s') if amount == 1 else unit}"


def trade_off_chart(trade_off: TradeOff) -> Chart:
    """In-domain against out-of-domain WER: the adapter scaled from 0 (the base) to 1, and adapters trained
    with an option changed, a line for each option."""
    dots: dict[str, list[Point]] = {}
    for point in trade_off.points:
        x, y = point.out_of_domain.value, point.in_domain.value
        title = f"{point.name}: {trade_off.in_domain} {percent(y)} %, "
        title += f"{trade_off.out_of_domain} {percent(x)} %"
        dots.setdefault(point.setting, []).append(Point(x, y, title, point.in_domain.bounds, point.value))
    styles = {"scale": ("system", "scaled adapter")}
    points, in_domain = trade_off.points, f"WER on {trade_off.in_domain}, %"
    return Chart(
        "In-domain WER against out-of-domain WER",
        "Lower is better on both axes. At scale 0 the adapter has no effect, which is the base",
        rate_axis(f"WER on {trade_off.out_of_domain}, %", [point.out_of_domain.value for point in points]),
        rate_axis(in_domain, [value for point in points for value in ends_of(point.in_domain)]),
        [
            Series(dots[setting], *styles.get(setting, ("third", f"trained with {setting}")))
            for setting in dots
        ],
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
        [diagonal(1.0), Series(points, style, line=False)],
    )
