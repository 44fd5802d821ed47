"""Charts with two axes, as SVG: lines, dots with intervals, a level with its band.

In: series of points and two axes. Out: a figure with its legend. Colours come from the page's style sheet.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ia3_speech.report.drawings import nice_ticks, picture
from ia3_speech.report.markup import Child, Markup, element

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 462, 14, 256  # of the field


@dataclass(frozen=True)
class Axis:
    """What runs from low to high; ticks are values and their texts. A `log` axis has low > 0."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def at(self, value: float) -> float:
        """0 at low, 1 at high."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Point:
    """A dot: `title` shows when a pointer rests on it, `text` stands beside it; low and high are of y."""

    x: float
    y: float
    title: str
    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one colour; `style` is a class of page.css."""

    name: str
    points: Sequence[Point]
    style: str
    line: bool = True
    dots: bool = True
    under: bool = False  # where its points' texts stand


@dataclass(frozen=True)
class Level:
    """A horizontal line across the field, perhaps with its interval as a band."""

    name: str
    y: float
    style: str
    low: float | None = None
    high: float | None = None


def rate_axis(title: str, rates: Iterable[float | None], floor: float | None = None) -> Axis:
    """Percent, around the rates (fractions) with some air; from `floor` where one is given."""
    found = [rate for rate in rates if rate is not None]
    low, high = min(found), max(found)
    air = 0.08 * (high - low) or 0.1 * (high or 1.0)
    low = max(0.0, low - air) if floor is None else floor
    return Axis(title, low, high + air, tick_texts(nice_ticks(low, high + air), 100))


def tick_texts(ticks: Sequence[float], times: float = 1) -> list[tuple[float, str]]:
    """The ticks with their texts, all with as many decimals as the finest needs."""
    texts = [f"{times * tick:.6g}" for tick in ticks]
    digits = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [(tick, f"{times * tick:.{digits}f}") for tick in ticks]


def chart(
    title: str,
    says: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    levels: Sequence[Level] = (),
    below: Child = None,
) -> Markup:
    """A figure: `title` over it, a legend where there is more than one thing, `below` under it.

    says: in words, for those who don't see it.
    """
    shapes = [grid(x, y), *(level_shapes(level, y) for level in levels)]
    shapes += [series_shapes(one, x, y) for one in series]
    named = [(one.name, one.style) for one in (*levels, *series) if one.name]
    return element(
        "figure",
        element("figcaption", element("b", title), legend(named) if len(named) > 1 else None),
        picture(f"{title}. {says}", shapes, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart"),
        below,
    )


def legend(named: Iterable[tuple[str, str]]) -> Markup:
    return element(
        "span",
        [
            element("span", element("i", class_=f"swatch {style}"), name, class_="key")
            for name, style in named
        ],
        class_="legend",
    )


def across(axis: Axis, value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * axis.at(value), 1)


def up(axis: Axis, value: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * axis.at(value), 1)


def grid(x: Axis, y: Axis) -> list[Markup]:
    shapes = []
    for value, text in y.ticks:
        height = up(y, value)
        shapes.append(element("line", x1=LEFT, x2=RIGHT, y1=height, y2=height, class_="grid"))
        shapes.append(element("text", text, x=LEFT - 7, y=height + 4, text_anchor="end"))
    for value, text in x.ticks:
        place = across(x, value)
        shapes.append(element("line", x1=place, x2=place, y1=BOTTOM, y2=BOTTOM + 4, class_="axis"))
        shapes.append(element("text", text, x=place, y=BOTTOM + 18, text_anchor="middle"))
    middle, centre = (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2
    turned = f"rotate(-90 12 {centre:g})"
    return [
        *shapes,
        element("line", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM, class_="axis"),
        element("text", x.title, x=middle, y=HEIGHT - 6, text_anchor="middle", class_="title"),
        element("text", y.title, x=12, y=centre, text_anchor="middle", transform=turned, class_="title"),
    ]


def level_shapes(level: Level, y: Axis) -> list[Markup]:
    shapes, height = [], up(y, level.y)
    if level.low is not None and level.high is not None:
        top, low = up(y, min(level.high, y.high)), up(y, max(level.low, y.low))
        shapes.append(
            element("rect", x=LEFT, y=top, width=RIGHT - LEFT, height=low - top, class_=f"band {level.style}")
        )
    shapes.append(element("line", x1=LEFT, x2=RIGHT, y1=height, y2=height, class_=f"level {level.style}"))
    return shapes


def series_shapes(series: Series, x: Axis, y: Axis) -> list[Markup]:
    shapes = []
    places = [(across(x, point.x), up(y, point.y)) for point in series.points]
    if series.line and len(places) > 1:
        path = " ".join(f"{left:g},{top:g}" for left, top in places)
        shapes.append(element("polyline", points=path, class_=f"line {series.style}"))
    for point, (left, top) in zip(series.points if series.dots else (), places, strict=False):
        if point.low is not None and point.high is not None:
            ends = up(y, max(point.low, y.low)), up(y, min(point.high, y.high))
            shapes.append(element("line", x1=left, x2=left, y1=ends[0], y2=ends[1], class_="whisker"))
        dot = element("title", point.title)
        shapes.append(element("circle", dot, cx=left, cy=top, r=4, class_=f"dot {series.style}"))
        if point.text:
            place = (
                {"x": left - 6, "y": top + 16, "text_anchor": "end"}
                if series.under
                else {"x": left + 7, "y": top - 6}
            )
            shapes.append(element("text", point.text, **place))
    return shapes
