"""SVG: its elements and files, and charts of lines and dots with intervals on two axes.

In: points and axes. Out: `Chart`s, which the page's templates put into figures, and markup. The classes are
coloured by page.css in the page, and by STYLE in a file.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from markupsafe import Markup, escape

from ia3_speech.common.atomic import replacing
from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import percent, plural
from ia3_speech.scoring.table import Bounds

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 462, 14, 256  # of the plot area
HEAD = 24  # pixels above the plot area, in a file, for each line of the description, and for a legend
LINE = 64  # characters in a line of the description
SUFFIXES = (".svg", ".pdf", ".png")
PNG_SCALE = 2  # pixels for each of SVG's
HINT = f"needs CairoSVG (in the clone: {pip_install('.[figures]')}; apt install libcairo2; .svg doesn't)"
# The classes of the shapes, with the colours of page.css in light mode.
STYLE = """
text { font: 12px sans-serif; fill: #5b6776 } .head { font-size: 13px; fill: #1b2430 }
.grid { stroke: #dfe3e8 } .axis { stroke: #5b6776 }
.line { fill: none } .line.guide { stroke: #5b6776; stroke-dasharray: 3 4 }
.line.system { stroke: #1596ad; stroke-width: 2 } .line.third { stroke: #8a5cd0; stroke-width: 2 }
.line.baseline { stroke: #a3adba; stroke-width: 2; stroke-dasharray: 7 4 } .whisker { stroke: #1b2430 }
.dot { stroke: white; fill-opacity: .8 } .dot.system { fill: #1596ad } .dot.baseline { fill: #a3adba }
.dot.third, .dot.selected { fill: #8a5cd0 }
"""


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


def picture(
    shapes: Iterable[Markup],
    width: float,
    height: float,
    title: str,
    *,
    top: float = 0,
    scale: float = 1,
    style: str = "",
) -> Markup:
    """A whole picture on a white background, for a file or a page; screen readers read its title. The shapes
    are in pixels, from (0, top) to (width, top + height); `style` are rules of CSS for their classes, and
    `scale` the pixels of the picture for each of theirs."""
    return element(
        "svg",
        element("title", title),
        *([element("style", Markup(style))] if style else []),
        element("rect", x=0, y=top, width="100%", height="100%", fill="white"),
        *shapes,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        viewBox=f"0 {top:g} {width:g} {height:g}",
        width=scale * width,
        height=scale * height,
        font_family="sans-serif",
        font_size=12,
    )  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`."""

    title: str  # with the unit
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]  # values and their labels

    def pixel(self, value: float, start: float, end: float) -> float:
        """The place of a value, `start` at `low` and `end` at `high`."""
        return round(start + (end - start) * (value - self.low) / (self.high - self.low), 1)


@dataclass(frozen=True)
class Point:
    """A dot of a chart."""

    x: float
    y: float
    title: str = ""  # shown as a tooltip
    bounds: Bounds = None  # of the interval of y, if any, drawn as a whisker
    text: str = ""  # beside the dot
    radius: float = 4  # pixels


@dataclass(frozen=True)
class Series:
    """Points with the same colour."""

    points: Sequence[Point]  # in order of x if a line joins them
    style: str  # a class of page.css
    name: str = ""  # in the legend; empty: not in the legend
    line: bool = True  # join the points by a line
    dots: bool = True  # draw the points


@dataclass(frozen=True)
class Chart:
    """A chart with two axes."""

    title: str  # above the chart
    description: str  # below the chart, and for screen readers
    x: Axis
    y: Axis
    series: Sequence[Series]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """(name, style) of the series with names, if there are several."""
        named = [(drawn.name, drawn.style) for drawn in self.series if drawn.name]
        return named if len(named) > 1 else []

    @property
    def shapes(self) -> list[Markup]:
        series = [shape for series in self.series for shape in draw_series(series, self.x, self.y)]
        return [*draw_axes(self.x, self.y), *series]

    @property
    def svg(self) -> Markup:
        """An element of a page, which screen readers present as a single picture."""
        title = element("title", f"{self.title}. {self.description}")
        box = f"0 0 {WIDTH} {HEIGHT}"
        return element("svg", title, *self.shapes, role="img", viewBox=box, class_="chart")

    @property
    def svg_file(self) -> str:
        """An SVG file: styles, a white background, description and legend above the plot area."""
        lines, shapes = wrap(self.description, LINE), []
        above = HEAD * (len(lines) + bool(self.legend))
        for number, line in enumerate(lines, 1):
            shapes.append(element("text", line, x=LEFT, y=HEAD * number - above - 6, class_="head"))
        for number, (name, style) in enumerate(self.legend):
            left = LEFT + 140 * number
            shapes.append(element("circle", cx=left + 4, cy=-10, r=4, class_=f"dot {style}"))
            shapes.append(element("text", name, x=left + 12, y=-6))
        title, size = f"{self.title}. {self.description}", (WIDTH, HEIGHT + above)
        return f"{picture([*shapes, *self.shapes], *size, title, top=-above, scale=1.5, style=STYLE)}\n"


def diagonal(end: float) -> Series:
    """The dashed line on which both axes have the same value."""
    return Series([Point(0.0, 0.0), Point(end, end)], "guide", dots=False)


def rate_axis(
    title: str, rates: Iterable[float | None], floor: float | None = None, factor: float = 100
) -> Axis:
    """An axis that includes the rates (None is ignored), from `floor` if given. Its labels are the values
    times `factor`, by default percent."""
    known = [rate for rate in rates if rate is not None]
    low, high = min(known), max(known)
    margin = 0.08 * (high - low) or 0.1 * (high or 1.0)
    low = max(0.0, low - margin) if floor is None else floor
    return Axis(title, low, high + margin, tick_labels(round_ticks(low, high + margin), factor))


def tick_labels(ticks: Sequence[float], factor: float = 1) -> list[tuple[float, str]]:
    """Each tick with its label, `factor` × tick; all labels have the decimals of the finest label."""
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


def draw_axes(x: Axis, y: Axis) -> list[Markup]:
    """Both axes with ticks, labels and titles, and the grid lines of y."""
    shapes = []
    for value, text in y.ticks:
        height = y.pixel(value, BOTTOM, TOP)
        shapes.append(element("line", x1=LEFT, x2=RIGHT, y1=height, y2=height, class_="grid"))
        shapes.append(element("text", text, x=LEFT - 7, y=height + 4, text_anchor="end"))
    for value, text in x.ticks:
        place = x.pixel(value, LEFT, RIGHT)
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


def draw_series(series: Series, x: Axis, y: Axis) -> list[Markup]:
    """The line of a series, then for each dot its whisker, the dot, and its text on the side with space."""
    shapes = []
    places = [(x.pixel(point.x, LEFT, RIGHT), y.pixel(point.y, BOTTOM, TOP)) for point in series.points]
    if series.line and len(places) > 1:
        path = " ".join(f"{left:g},{top:g}" for left, top in places)
        shapes.append(element("polyline", points=path, class_=f"line {series.style}"))
    for point, (left, top) in zip(series.points if series.dots else (), places, strict=False):
        if point.bounds:
            ends = max(point.bounds[0], y.low), min(point.bounds[1], y.high)
            y1, y2 = (y.pixel(end, BOTTOM, TOP) for end in ends)
            shapes.append(element("line", x1=left, x2=left, y1=y1, y2=y2, class_="whisker"))
        title, dot = element("title", point.title), {"cx": left, "cy": top, "r": round(point.radius, 2)}
        shapes.append(element("circle", title, **dot, class_=f"dot {series.style}"))
        if point.text:
            side, anchor = (7, "start") if left + 7 + 7 * len(point.text) <= RIGHT else (-7, "end")
            shapes.append(element("text", point.text, x=left + side, y=top - 6, text_anchor=anchor))
    return shapes


def scatter_before_and_after(
    title: str, what: str, names: Sequence[str], values: Iterable[tuple[str, float, float, int]]
) -> Chart:
    """A dot for each speaker, or another part of a test set; dots below the diagonal improved. `what` names
    the parts, in the plural, and `names` both systems; `values` are name, WER before, WER after and words of
    each part."""
    dots = [
        Point(x, y, f"{name}: {percent(x)} % before, {percent(y)} % after, {plural(words, 'word')}")
        for name, x, y, words in values
    ]
    rates = [rate for dot in dots for rate in (dot.x, dot.y)]
    x, y = (rate_axis(f"WER of {name}, %", rates, floor=0.0) for name in names)
    better, worse = [dot for dot in dots if dot.y <= dot.x], [dot for dot in dots if dot.y > dot.x]
    equal = sum(dot.y == dot.x for dot in dots)
    counts = f"{len(better) - equal} better (below the line), {equal} equal, {len(worse)} worse"
    series = [diagonal(x.high), Series(better, "system", line=False), Series(worse, "third", line=False)]
    return Chart(title, f"{len(dots)} {what}: {counts}", x, y, series)


def check_picture(path: Path) -> None:
    """Raises UserError for a suffix that is not in SUFFIXES, or that needs CairoSVG, which is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a picture ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() != ".svg" and not has_cairo():
        raise UserError(f"{path}: {path.suffix.removeprefix('.').upper()} {HINT}")


def write_picture(path: Path, svg: str) -> None:
    """Write a picture in the format of the suffix."""
    content = svg.encode()
    if path.suffix.lower() != ".svg":
        import cairosvg

        as_pdf = path.suffix.lower() == ".pdf"
        content = cairosvg.svg2pdf(content) if as_pdf else cairosvg.svg2png(content, scale=PNG_SCALE)
    with replacing(path) as new:
        new.write_bytes(content)


def has_cairo() -> bool:
    """Whether CairoSVG and the system's Cairo are installed."""
    try:
        import cairosvg  # noqa: F401
    except (ImportError, OSError):
        return False
    return True
