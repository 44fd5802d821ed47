"""Charts as SVG: lines and dots with intervals on two axes, and bars with intervals.

In: points, bars and axes. Out: `Chart`s, which the page's templates put into figures, and markup. Colours
come from page.css by class.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from ia3_speech.scoring.table import Bounds, Rate

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 462, 14, 256  # of the plot area
BAR_HEIGHT, BAR_GAP = 9, 5  # pixels


def element(name: str, /, *children: str | Markup, **attributes: object) -> Markup:
    """`<name attributes>children</name>`, all text escaped that is not `Markup`.

    `class_` becomes class, `text_anchor` becomes text-anchor.

    >>> element("text", "5 < 6", x=1.5, class_="title")
    Markup('<text x="1.5" class="title">5 &lt; 6</text>')
    """
    written = ""
    for key, value in attributes.items():
        text = f"{value:.6g}" if isinstance(value, float) else value
        written += f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"'
    return Markup(f"<{name}{written}>{''.join(map(escape, children))}</{name}>")


def svg_picture(title: str, *shapes: Markup, **attributes: object) -> Markup:
    """An SVG element that a screen reader presents as one picture, described by `title`."""
    return element("svg", element("title", title), *shapes, role="img", **attributes)


# ---- two axes


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

    def position(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
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
        bounds: of the interval of y, drawn as a whisker; None without one.
        text: written beside the dot.
        radius: of the dot, pixels.
        attributes: further ones of the dot, as of `element`.
    """

    x: float
    y: float
    title: str = ""
    bounds: Bounds = None
    text: str = ""
    radius: float = 4
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        points: in order of x where a line joins them.
        style: a class of page.css.
        name: for the legend; empty: not in the legend.
        line: join the points by a line.
        dots: draw the points.
        text_below: write their texts below left of the dots instead of above right.
    """

    points: Sequence[Point]
    style: str
    name: str = ""
    line: bool = True
    dots: bool = True
    text_below: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line across the chart at `y`, with a band for its interval if `bounds` are known."""

    name: str
    y: float
    style: str
    bounds: Bounds = None


