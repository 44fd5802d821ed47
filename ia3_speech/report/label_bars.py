"""Bars of WER by speaker and by every other label, baseline and system, each with its interval.

In: `by_label` of both score.json. Out: a section of the page, one table per label. A label with many values
is folded, the worst first, and shown as a scatter plot of the baseline's against the system's WER.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from ia3_speech.experiments.curve_files import Json
from ia3_speech.formatting import interval, numeric_order, percent, plural
from ia3_speech.report.charts import Axis, Point, Series, draw_chart, legend, tick_labels
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.report_data import DecodedSystem
from ia3_speech.report.result_tables import relative_change
from ia3_speech.report.svg import Bar, draw_bars, draw_tick_labels, round_ticks
from ia3_speech.report.table import Rate, Table, bounds_span, cell_markup
from ia3_speech.scoring.results import MARK, few_clusters_note, results_of
from ia3_speech.scoring.table import INTERVAL

MAX_OPEN = 12  # values that are shown without folding, in their own order
MIN_SCATTER = 8  # values from which there is a scatter plot


@dataclass(frozen=True)
class LabelValue:
    """One value of a label.

    Attributes:
        name: the value.
        system: error rates of the system, as in score.json.
        baseline: the same of the baseline; None without one.
        few: the interval is too narrow, as it is of few clusters.
    """

    name: str
    system: Json
    baseline: Json | None
    few: bool

    @property
    def bars(self) -> list[Bar]:
        rates = [(self.baseline, "baseline"), (self.system, "system")]
        return [Bar(one["wer"], one["wer_ci"], style) for one, style in rates if one]


def labels_section(system: DecodedSystem, baseline: DecodedSystem | None) -> Iterator[Child]:
    """A heading and bars for each label that has several values, speakers first."""
    labels = sorted(system.score["by_label"], key=lambda label: (label != "speaker", label))
    all_values = {label: label_values(label, system, baseline) for label in labels}
    shown = {label: values for label, values in all_values.items() if len(values) > 1}
    if shown and baseline:
        yield element("p", legend([(baseline.name, "baseline"), (system.name, "system")]))
    if any(value.few for values in shown.values() for value in values):
        yield element("p", few_clusters_note(system.score["ci_unit"]), class_="note")
    for label, values in shown.items():
        yield element("h3", label)
        yield from label_bars(label, values, system.name, baseline.name if baseline else None)


def tables_by_label(system: DecodedSystem, baseline: DecodedSystem | None) -> Iterator[Table]:
    """A table for each label, as `labels_section` shows it."""
    names = [f"{one.name} WER %" for one in (baseline, system) if one]
    for label in sorted(system.score["by_label"]):
        rows = []
        for value in sorted(
            label_values(label, system, baseline), key=lambda value: numeric_order(value.name)
        ):
            rates = [Rate(bar.rate, bar.bounds) for bar in value.bars]
            missing = [Rate(None)] * (len(names) - len(rates))
            change = [relative_change(value.system["changes"].get("wer"), value.few)] if baseline else []
            cells = [value.name, value.system["utterances"], value.system["words"]]
            rows.append([*cells, *missing, *rates, *change])
        head = [label, "utterances", "words", *names, *(["change %"] if baseline else [])]
        if len(rows) > 1:
            yield Table(f"by_{label}", f"WER by {label} {INTERVAL}", head, rows)


def label_values(label: str, system: DecodedSystem, baseline: DecodedSystem | None) -> list[LabelValue]:
    """The values of a label that have reference words."""
    of_baseline = baseline.score["by_label"].get(label, {}) if baseline else {}
    rates = system.score["by_label"][label]
    return [
        LabelValue(
            name,
            own,
            of_baseline.get(name),
            results_of(system.score).row(label, name, own).few_clusters,
        )
        for name, own in rates.items()
        if own["wer"] is not None
    ]


def label_bars(label: str, values: list[LabelValue], system: str, baseline: str | None) -> Iterator[Markup]:
    if baseline and len(values) >= MIN_SCATTER:
        yield scatter_plot(label, values, system, baseline)
    if len(values) <= MAX_OPEN:
        in_order = sorted(values, key=lambda value: numeric_order(value.name))
        yield bar_table(label, in_order, system, baseline)
        return
    rates = sorted(value.system["wer"] for value in values)
    summary = (
        f"{len(values)} values, median WER {percent(median(rates))} %, "
        f"from {percent(rates[0])} to {percent(rates[-1])} %"
    )
    worst_first = sorted(values, key=lambda value: (-value.system["wer"], numeric_order(value.name)))
    table = bar_table(label, worst_first, system, baseline)
    yield element("details", element("summary", summary), table)


def bar_table(label: str, values: Sequence[LabelValue], system: str, baseline: str | None) -> Markup:
    limit = 1.06 * max(longest_bar(value) for value in values) or 1.0
    ticks = round_ticks(0, limit, 5)
    heads = [label, draw_tick_labels(limit, ticks), "WER %"] + (["change %"] if baseline else [])
    head = [element("th", text, scope="col") for text in heads]
    body = [element("tr", bar_cells(label, value, limit, ticks, system, baseline)) for value in values]
    caption = element("caption", f"WER by {label}, with 95 % intervals", class_="unseen")
    parts = [caption, element("thead", element("tr", head)), element("tbody", body)]
    return element("table", parts, class_="by-label")


def longest_bar(value: LabelValue) -> float:
    """How far the bars reach with their whiskers, which are cut at twice the rate: the interval of a few
    words is wide."""
    return max(min(2 * bar.rate, bar.bounds[1]) if bar.bounds else bar.rate for bar in value.bars)


def bar_cells(
    label: str, value: LabelValue, limit: float, ticks: Sequence[float], system: str, baseline: str | None
) -> Iterator[Markup]:
    size = f"{plural(value.system['utterances'], 'utterance')}, {plural(value.system['words'], 'word')}"
    link = element("a", value.name, href="#utterances", data_label=label, data_value=value.name)
    yield element("th", link, MARK if value.few else None, element("small", size), scope="row")
    names = [baseline, system] if value.baseline else [system]
    texts = [
        f"{name} {percent(bar.rate)} % {interval(bar.bounds)}".rstrip()
        for name, bar in zip(names, value.bars, strict=True)
    ]
    title = f"{value.name}: {', '.join(texts)}"
    yield element("td", draw_bars(value.bars, limit, ticks, title), class_="picture")
    rates = [element("span", percent(bar.rate), bounds_span(interval(bar.bounds))) for bar in value.bars]
    yield element("td", rates, class_="number lines")
    if baseline:
        change = relative_change(value.system["changes"].get("wer"), value.few)
        yield element("td", cell_markup(change), class_="number")


def scatter_plot(label: str, values: Sequence[LabelValue], system: str, baseline: str) -> Markup:
    """A dot per value; below the diagonal the system has the lower WER."""
    points = []
    for value in values:
        if value.baseline and value.baseline["wer"] is not None:
            before, after = value.baseline["wer"], value.system["wer"]
            words = plural(value.system["words"], "word")
            title = f"{value.name}: {percent(before)} to {percent(after)} %, {words}"
            points.append(Point(before, after, title))
    limit = 1.06 * max(max(point.x, point.y) for point in points) or 1.0
    ticks = tick_labels(round_ticks(0, limit), 100)
    lower = sum(point.y < point.x for point in points)
    equal = sum(point.y == point.x for point in points)
    counts = f"of {len(points)}, {lower} improved, {equal} unchanged, {len(points) - lower - equal} degraded"
    diagonal = Series("", [Point(0, 0, ""), Point(limit, limit, "")], "guide", dots=False)
    return draw_chart(
        f"WER by {label}",
        counts,
        Axis(f"WER of {baseline}, %", 0, limit, ticks),
        Axis(f"WER of {system}, %", 0, limit, ticks),
        [diagonal, Series("", points, "system", line=False)],
        below=element("p", f"Below the diagonal {system} has the lower WER: {counts}.", class_="note"),
    )
