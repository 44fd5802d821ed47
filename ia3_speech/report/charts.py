"""Charts with two axes, as SVG: lines, dots with intervals, horizontal lines with a band.

In: series of points and two axes. Out: a figure with a legend. Colours come from page.css.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.svg import round_ticks, svg_picture

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 462, 14, 256  # of the plot area


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`.

    Attributes:
        title: with the unit.
        low, high: its ends.
        ticks: values and their labels.
        log: logarithmic; `low` is above 0.
    """

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def at(self, value: float) -> float:
        """The position of a value: 0 at `low`, 1 at `high`."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Point:
    """A dot.

    Attributes:
        x, y: its place.
        title: shown as a tooltip.
        low, high: bounds of the interval of y, drawn as a whisker; None without one.
        text: written beside the dot.
        radius: of the dot, pixels.
        attributes: further ones of the dot, as of `element`.
    """

    x: float
    y: float
    title: str
    low: float | None = None
    high: float | None = None
    text: str = ""
    radius: float = 4
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        name: for the legend; empty: not in the legend.
        points: in order of x where a line joins them.
        style: a class of page.css.
        line: join the points by a line.
        dots: draw the points.
        text_below: write their texts below left of the dots instead of above right.
    """

    name: str
    points: Sequence[Point]
    style: str
    line: bool = True
    dots: bool = True
    text_below: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line across the chart.

    Attributes:
        name: for the legend.
        y: its height.
        style: a class of page.css.
        low, high: bounds of the interval, drawn as a band; None without one.
    """

    name: str
    y: float
    style: str
    low: float | None = None
    high: float | None = None


def rate_axis(title: str, rates: Iterable[float | None], floor: float | None = None) -> Axis:
    """An axis in percent that includes the rates (fractions; None is ignored), from `floor` if given."""
    known = [rate for rate in rates if rate is not None]
    low, high = min(known), max(known)
    margin = 0.08 * (high - low) or 0.1 * (high or 1.0)
    low = max(0.0, low - margin) if floor is None else floor
    return Axis(title, low, high + margin, tick_labels(round_ticks(low, high + margin), 100))


def tick_labels(ticks: Sequence[float], factor: float = 1) -> list[tuple[float, str]]:
    """Each tick with its label, `factor` × tick; all labels have the decimals that the finest one needs."""
    texts = [f"{factor * tick:.6g}" for tick in ticks]
    digits = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [(tick, f"{factor * tick:.{digits}f}") for tick in ticks]


def draw_chart(
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    levels: Sequence[Level] = (),
    below: Child = None,
) -> Markup:
    """A figure.

    Args:
        title: above the chart.
        description: what the chart shows, for screen readers.
        x, y: the axes.
        series, levels: what is drawn; a legend names them where there are several with names.
        below: put below the chart.
    """
    shapes = [draw_axes(x, y), *(draw_level(level, y) for level in levels)]
    shapes += [draw_series(one, x, y) for one in series]
    named = [(one.name, one.style) for one in (*levels, *series) if one.name]
    return element(
        "figure",
        element("figcaption", element("b", title), legend(named) if len(named) > 1 else None),
        svg_picture(f"{title}. {description}", shapes, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart"),
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


def x_pixel(axis: Axis, value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * axis.at(value), 1)


def y_pixel(axis: Axis, value: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * axis.at(value), 1)


def draw_axes(x: Axis, y: Axis) -> list[Markup]:
    """Both axes with ticks, labels and titles, and the grid lines of y."""
    shapes = []
    for value, text in y.ticks:
        height = y_pixel(y, value)
        shapes.append(element("line", x1=LEFT, x2=RIGHT, y1=height, y2=height, class_="grid"))
        shapes.append(element("text", text, x=LEFT - 7, y=height + 4, text_anchor="end"))
    for value, text in x.ticks:
        place = x_pixel(x, value)
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


def draw_level(level: Level, y: Axis) -> list[Markup]:
    shapes, height = [], y_pixel(y, level.y)
    if level.low is not None and level.high is not None:
        top, low = y_pixel(y, min(level.high, y.high)), y_pixel(y, max(level.low, y.low))
        shapes.append(
            element("rect", x=LEFT, y=top, width=RIGHT - LEFT, height=low - top, class_=f"band {level.style}")
        )
    shapes.append(element("line", x1=LEFT, x2=RIGHT, y1=height, y2=height, class_=f"level {level.style}"))
    return shapes


def draw_series(series: Series, x: Axis, y: Axis) -> list[Markup]:
    shapes = []
    places = [(x_pixel(x, point.x), y_pixel(y, point.y)) for point in series.points]
    if series.line and len(places) > 1:
        path = " ".join(f"{left:g},{top:g}" for left, top in places)
        shapes.append(element("polyline", points=path, class_=f"line {series.style}"))
    for point, (left, top) in zip(series.points if series.dots else (), places, strict=False):
        if point.low is not None and point.high is not None:
            ends = y_pixel(y, max(point.low, y.low)), y_pixel(y, min(point.high, y.high))
            shapes.append(element("line", x1=left, x2=left, y1=ends[0], y2=ends[1], class_="whisker"))
        dot = element("title", point.title)
        style = f"dot {series.style}"
        shapes.append(
            element("circle", dot, cx=left, cy=top, r=point.radius, class_=style, **point.attributes)
        )
        if point.text:
            on_the_left = series.text_below or left > RIGHT - 8 * len(point.text)
            shapes.append(
                element(
                    "text",
                    point.text,
                    x=left - 7 if on_the_left else left + 7,
                    y=top + 16 if series.text_below else top - 6,
                    text_anchor="end" if on_the_left else "start",
                )
            )
    return shapes
