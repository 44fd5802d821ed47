"""Charts of the training, of the learning curve, and of in-domain against out-of-domain WER.

In: what `curve_files` reads. Out: sections of the page.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from statistics import median

from ia3_speech.formatting import percent, plural, with_interval
from ia3_speech.report.charts import Axis, Level, Point, Series, draw_chart, rate_axis, tick_labels
from ia3_speech.report.curve_files import Epoch, LearningCurve, TradeOff, TradeOffPoint, WerEstimate
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.result_tables import INTERVAL, make_table, signed_percent
from ia3_speech.report.svg import round_ticks

SIDE_BY_SIDE = 1.04  # factor between the amounts at which the seeds of one amount are drawn


def training_section(epochs: Sequence[Epoch]) -> Iterator[Child]:
    """Loss and dev WER of each epoch; the selected epoch is marked."""
    first, last = min(epoch.number for epoch in epochs), max(epoch.number for epoch in epochs)
    whole = [tick for tick in round_ticks(first, last, 8) if tick == int(tick)]
    x = Axis("epoch", first - 0.3, last + 0.3, tick_labels(whole))
    trained = [epoch for epoch in epochs if epoch.loss is not None]
    charts = [loss_chart(trained, x)] if trained else []
    yield element("div", *charts, dev_wer_chart(epochs, x), class_="charts")
    losses = ["–" if epoch.loss is None else f"{epoch.loss:.3f}" for epoch in epochs]
    rows = [
        [str(epoch.number), loss, percent(epoch.dev_wer, 2)]
        for epoch, loss in zip(epochs, losses, strict=True)
    ]
    yield folded_table("Training", ["epoch", "CTC loss", "dev WER %"], rows)


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
    dots, medians, rows = [], [], []
    for amount, group in groupby(curve.points, key=lambda point: point.amount):
        seeds = list(group)
        rates = [point.estimate.wer for point in seeds]
        medians.append(Point(amount, median(rates), ""))
        change = signed_percent((median(rates) - base.wer) / base.wer if base and base.wer else None)
        spread = f"{percent(min(rates))} to {percent(max(rates))}"
        rows.append([f"{amount:g}", str(len(seeds)), percent(median(rates)), spread, change])
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
    head = [unit, "seeds", "median WER %", "range of the seeds", "change %"]
    yield element(
        "div",
        draw_chart(f"WER{on} by amount of audio", description, x, y, series, levels),
        make_table("Change of the median relative to the base", head, rows),
        class_="charts",
    )


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
    rows = [[one.name, wer_text(one.own), wer_text(one.out_of_domain)] for one in points]
    description = "Lower is better on both axes. At scale 0 the adapter has no effect, which is the base"
    yield element("p", f"{description}.", class_="note")
    yield element(
        "div",
        draw_chart("In-domain WER against out-of-domain WER", description, x, y, series),
        make_table(f"WER % {INTERVAL}", ["", own, out_of_domain], rows),
        class_="charts",
    )


def trade_off_dot(point: TradeOffPoint, names: TradeOff) -> Point:
    own, out_of_domain = (f"{percent(one.wer)} %" for one in (point.own, point.out_of_domain))
    title = f"{point.name}: {names.own} {own}, {names.out_of_domain} {out_of_domain}"
    low, high = point.own.low, point.own.high
    return Point(point.out_of_domain.wer, point.own.wer, title, low, high, f"{point.value:g}")


def wer_text(estimate: WerEstimate) -> str:
    return with_interval(estimate.wer, estimate.interval)


def folded_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """The numbers of a chart, folded."""
    return element("details", element("summary", "Show as a table"), make_table(caption, head, rows))
