"""A picture of an adapter's vectors, SVG, which shows the layers that amplify and the layers that inhibit.

    ia3-speech adapters show speaker42 --plot speaker42.svg

In: vectors from `weights.vectors_in`. Out: an `<svg>` element with a row for each layer, the lowest at the
bottom, and a column for each placement. In each cell a thin line spans the middle 90 % of the parameters, a
bar the middle half, and a tick marks the median; below 1 is blue (inhibits), above 1 is red (amplifies).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from ia3_speech.adapters.weights import Vector, placement_order
from ia3_speech.report.charts import element, picture

CELL, ROW, GAP = 200, 18, 24  # pixels: a column's width, a row's height, between columns
LEFT, TOP, BOTTOM = 64, 64, 40  # for the layers' numbers, the titles, the scale
BLUE, RED, INK, GREY = "#2166ac", "#b2182b", "#222222", "#bbbbbb"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MIN_RANGE = 0.1  # the scale is at least 0.9 to 1.1, so that noise does not look like an effect


def draw_vectors(vectors: Sequence[Vector], title: str) -> str:
    """The picture as SVG; vectors outside of numbered layers get no row."""
    quantiles = quantiles_of(vectors)
    layers = sorted({layer for layer, _ in quantiles}, reverse=True)
    placements = sorted({placement for _, placement in quantiles}, key=placement_order)
    scale = max([MIN_RANGE, *(float(np.abs(values - 1).max()) for values in quantiles.values())])
    scale = float(np.ceil(scale * 10) / 10)
    shapes = [text(LEFT, 20, title, "start", font_size=14), text(LEFT - 10, TOP - 10, "layer", "end")]
    for row, layer in enumerate(layers):
        shapes.append(text(LEFT - 10, TOP + row * ROW + 13, str(layer), "end"))
    for column, placement in enumerate(placements):
        left = LEFT + column * (CELL + GAP)
        shapes += frame(left, placement, len(layers) * ROW, scale)
        for row, layer in enumerate(layers):
            if (layer, placement) in quantiles:
                name = f"layer {layer}, {placement}"
                shapes.append(cell(left, TOP + row * ROW, quantiles[layer, placement], scale, name))
    width = LEFT + max(len(placements), 1) * (CELL + GAP)
    return f"{picture(shapes, width, TOP + len(layers) * ROW + BOTTOM, title)}\n"


def quantiles_of(vectors: Sequence[Vector]) -> dict[tuple[int, str], np.ndarray]:
    """(layer, placement) → the five QUANTILES of its parameters."""
    cells: dict[tuple[int, str], list[np.ndarray]] = {}
    for vector in vectors:
        if vector.layer is not None:
            cells.setdefault((vector.layer, vector.placement), []).append(vector.values)
    return {key: np.quantile(np.concatenate(values), QUANTILES) for key, values in cells.items()}


def frame(left: float, placement: str, height: float, scale: float) -> Iterator[Markup]:
    """A column's title, its scale, and the line at 1."""
    middle, right, bottom = left + CELL / 2, left + CELL, TOP + height
    yield text(middle, TOP - 10, placement, "middle")
    yield line(middle, TOP, middle, bottom, GREY)
    yield line(left, bottom, right, bottom, GREY)
    for x, value, anchor in ((left, 1 - scale, "start"), (middle, 1, "middle"), (right, 1 + scale, "end")):
        yield text(x, bottom + 16, f"{value:.1f}", anchor)
    yield text(left, bottom + 32, "inhibits", "start", fill=BLUE)
    yield text(right, bottom + 32, "amplifies", "end", fill=RED)


def cell(left: float, top: float, quantiles: np.ndarray, scale: float, name: str) -> Markup:
    """The five quantiles of a layer and placement, each side of 1 in its colour."""
    low, first, median, third, high = ((quantiles - 1) / scale * CELL / 2 + left + CELL / 2).tolist()
    middle, y = left + CELL / 2, top + ROW / 2
    listed = ", ".join(f"{value:.3f}" for value in quantiles)
    bars = [
        line(*ends, colour, width)
        for start, end, width in ((low, high, 1), (first, third, 8))
        for ends, colour in (((start, y, min(end, middle), y), BLUE), ((max(start, middle), y, end, y), RED))
        if ends[0] < ends[2]
    ]
    title = element("title", f"{name}: 5, 25, 50, 75 and 95 % lie below {listed}")
    return element("g", title, *bars, line(median, y - 6, median, y + 6, INK, 2))


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width)


def text(x: float, y: float, words: str, anchor: str, **attributes: object) -> Markup:
    return element("text", words, x=x, y=y, text_anchor=anchor, **{"fill": INK} | attributes)
