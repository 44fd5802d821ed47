"""Small drawings, as SVG in the page: bars with intervals, a box of quantiles, a strip of numbers.

All of them are as wide as the place they stand in (positions are percentages), take their colours from the
page's style sheet by class, and have a title that says in words what they show. Charts with axes: `charts`.
"""

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ia3_speech.report.markup import Child, Markup, element

BAR, GAP = 9, 5  # pixels
ABOVE, BELOW = (217, 88, 13), (28, 110, 200)  # colours of numbers above and below 1, as in page.css
STRIP = 18  # pixels


@dataclass(frozen=True)
class Bar:
    """A rate as a fraction with its interval, None where there is none; style is a class of page.css."""

    rate: float
    interval: Sequence[float] | None
    style: str


def picture(title: str, *shapes: Child, **attributes: object) -> Markup:
    """An SVG that is one picture to a screen reader, with `title` as its text."""
    return element("svg", element("title", title), shapes, role="img", **attributes)


def share(value: float, limit: float) -> str:
    return f"{100 * max(0.0, min(1.0, value / limit)):.2f}%"


def bars(drawn: Sequence[Bar], limit: float, ticks: Iterable[float], title: str) -> Markup:
    """Bars from 0 to `limit`, one under the other, with whiskers for their intervals."""
    height = len(drawn) * (BAR + GAP) + GAP
    shapes: list[Child] = [
        element("line", x1=share(tick, limit), x2=share(tick, limit), y1=0, y2=height, class_="grid")
        for tick in ticks
    ]
    for number, bar in enumerate(drawn):
        y = GAP + number * (BAR + GAP)
        shapes.append(
            element("rect", x=0, y=y, width=share(bar.rate, limit), height=BAR, rx=2, class_=bar.style)
        )
        if bar.interval:
            low, high, middle = share(bar.interval[0], limit), share(bar.interval[1], limit), y + BAR / 2
            shapes.append(element("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker"))
            shapes += [
                element("line", x1=end, x2=end, y1=y + 1, y2=y + BAR - 1, class_="whisker")
                for end in (low, high)
            ]
    return picture(title, shapes, width="100%", height=height, class_="bars")


def ruler(limit: float, ticks: Sequence[float]) -> Markup:
    """The numbers over a column of bars, in percent."""
    texts = [
        element("text", f"{100 * tick:g}", x=share(tick, limit), y=12, text_anchor=anchor(tick, limit))
        for tick in ticks
    ]
    return element("svg", texts, width="100%", height=16, class_="ruler", aria_hidden="true")


def anchor(tick: float, limit: float) -> str:
    return "start" if tick <= 0 else "end" if tick > 0.95 * limit else "middle"


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers (1, 2 or 5 times a power of ten apart) between low and high.

    >>> nice_ticks(0, 0.63)
    [0.0, 0.2, 0.4, 0.6]
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / most))
    step = next(times * power for times in (1, 2, 5, 10, 20) if span / (times * power) < most - 1e-6)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(round(number * step, 10)) for number in range(first, last + 1)]


def box(marks: Sequence[float], low: float, high: float, title: str) -> Markup:
    """Minimum, 5 %, quartile, median, quartile, 95 %, maximum, between `low` and `high`; 1 in the middle."""

    def at(value: float) -> str:
        return share(value - low, high - low)

    least, first, quarter, middle, third, last, most = marks
    width = f"{100 * (third - quarter) / (high - low):.2f}%"
    centre = STRIP / 2
    return picture(
        title,
        element("line", x1=at(1), x2=at(1), y1=0, y2=STRIP, class_="grid"),
        element("line", x1=at(first), x2=at(last), y1=centre, y2=centre, class_="whisker"),
        element("rect", x=at(quarter), y=4, width=width, height=STRIP - 8, rx=2, class_="system"),
        element("line", x1=at(middle), x2=at(middle), y1=2, y2=STRIP - 2, class_="median"),
        [element("circle", cx=at(end), cy=centre, r=1.5, class_="extreme") for end in (least, most)],
        width="100%",
        height=STRIP,
    )


def strip(values: np.ndarray, reach: float, title: str) -> Markup:
    """(n,) numbers around 0 as a row of coloured columns, transparent at 0, full colour at ± `reach`.

    A picture of n pixels, since thousands of rectangles would make the page slow.
    """
    pixels = np.zeros((1, len(values), 4), dtype=np.uint8)
    pixels[0, :, :3] = np.where(values[:, None] > 0, ABOVE, BELOW)
    pixels[0, :, 3] = np.round(255 * np.minimum(1, np.abs(values) / reach))
    source = f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"
    image = element("image", href=source, x=0, y=0, width="100%", height=STRIP, preserveAspectRatio="none")
    return picture(title, image, width="100%", height=STRIP)


def png(pixels: np.ndarray) -> bytes:
    """(height, width, 4) uint8, red, green, blue, opacity, as a PNG file (ISO 15948)."""

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
