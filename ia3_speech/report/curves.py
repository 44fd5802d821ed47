"""Charts and tables of the training, of the learning curve, and of in-domain against out-of-domain WER.

In: what `experiments.curve_files` reads. Out: `Chart`s and `Table`s.
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
from ia3_speech.report.charts import (
    Axis,
    Chart,
    Level,
    Point,
    Series,
    rate_axis,
    round_ticks,
    tick_labels,
)
from ia3_speech.scoring.table import INTERVAL, Rate, Table

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


def epoch_table(epochs: Sequence[Epoch]) -> Table:
    rows = [
        [epoch.number, None if epoch.loss is None else f"{epoch.loss:.3f}", Rate(epoch.dev_wer, digits=2)]
        for epoch in epochs
    ]
    return Table("training", "Training", ["epoch", "CTC loss", "dev WER %"], rows)


def by_amount(curve: LearningCurve) -> Iterator[tuple[float, list[LearningCurvePoint]]]:
    """Each amount with the points of its seeds."""
    for amount, points in groupby(curve.points, key=lambda point: point.amount):
        yield amount, list(points)


def learning_curve_table(curve: LearningCurve) -> Table:
    """The median of the seeds, their range, and the change of the median relative to the base."""
    rows = []
    for amount, seeds in by_amount(curve):
        rates = [point.estimate.wer for point in seeds]
        base = curve.base.wer if curve.base else None
        change = Rate((median(rates) - base) / base if base else None, signed=True)
        rows.append([f"{amount:g}", len(seeds), *map(Rate, (median(rates), min(rates), max(rates))), change])
    head = [curve.unit, "seeds", "median WER %", "lowest", "highest", "change %"]
    return Table("learning_curve", "Change of the median relative to the base", head, rows)


def learning_curve_chart(curve: LearningCurve) -> Chart:
    """WER by the amount of audio, on a logarithmic axis: a dot per seed, a line through the medians."""
    unit, base = curve.unit, curve.base
    dots, medians = [], []
    for amount, seeds in by_amount(curve):
        medians.append(Point(amount, median(point.estimate.wer for point in seeds)))
        for index, point in enumerate(seeds):
            x = amount * SIDE_BY_SIDE ** (index - (len(seeds) - 1) / 2)
            wer = point.estimate
            title = f"{amount_text(amount, unit)}, seed {point.seed}: WER {wer_text(wer)} %"
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


def wer_text(estimate: WerEstimate) -> str:
    return with_interval(estimate.wer, estimate.interval)


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


def trade_off_table(trade_off: TradeOff) -> Table:
    rows = [
        [point.name, *(Rate(rate.wer, rate.interval) for rate in (point.own, point.out_of_domain))]
        for point in trade_off.points
    ]
    head = ["adapter", trade_off.own, trade_off.out_of_domain]
    return Table("trade_off", f"WER % {INTERVAL}", head, rows)