@dataclass(frozen=True)
class Chart:
    """A chart with two axes.

    Attributes:
        title: above the chart.
        description: what the chart shows, for screen readers.
        x, y: the axes.
        series, levels: what is drawn.
        note: below the chart; empty without one.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    note: str = ""

    @property
    def legend(self) -> list[tuple[str, str]]:
        """(name, style) of levels and series, where there are several with names."""
        named = [(drawn.name, drawn.style) for drawn in (*self.levels, *self.series) if drawn.name]
        return named if len(named) > 1 else []

    @property
    def shapes(self) -> list[Markup]:
        levels = [shape for level in self.levels for shape in draw_level(level, self.y)]
        series = [shape for series in self.series for shape in draw_series(series, self.x, self.y)]
        return [*draw_axes(self.x, self.y), *levels, *series]

    @property
    def svg(self) -> Markup:
        title, box = f"{self.title}. {self.description}", f"0 0 {WIDTH} {HEIGHT}"
        return svg_picture(title, *self.shapes, viewBox=box, class_="chart")


def diagonal(end: float) -> Series:
    """The dashed line on which both axes have the same value."""
    return Series([Point(0.0, 0.0), Point(end, end)], "guide", dots=False)


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


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` multiples of 1, 2 or 5 times a power of ten between low and high.

    >>> round_ticks(0, 0.63)
    [0.0, 0.2, 0.4, 0.6]
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(times * power for times in (1, 2, 5, 10, 20) if span / (times * power) < most - 1e-6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(round(number * step, 10)) for number in range(first, last + 1)]


def x_pixel(axis: Axis, value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * axis.position(value), 1)


def y_pixel(axis: Axis, value: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * axis.position(value), 1)


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
    if level.bounds:
        low, top = y_pixel(y, max(level.bounds[0], y.low)), y_pixel(y, min(level.bounds[1], y.high))
        box = {"x": LEFT, "y": top, "width": RIGHT - LEFT, "height": low - top}
        shapes.append(element("rect", **box, class_=f"band {level.style}"))
    return [
        *shapes,
        element("line", x1=LEFT, x2=RIGHT, y1=height, y2=height, class_=f"level {level.style}"),
    ]


def draw_series(series: Series, x: Axis, y: Axis) -> list[Markup]:
    """The line, then for each dot its whisker, the dot and its text."""
    shapes = []
    places = [(x_pixel(x, point.x), y_pixel(y, point.y)) for point in series.points]
    if series.line and len(places) > 1:
        path = " ".join(f"{left:g},{top:g}" for left, top in places)
        shapes.append(element("polyline", points=path, class_=f"line {series.style}"))
    for point, (left, top) in zip(series.points if series.dots else (), places, strict=False):
        if point.bounds:
            ends = y_pixel(y, max(point.bounds[0], y.low)), y_pixel(y, min(point.bounds[1], y.high))
            shapes.append(element("line", x1=left, x2=left, y1=ends[0], y2=ends[1], class_="whisker"))
        title, dot = element("title", point.title), {"cx": left, "cy": top, "r": round(point.radius, 2)}
        shapes.append(element("circle", title, **dot, class_=f"dot {series.style}", **point.attributes))
        if point.text:
            on_the_left = series.text_below or left > RIGHT - 8 * len(point.text)
            place = {"x": left - 7 if on_the_left else left + 7, "y": top + (16 if series.text_below else -6)}
            anchor = "end" if on_the_left else "start"
            shapes.append(element("text", point.text, **place, text_anchor=anchor))
    return shapes


# ---- bars, as wide as their container


def share(value: float, limit: float) -> str:
    """`value` as a percentage of `limit`, clipped to 0 and 100 %."""
    return f"{100 * max(0.0, min(1.0, value / limit)):.2f}%"


def draw_bars(bars: Sequence[tuple[Rate, str]], limit: float, ticks: Iterable[float], title: str) -> Markup:
    """Horizontal bars on an axis from 0 to `limit`, with whiskers for their intervals; of each bar its length
    and a class of page.css."""
    height = len(bars) * (BAR_HEIGHT + BAR_GAP) + BAR_GAP
    shapes = [draw_line(share(tick, limit), share(tick, limit), 0, height, "grid") for tick in ticks]
    for index, (rate, style) in enumerate(bars):
        y = BAR_GAP + index * (BAR_HEIGHT + BAR_GAP)
        box = {"x": 0, "y": y, "width": share(rate.value, limit), "height": BAR_HEIGHT, "rx": 2}
        shapes.append(element("rect", **box, class_=style))
        if rate.bounds:
            low, high = (share(bound, limit) for bound in rate.bounds)
            middle = y + BAR_HEIGHT / 2
            ends = [(low, high, middle, middle)]
            ends += [(end, end, y + 1, y + BAR_HEIGHT - 1) for end in (low, high)]
            shapes += [draw_line(*end, "whisker") for end in ends]
    return svg_picture(title, *shapes, width="100%", height=height, class_="bars")


def draw_line(x1: object, x2: object, y1: float, y2: float, style: str) -> Markup:
    return element("line", x1=x1, x2=x2, y1=y1, y2=y2, class_=style)


def draw_tick_labels(limit: float, ticks: Sequence[float]) -> Markup:
    """The tick labels above a column of bars, in percent."""
    texts = []
    for tick in ticks:
        anchor = "start" if tick <= 0 else "end" if tick > 0.95 * limit else "middle"
        texts.append(element("text", f"{100 * tick:g}", x=share(tick, limit), y=12, text_anchor=anchor))
    return element("svg", *texts, width="100%", height=16, class_="ruler", aria_hidden="true")


# ---- a picture of its own

# The classes that are drawn with, as page.css has them in the light.
STYLE = """
text { font: 12px sans-serif; fill: #5b6776 } .head { font-size: 13px; fill: #1b2430 }
.grid { stroke: #dfe3e8 } .axis { stroke: #5b6776 }
.line { fill: none; stroke: #5b6776; stroke-dasharray: 3 4 }
.dot { stroke: white; fill-opacity: .8 } .system { fill: #1596ad } .third { fill: #8a5cd0 }
"""
HEAD = 24  # pixels over the field


def speaker_scatter(
    names: tuple[str, str],
    speakers: Sequence[str],
    words: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
) -> str:
    """An SVG file with a dot a speaker, the WER before against that after adaptation; below the line a
    speaker is better off.

    Args:
        names: of the system before, and of that after.
        speakers: their names.
        words: reference words of each speaker.
        before, after: word errors of each speaker.
    """
    dots = [
        Point(b / n, a / n, f"{name}: {100 * b / n:.1f} % before, {100 * a / n:.1f} % after, {n} words")
        for name, n, b, a in zip(speakers, words, before, after, strict=True)
    ]
    rates = [rate for dot in dots for rate in (dot.x, dot.y)]
    x, y = (rate_axis(f"WER of {name}, %", rates, floor=0.0) for name in names)
    better, worse = sum(dot.y < dot.x for dot in dots), sum(dot.y > dot.x for dot in dots)
    summary = f"{len(dots)} speakers: {better} better (below the line), {len(dots) - better - worse} equal, "
    summary += f"{worse} worse"
    series = [
        diagonal(x.high),
        Series([dot for dot in dots if dot.y <= dot.x], "system", line=False),
        Series([dot for dot in dots if dot.y > dot.x], "third", line=False),
    ]
    picture = svg_picture(
        f"{names[1]}, a dot a speaker. {summary}",
        element("style", Markup(STYLE)),
        element("rect", x=0, y=-HEAD, width="100%", height="100%", fill="white"),
        element("text", summary, x=LEFT, y=-6, class_="head"),
        *Chart("", "", x, y, series).shapes,
        viewBox=f"0 {-HEAD} {WIDTH} {HEIGHT + HEAD}",
        xmlns="http://www.w3.org/2000/svg",
        width=1.5 * WIDTH,
        height=1.5 * (HEIGHT + HEAD),
    )
    return f"{picture}\n"
