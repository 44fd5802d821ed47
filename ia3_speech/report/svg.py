"""Small SVG pictures without axes: bars with intervals, box plots, colour strips.

Each is as wide as its container (positions are percentages), takes its colours from page.css by class, and
has a title that describes it in words. `charts` draws charts with axes.
"""

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ia3_speech.report.markup import Child, Markup, element

BAR_HEIGHT, BAR_GAP = 9, 5  # pixels
ABOVE, BELOW = (217, 88, 13), (28, 110, 200)  # colours of values above and below 1, as in page.css
STRIP_HEIGHT = 18  # pixels


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        rate: its length, a fraction.
        bounds: of the interval that the whisker shows; None without one.
        style: a class of page.css.
    """

    rate: float
    bounds: Sequence[float] | None
    style: str


def svg_picture(title: str, *shapes: Child, **attributes: object) -> Markup:
    """An SVG element that a screen reader presents as one picture, described by `title`."""
    return element("svg", element("title", title), shapes, role="img", **attributes)


def position(value: float, limit: float) -> str:
    """`value` as a percentage of `limit`, clipped to 0 and 100 %."""
    return f"{100 * max(0.0, min(1.0, value / limit)):.2f}%"


def draw_bars(bars: Sequence[Bar], limit: float, ticks: Iterable[float], title: str) -> Markup:
    """Horizontal bars on an axis from 0 to `limit`, with whiskers for their intervals."""
    height = len(bars) * (BAR_HEIGHT + BAR_GAP) + BAR_GAP
    shapes: list[Child] = [
        element("line", x1=position(tick, limit), x2=position(tick, limit), y1=0, y2=height, class_="grid")
        for tick in ticks
    ]
    for index, bar in enumerate(bars):
        y = BAR_GAP + index * (BAR_HEIGHT + BAR_GAP)
        shapes.append(
            element(
                "rect", x=0, y=y, width=position(bar.rate, limit), height=BAR_HEIGHT, rx=2, class_=bar.style
            )
        )
        if bar.bounds:
            low, high = (position(bound, limit) for bound in bar.bounds)
            middle = y + BAR_HEIGHT / 2
            shapes.append(element("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker"))
            shapes += [
                element("line", x1=end, x2=end, y1=y + 1, y2=y + BAR_HEIGHT - 1, class_="whisker")
                for end in (low, high)
            ]
    return svg_picture(title, shapes, width="100%", height=height, class_="bars")


def draw_tick_labels(limit: float, ticks: Sequence[float]) -> Markup:
    """The tick labels above a column of bars, in percent."""
    texts = [
        element(
            "text", f"{100 * tick:g}", x=position(tick, limit), y=12, text_anchor=text_anchor(tick, limit)
        )
        for tick in ticks
    ]
    return element("svg", texts, width="100%", height=16, class_="ruler", aria_hidden="true")


def text_anchor(tick: float, limit: float) -> str:
    return "start" if tick <= 0 else "end" if tick > 0.95 * limit else "middle"


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` multiples of 1, 2 or 5 times a power of ten between low and high.

    >>> round_ticks(0, 0.63)
    [0.0, 0.2, 0.4, 0.6]
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / most))
    step = next(times * power for times in (1, 2, 5, 10, 20) if span / (times * power) < most - 1e-6)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(round(number * step, 10)) for number in range(first, last + 1)]


def draw_box_plot(quantiles: Sequence[float], low: float, high: float, title: str) -> Markup:
    """A box plot on an axis from `low` to `high`, with a line at 1.

    quantiles: minimum, 5 %, first quartile, median, third quartile, 95 %, maximum.
    """

    def at(value: float) -> str:
        return position(value - low, high - low)

    least, first, quarter, middle, third, last, most = quantiles
    width = f"{100 * (third - quarter) / (high - low):.2f}%"
    centre = STRIP_HEIGHT / 2
    return svg_picture(
        title,
        element("line", x1=at(1), x2=at(1), y1=0, y2=STRIP_HEIGHT, class_="grid"),
        element("line", x1=at(first), x2=at(last), y1=centre, y2=centre, class_="whisker"),
        element("rect", x=at(quarter), y=4, width=width, height=STRIP_HEIGHT - 8, rx=2, class_="system"),
        element("line", x1=at(middle), x2=at(middle), y1=2, y2=STRIP_HEIGHT - 2, class_="median"),
        [element("circle", cx=at(end), cy=centre, r=1.5, class_="extreme") for end in (least, most)],
        width="100%",
        height=STRIP_HEIGHT,
    )


def draw_colour_strip(values: np.ndarray, saturation: float, title: str) -> Markup:
    """Values around 0, `(n,)`, as a row of coloured columns: transparent at 0, opaque from ± `saturation`.

    The strip is a bitmap of n pixels, since thousands of rectangles would make the page slow.
    """
    pixels = np.zeros((1, len(values), 4), dtype=np.uint8)
    pixels[0, :, :3] = np.where(values[:, None] > 0, ABOVE, BELOW)
    pixels[0, :, 3] = np.round(255 * np.minimum(1, np.abs(values) / saturation))
    source = f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode()}"
    image = element(
        "image", href=source, x=0, y=0, width="100%", height=STRIP_HEIGHT, preserveAspectRatio="none"
    )
    return svg_picture(title, image, width="100%", height=STRIP_HEIGHT)


def encode_png(pixels: np.ndarray) -> bytes:
    """RGBA pixels, `(height, width, 4)` uint8, as a PNG file (ISO 15948)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)  # each line unfiltered
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )
