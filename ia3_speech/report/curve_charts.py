"""Charts of the training, of the learning curve, and of in-domain against out-of-domain WER.

In: what `experiments.curve_files` reads. Out: sections of the page.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import median

from ia3_speech.experiments.curve_files import (
    Epoch,
    LearningCurve,
    LearningCurvePoint,
    TradeOff,
    TradeOffPoint,
    WerEstimate,
)
from ia3_speech.formatting import percent, plural, with_interval
from ia3_speech.report.charts import Axis, Level, Point, Series, draw_chart, rate_axis, tick_labels
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.svg import round_ticks
from ia3_speech.report.table import Rate, Table
from ia3_speech.scoring.table import INTERVAL

SIDE_BY_SIDE = 1.04  # factor between the amounts at which the seeds of one amount are drawn


def training_section(epochs: Sequence[Epoch]) -> Iterator[Child]:
    """Loss and dev WER of each epoch; the selected epoch is marked."""
    first, last = min(epoch.number for epoch in epochs), max(epoch.number for epoch in epochs)
    whole = [tick for tick in round_ticks(first, last, 8) if tick == int(tick)]
    x = Axis("epoch", first - 0.3, last + 0.3, tick_labels(whole))
    trained = [epoch for epoch in epochs if epoch.loss is not None]
    charts = [loss_chart(trained, x)] if trained else []
    yield element("div", *charts, dev_wer_chart(epochs, x), class_="charts")
    yield element("details", element("summary", "Show as a table"), epoch_table(epochs).html())


def epoch_table(epochs: Sequence[Epoch]) -> Table:
    rows = [
        [epoch.number, None if epoch.loss is None else f"{epoch.loss:.3f}", Rate(epoch.dev_wer, digits=2)]
        for epoch in epochs
    ]
    return Table("training", "Training", ["epoch", "CTC loss", "dev WER %"], rows)


def loss_chart(epochs: Sequence[Epoch], x: Axis) -> Markup:
    points = [Point(one.number, one.loss, f"epoch {one.number}: loss {one.loss:.3f}") for one in epochs]
    low, high = min(point.y for point in points), max(point.y for point in points)
    margin = 0.08 * (high - low) or 0.1
    low, high = low - margin, high + margin
    y = Axis("CTC loss", low, high, tick_labels(round_ticks(low, high)))
    span = f"From {epochs[0].loss:.3f} to {epochs[-1].loss:.3f} in {plural(len(epochs), 'epoch')}"
    return draw_chart("Training loss", span, x, y, [Series("", points, "system")])


def dev_wer_chart(epochs: Sequence[Epoch], x: Axis) -> Markup:
    points = [
        Point(one.number, one.dev_wer, f"epoch {one.number}: dev WER {percent(one.dev_wer, 2)} %")
        for one in epochs
    ]
    selected = next(one for one in epochs if one.number == epochs[-1].selected)
    lowest = min(one.dev_wer for one in epochs)
    description = f"Selected: epoch {selected.number} with {percent(selected.dev_wer, 2)} %"
    if selected.number == 0:
        description += ": no epoch improved on the start"
    elif selected.dev_wer > lowest:
        description += f", the last epoch within one standard error of the lowest, {percent(lowest, 2)} %"
    mark = Point(selected.number, selected.dev_wer, f"selected: epoch {selected.number}", text="selected")
    series = [Series("", points, "system"), Series("", [mark], "selected", line=False)]
    y = rate_axis("dev WER, %", [one.dev_wer for one in epochs])
    below = element("p", f"{description}.", class_="note")
    return draw_chart("WER of the development set", description, x, y, series, below=below)


def learning_curve_section(curve: LearningCurve) -> Iterator[Child]:
    """WER by the amount of audio, on a logarithmic axis: a dot per seed, a line through the medians."""
    unit, base = curve.unit, curve.base
    dots, medians = [], []
    for amount, seeds in by_amount(curve):
        medians.append(Point(amount, median(point.estimate.wer for point in seeds), ""))
        for index, point in enumerate(seeds):
            x = amount * SIDE_BY_SIDE ** (index - (len(seeds) - 1) / 2)
            found = point.estimate
            title = f"{amount_text(amount, unit)}, seed {point.seed}: WER {wer_text(found)} %"
            dots.append(Point(x, found.wer, title, found.low, found.high))
    ticks = [(point.x, f"{point.x:g}") for point in medians]
    x = Axis(f"{unit} of training audio" if unit == "minutes" else f"training {unit}",
             medians[0].x / 1.25, medians[-1].x * 1.25, ticks, log=True)  # fmt: skip
    estimates = [point.estimate for point in curve.points] + ([base] if base else [])
    y = rate_axis("WER, %", [value for one in estimates for value in one.values])
    levels = [Level("base", base.wer, "baseline", base.low, base.high)] if base else []
    ends = [f"{percent(one.y)} % with {amount_text(one.x, unit)}" for one in (medians[0], medians[-1])]
    description = f"Median of the seeds from {' to '.join(ends)}"
    description += f"; the base has {percent(base.wer)} %" if base else ""
    series = [
        Series("median of the seeds", medians, "system", dots=False),
        Series("", dots, "system", line=False),
    ]
    on = f" on {curve.set}" if curve.set else ""
    yield element(
        "div",
        draw_chart(f"WER{on} by amount of audio", description, x, y, series, levels),
        learning_curve_table(curve).html(),
        class_="charts",
    )


def by_amount(curve: LearningCurve) -> Iterator[tuple[float, list[LearningCurvePoint]]]:
    """Each amount with the points of its seeds."""
    for amount, group in groupby(curve.points, key=lambda point: point.amount):
        yield amount, list(group)


def learning_curve_table(curve: LearningCurve) -> Table:
    """The median of the seeds, their range, and the change of the median relative to the base."""
    rows, base = [], curve.base
    for amount, seeds in by_amount(curve):
        rates = [point.estimate.wer for point in seeds]
        change = (median(rates) - base.wer) / base.wer if base and base.wer else None
        ends = Rate(min(rates)), Rate(max(rates))
        rows.append([f"{amount:g}", len(seeds), Rate(median(rates)), *ends, Rate(change, signed=True)])
    head = [curve.unit, "seeds", "median WER %", "lowest", "highest", "change %"]
    return Table("learning_curve", "Change of the median relative to the base", head, rows)


def amount_text(amount: float, unit: str) -> str:
    """`1 minute`, `2.5 minutes`."""
    return f"{amount:g} {unit.removesuffix('s') if amount == 1 else unit}"


def trade_off_section(trade_off: TradeOff) -> Iterator[Child]:
    """In-domain against out-of-domain WER: the adapter scaled from 0 (the base) to 1, and adapters trained
    with decay towards 1."""
    own, out_of_domain, points = trade_off.own, trade_off.out_of_domain, trade_off.points
    series = []
    for setting, name, style in (
        ("scale", "scaled adapter", "system"),
        ("decay_to_one", "trained with decay towards 1", "third"),
    ):
        dots = [trade_off_dot(one, trade_off) for one in points if one.setting == setting]
        series += [Series(name, dots, style, text_below=style == "third")] if dots else []
    x = rate_axis(f"WER on {out_of_domain}, %", [one.out_of_domain.wer for one in points])
    y = rate_axis(f"WER on {own}, %", [value for one in points for value in one.own.values])
    description = "Lower is better on both axes. At scale 0 the adapter has no effect, which is the base"
    yield element("p", f"{description}.", class_="note")
    yield element(
        "div",
        draw_chart("In-domain WER against out-of-domain WER", description, x, y, series),
        trade_off_table(trade_off).html(),
        class_="charts",
    )


def trade_off_table(trade_off: TradeOff) -> Table:
    rows = [
        [one.name, *(Rate(rate.wer, rate.interval) for rate in (one.own, one.out_of_domain))]
        for one in trade_off.points
    ]
    head = ["adapter", trade_off.own, trade_off.out_of_domain]
    return Table("trade_off", f"WER % {INTERVAL}", head, rows)


def trade_off_dot(point: TradeOffPoint, names: TradeOff) -> Point:
    own, out_of_domain = (f"{percent(one.wer)} %" for one in (point.own, point.out_of_domain))
    title = f"{point.name}: {names.own} {own}, {names.out_of_domain} {out_of_domain}"
    low, high = point.own.low, point.own.high
    return Point(point.out_of_domain.wer, point.own.wer, title, low, high, f"{point.value:g}")


def wer_text(estimate: WerEstimate) -> str:
    return with_interval(estimate.wer, estimate.interval)
