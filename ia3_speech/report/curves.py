"""Curves: training, how much audio it takes, and what the adapter costs on general speech.

In: metrics.jsonl, curve.json and trade_off.json as `contents` reads them. Out: sections of the page.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from statistics import median

from ia3_speech.report.charts import Axis, Level, Point, Series, chart, rate_axis, tick_texts
from ia3_speech.report.drawings import nice_ticks
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.points import Curve, Json, Rate, TradeOff, TradeOffPoint, all_ends
from ia3_speech.report.tables import brackets, count, percent, table

NEAR = 1.04  # dots of one x stand beside each other, by this factor


def training_section(rows: Sequence[Json]) -> Iterator[Child]:
    """Loss and dev WER, epoch by epoch; the epoch that was kept stands out."""
    epochs = [row["epoch"] for row in rows]
    first, last = min(epochs), max(epochs)
    whole = [tick for tick in nice_ticks(first, last, 8) if tick == int(tick)]
    x = Axis("epoch", first - 0.3, last + 0.3, tick_texts(whole))

    losses = [
        Point(row["epoch"], row["loss"], f"epoch {row['epoch']}: loss {row['loss']:.3f}") for row in rows
    ]
    low, high = min(point.y for point in losses), max(point.y for point in losses)
    air = 0.08 * (high - low) or 0.1
    y = Axis("CTC loss", low - air, high + air, tick_texts(nice_ticks(low - air, high + air)))
    says = f"From {rows[0]['loss']:.3f} to {rows[-1]['loss']:.3f} in {count(len(rows), 'epoch')}"
    loss = chart("Training loss", says, x, y, [Series("", losses, "system")])

    rates = [row["dev_wer"] for row in rows]
    points = [
        Point(
            row["epoch"], row["dev_wer"], f"epoch {row['epoch']}: dev WER {percent(row['dev_wer'], '.2f')} %"
        )
        for row in rows
    ]
    epoch = rows[-1]["selected_epoch"]
    kept_rate = next(row["dev_wer"] for row in rows if row["epoch"] == epoch)
    says = (
        f"Kept was epoch {epoch}, {percent(kept_rate, '.2f')} %: the last that dev can't tell from the "
        f"lowest, {percent(min(rates), '.2f')} %"
    )
    kept = Point(epoch, kept_rate, f"kept: epoch {epoch}", text="kept")
    series = [Series("", points, "system"), Series("", [kept], "kept", line=False)]
    wer = chart("WER of the development set", says, x, rate_axis("dev WER, %", rates), series)
    yield element("div", loss, wer, class_="charts")
    yield numbers(
        ["epoch", "loss", "dev WER %"],
        [[str(row["epoch"]), f"{row['loss']:.3f}", percent(row["dev_wer"], ".2f")] for row in rows],
    )


def curve_section(curve: Curve) -> Iterator[Child]:
    """WER against the amount of audio, on a logarithmic axis; every seed a dot, their median the line."""
    unit, base = curve.unit, curve.base
    dots, middle, rows = [], [], []
    for amount, group in groupby(curve.points, key=lambda point: point.amount):
        own = list(group)
        rates = [point.rate.wer for point in own]
        middle.append(Point(amount, median(rates), ""))
        change = percent((median(rates) - base.wer) / base.wer, "+.1f") if base and base.wer else "–"
        rows.append([f"{amount:g}", str(len(own)), percent(median(rates)), spread(rates), change])
        for place, point in enumerate(own):
            beside = amount * NEAR ** (place - (len(own) - 1) / 2)
            title = f"{amount:g} {unit}, seed {point.seed}: WER {with_bounds(point.rate)} %"
            dots.append(Point(beside, point.rate.wer, title, point.rate.low, point.rate.high))
    ticks = [(point.x, f"{point.x:g}") for point in middle]
    x = Axis(f"{unit} to adapt on", middle[0].x / 1.25, middle[-1].x * 1.25, ticks, log=True)
    y = rate_axis("WER, %", all_ends([point.rate for point in curve.points] + [base] * bool(base)))
    levels = [Level("base", base.wer, "baseline", base.low, base.high)] if base else []
    ends = [f"{percent(point.y)} % with {point.x:g} {unit}" for point in (middle[0], middle[-1])]
    says = f"Median of the seeds from {' to '.join(ends)}"
    says += f"; the base has {percent(base.wer)} %" if base else ""
    line, cloud = (
        Series("median of the seeds", middle, "system", dots=False),
        Series("", dots, "system", False),
    )
    on = f" on {curve.set}" if curve.set else ""
    head = [unit, "seeds", "WER %, median", "of the seeds", "change %"]
    yield element(
        "div",
        chart(f"WER{on} by amount of audio", says, x, y, [line, cloud], levels),
        table("Change: of the median, relative to the base", head, rows),
        class_="charts",
    )


def spread(rates: Sequence[float]) -> str:
    return f"{percent(min(rates))} to {percent(max(rates))}"


def trade_off_section(trade_off: TradeOff) -> Iterator[Child]:
    """Own against general speech: the adapter scaled from 0 (the base) to 1, and trained with a pull."""
    own, general, points = trade_off.own, trade_off.general, trade_off.points
    series = []
    for way, name, style in (("scale", "scaled", "system"), ("pull", "trained with a pull", "third")):
        drawn = [trade_off_dot(point, own, general) for point in points if point.way == way]
        series += [Series(name, drawn, style, under=way == "pull")] if drawn else []
    says = (
        "Down is better on its own set, left is better on general speech; at scale 0 the adapter is the base"
    )
    x = rate_axis(f"WER on {general}, %", [point.general.wer for point in points])
    y = rate_axis(f"WER on {own}, %", all_ends([point.own for point in points]))
    rows = [
        [f"{point.way} {point.value:g}", with_bounds(point.own), with_bounds(point.general)]
        for point in points
    ]
    yield element("p", f"{says}.", class_="note")
    yield element(
        "div",
        chart("Own speech against general speech", says, x, y, series),
        table("WER % [95 % interval]", ["", own, general], rows),
        class_="charts",
    )


def trade_off_dot(point: TradeOffPoint, own: str, general: str) -> Point:
    rates = f"{own} {percent(point.own.wer)} %, {general} {percent(point.general.wer)} %"
    title, text = f"{point.way} {point.value:g}: {rates}", f"{point.value:g}"
    return Point(point.general.wer, point.own.wer, title, point.own.low, point.own.high, text)


def with_bounds(rate: Rate) -> str:
    return f"{percent(rate.wer)} {brackets(rate.interval)}".rstrip()


def numbers(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """The numbers of a chart, folded away."""
    return element("details", element("summary", "The numbers"), table("The numbers", head, rows))
