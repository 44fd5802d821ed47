"""A picture of an adapter's vectors, SVG: which layers amplify, and which inhibit.

    ia3-speech adapters show speaker42 --plot speaker42.svg

In: vectors from `weights.vectors_in`. Out: one `<svg>` element, for a file or the HTML report, with a row a
layer, the lowest at the bottom, and a column a placement. In each cell a thin line spans the middle 90 % of
the parameters, a bar the middle half, and a tick is the median; what is below 1 is blue (inhibits), what is
above it is red (amplifies).
"""

from collections.abc import Sequence
from html import escape

import numpy as np

from ia3_speech.adapters.weights import Vector, placement_order

CELL, ROW, GAP = 200, 18, 24  # pixels: a column's width, a row's height, between columns
LEFT, TOP, BOTTOM = 64, 64, 40  # for the layers' numbers, the titles, the scale
BLUE, RED, INK, GREY = "#2166ac", "#b2182b", "#222222", "#bbbbbb"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MINIMUM_RANGE = 0.1  # the scale is never narrower than 0.9 to 1.1: noise must not look like an effect


def draw_vectors(vectors: Sequence[Vector], title: str) -> str:
    """The drawing as SVG. Vectors outside of numbered layers get no row."""
    quantiles = quantiles_of(vectors)
    layers = sorted({layer for layer, _ in quantiles}, reverse=True)
    placements = sorted({placement for _, placement in quantiles}, key=placement_order)
    scale = max([MINIMUM_RANGE, *(float(np.abs(values - 1).max()) for values in quantiles.values())])
    scale = np.ceil(scale * 10) / 10
    width = LEFT + max(len(placements), 1) * (CELL + GAP)
    height = TOP + len(layers) * ROW + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" fill="{INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        svg_text(LEFT, 20, title, "start", 14),
        svg_text(LEFT - 10, TOP - 10, "layer", "end"),
        *(svg_text(LEFT - 10, TOP + row * ROW + 13, str(layer), "end") for row, layer in enumerate(layers)),
    ]
    for column, placement in enumerate(placements):
        left = LEFT + column * (CELL + GAP)
        parts += frame(left, placement, len(layers) * ROW, scale)
        for row, layer in enumerate(layers):
            if (layer, placement) in quantiles:
                parts += cell(
                    left, TOP + row * ROW, quantiles[layer, placement], scale, f"layer {layer}, {placement}"
                )
    return "\n".join([*parts, "</svg>"]) + "\n"


def quantiles_of(vectors: Sequence[Vector]) -> dict[tuple[int, str], np.ndarray]:
    """(layer, placement) → the five QUANTILES of its parameters."""
    cells: dict[tuple[int, str], list[np.ndarray]] = {}
    for vector in vectors:
        if vector.layer is not None:
            cells.setdefault((vector.layer, vector.placement), []).append(vector.values)
    return {key: np.quantile(np.concatenate(values), QUANTILES) for key, values in cells.items()}


def frame(left: float, placement: str, height: float, scale: float) -> list[str]:
    """A column's title, its scale, and the line at 1."""
    middle, bottom = left + CELL / 2, TOP + height
    marks = [(left, 1 - scale, "start"), (middle, 1, "middle"), (left + CELL, 1 + scale, "end")]
    return [
        svg_text(middle, TOP - 10, placement, "middle"),
        svg_line(middle, TOP, middle, bottom, GREY),
        svg_line(left, bottom, left + CELL, bottom, GREY),
        *(svg_text(x, bottom + 16, f"{value:.1f}", anchor) for x, value, anchor in marks),
        svg_text(left, bottom + 32, "inhibits", "start", colour=BLUE),
        svg_text(left + CELL, bottom + 32, "amplifies", "end", colour=RED),
    ]


def cell(left: float, top: float, quantiles: np.ndarray, scale: float, name: str) -> list[str]:
    """One layer and placement: the five quantiles, each side of 1 in its colour."""
    low, first, median, third, high = ((quantiles - 1) / scale * CELL / 2 + left + CELL / 2).tolist()
    middle, y = left + CELL / 2, top + ROW / 2
    listed = ", ".join(f"{value:.3f}" for value in quantiles)
    return [
        f"<g><title>{escape(name)}: 5, 25, 50, 75 and 95 % lie below {listed}</title>",
        *(svg_line(a, y, b, y, colour) for a, b, colour in sides(low, high, middle)),
        *(svg_line(a, y, b, y, colour, 8) for a, b, colour in sides(first, third, middle)),
        svg_line(median, y - 6, median, y + 6, INK, 2),
        "</g>",
    ]


def sides(start: float, end: float, middle: float) -> list[tuple[float, float, str]]:
    """The part of a stretch left of the middle, and that right of it."""
    parts = [(start, min(end, middle), BLUE), (max(start, middle), end, RED)]
    return [(a, b, colour) for a, b, colour in parts if a < b]


def svg_line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"/>'
    )


def svg_text(x: float, y: float, words: str, anchor: str, size: int = 12, colour: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">'
        f"{escape(words)}</text>"
    )
