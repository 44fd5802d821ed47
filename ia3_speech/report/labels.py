"""Bars by speaker and by every other label: baseline and system, each with its interval.

In: `by_label` of the two score.json. Out: a table a label. Many values are folded away, the worst first, and
shown as a cloud of dots, before against after.
"""

import re
from collections.abc import Iterator, Sequence
from statistics import median

from ia3_speech.report.charts import Axis, Point, Series, chart, legend, tick_texts
from ia3_speech.report.contents import Decoded
from ia3_speech.report.drawings import Bar, bars, nice_ticks, ruler
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.points import Json
from ia3_speech.report.tables import bounds, brackets, change_cell, count, percent
from ia3_speech.scoring.score_table import MARK, few_clusters_note, has_few_clusters

FEW = 12  # values that are shown at once, in their own order
CLOUD = 8  # values from which a cloud of dots says more


def labels_section(system: Decoded, baseline: Decoded | None) -> Iterator[Child]:
    """A heading and its bars for each label that has several values, speakers first."""
    labels = sorted(system.score["by_label"], key=lambda label: (label != "speaker", label))
    found = {label: rows_of(label, system, baseline) for label in labels}
    shown = {label: rows for label, rows in found.items() if len(rows) > 1}
    if shown and baseline:
        yield element("p", legend([(baseline.name, "baseline"), (system.name, "system")]))
    if any(row.few for rows in shown.values() for row in rows):
        yield element("p", few_clusters_note(system.score["ci_unit"]), class_="note")
    for label, rows in shown.items():
        yield element("h3", label)
        yield from one_label(label, rows, system.name, baseline.name if baseline else None)


class Row:
    """One value of a label: rates (as in score.json) of the system, and of the baseline if there is one.

    `few`: too few speakers for its interval.
    """

    def __init__(self, value: str, after: Json, before: Json | None, few: bool):
        self.value, self.after, self.before, self.few = value, after, before, few

    @property
    def bars(self) -> list[Bar]:
        pairs = [(self.before, "baseline"), (self.after, "system")]
        return [Bar(one["wer"], one["wer_ci"], style) for one, style in pairs if one]


def rows_of(label: str, system: Decoded, baseline: Decoded | None) -> list[Row]:
    """The values of a label that have any reference words."""
    before = baseline.score["by_label"].get(label, {}) if baseline else {}
    rates, unit = system.score["by_label"][label], system.score["ci_unit"]
    return [
        Row(value, own, before.get(value), has_few_clusters(label, own["ci_clusters"], own["ci_unit"], unit))
        for value, own in rates.items()
        if own["wer"] is not None
    ]


def one_label(label: str, rows: list[Row], system: str, baseline: str | None) -> Iterator[Markup]:
    if baseline and len(rows) >= CLOUD:
        yield cloud(label, rows, system, baseline)
    if len(rows) <= FEW:
        yield bar_table(label, sorted(rows, key=lambda row: natural(row.value)), system, baseline)
        return
    rates = sorted(row.after["wer"] for row in rows)
    says = (
        f"{len(rows)} values, median WER {percent(median(rates))} %, "
        f"from {percent(rates[0])} to {percent(rates[-1])} %"
    )
    worst_first = sorted(rows, key=lambda row: (-row.after["wer"], natural(row.value)))
    body = bar_table(label, worst_first, system, baseline)
    yield element("details", element("summary", says), body)


def natural(text: str) -> list[tuple[int, str]]:
    """Sorts `6-10` before `11-15`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def bar_table(label: str, rows: Sequence[Row], system: str, baseline: str | None) -> Markup:
    limit = 1.06 * max(ceiling(row) for row in rows) or 1.0
    ticks = nice_ticks(0, limit, 5)
    heads = [label, ruler(limit, ticks), "WER %"] + (["change %"] if baseline else [])
    head = [element("th", text, scope="col") for text in heads]
    body = [element("tr", cells(label, row, limit, ticks, system, baseline)) for row in rows]
    caption = element("caption", f"WER by {label}, with 95 % intervals", class_="unseen")
    parts = [caption, element("thead", element("tr", head)), element("tbody", body)]
    return element("table", parts, class_="by-label")


def ceiling(row: Row) -> float:
    """How far the row's bars reach; intervals of a few words reach far, and are cut at twice the rate."""
    return max(min(2 * bar.rate, bar.interval[1]) if bar.interval else bar.rate for bar in row.bars)


def cells(
    label: str, row: Row, limit: float, ticks: Sequence[float], system: str, baseline: str | None
) -> Iterator[Markup]:
    size = f"{count(row.after['utterances'], 'utterance')}, {count(row.after['words'], 'word')}"
    link = element("a", row.value, href="#utterances", data_label=label, data_value=row.value)
    yield element("th", link, MARK if row.few else None, element("small", size), scope="row")
    names = [baseline, system] if row.before else [system]
    said = [
        f"{name} {percent(bar.rate)} % {brackets(bar.interval)}".rstrip()
        for name, bar in zip(names, row.bars, strict=True)
    ]
    title = f"{row.value}: {', '.join(said)}"
    yield element("td", bars(row.bars, limit, ticks, title), class_="picture")
    numbers = [element("span", percent(bar.rate), bounds(bar.interval)) for bar in row.bars]
    yield element("td", numbers, class_="number lines")
    if baseline:
        yield change_cell(row.after["changes"].get("wer"), row.few)


def cloud(label: str, rows: Sequence[Row], system: str, baseline: str) -> Markup:
    """A dot a value: under the diagonal the system is better."""
    pairs = [(row, row.before["wer"], row.after["wer"]) for row in rows if row.before]
    points = [
        Point(before, after, f"{row.value}: {percent(before)} to {percent(after)} %, "
              f"{count(row.after['words'], 'word')}")
        for row, before, after in pairs if before is not None
    ]  # fmt: skip
    top = 1.06 * max(max(point.x, point.y) for point in points) or 1.0
    ticks = tick_texts(nice_ticks(0, top), 100)
    better = sum(point.y < point.x for point in points)
    equal = sum(point.y == point.x for point in points)
    says = f"better {better}, equal {equal}, worse {len(points) - better - equal} of {len(points)}"
    diagonal = Series("", [Point(0, 0, ""), Point(top, top, "")], "guide", dots=False)
    return chart(
        f"Each {label} before and after",
        says,
        Axis(f"WER of {baseline}, %", 0, top, ticks),
        Axis(f"WER of {system}, %", 0, top, ticks),
        [diagonal, Series("", points, "system", line=False)],
        below=element("p", f"Under the line {system} is better: {says}.", class_="note"),
    )
