"""An adapter's vectors, layer by layer and value by value.

In: the vectors of an adapter's folder, ours or PEFT's. Out: a section of the page. No model is loaded.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from ia3_speech.adapters.weights import Vector, placement_order
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.svg import draw_box_plot, draw_colour_strip
from ia3_speech.report.table import Table

QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def vectors_section(vectors: Sequence[Vector]) -> Iterator[Child]:
    """A panel per placement, with a row per layer, the layer next to the input first."""
    distances = np.concatenate([np.abs(vector.values - 1) for vector in vectors])
    saturation = max(float(np.quantile(distances, 0.99)), 1e-6)
    widest = max(float(distances.max()), 1e-6)
    yield element(
        "p",
        f"The {len(distances):,} parameters of the adapter multiply activations of the frozen base; a value "
        "of 1 has no effect. A strip shows the values of one vector in their order: ",
        element("span", "above 1", class_="above"),
        " or ",
        element("span", "below 1", class_="below"),
        f", in full colour at a distance of {saturation:.2g} or more. A box spans the middle half of the "
        "values and its whiskers 90 % of them; the dots are the extremes. RMS is the root mean square "
        "distance from 1.",
        class_="note",
    )
    panels = [
        panel(placement, list(group), saturation, widest)
        for placement, group in groupby(in_order(vectors), key=lambda vector: vector.placement)
    ]
    yield element("div", panels, class_="panels")


def in_order(vectors: Sequence[Vector]) -> list[Vector]:
    """By placement, then by layer."""
    return sorted(vectors, key=lambda vector: (placement_order(vector.placement), vector.layer or 0))


def rms_from_one(vector: Vector) -> float:
    """The root mean square distance of the values from 1."""
    return float(np.sqrt(np.mean((vector.values - 1) ** 2)))


def vectors_table(vectors: Sequence[Vector]) -> Table:
    rows = []
    for vector in in_order(vectors):
        found = [f"{value:.4f}" for value in np.quantile(vector.values, QUANTILES)]
        layer = None if vector.layer is None else str(vector.layer)
        rows.append([vector.placement, layer, len(vector.values), *found, f"{rms_from_one(vector):.4f}"])
    head = ["placement", "layer", "parameters", "minimum", "5 %", "25 %", "median", "75 %", "95 %", "maximum"]
    return Table("adapter_vectors", "Values of the adapter's vectors", [*head, "RMS distance from 1"], rows)


def panel(placement: str, vectors: Sequence[Vector], saturation: float, widest: float) -> Markup:
    """The rows of one placement: layer, colour strip, box plot, distance from 1."""
    head = [element("th", text, scope="col") for text in ("layer", "values", f"1 ± {widest:.2g}", "RMS")]
    rows = []
    for vector in vectors:
        layer = "–" if vector.layer is None else str(vector.layer)
        name = f"{placement}, layer {layer}: {len(vector.values):,} values"
        quantiles = [float(value) for value in np.quantile(vector.values, QUANTILES)]
        span = f"{name} from {quantiles[0]:.3f} to {quantiles[-1]:.3f}, median {quantiles[3]:.3f}"
        strip = draw_colour_strip(vector.values - 1, saturation, f"{name}, in their order")
        cells = [
            element("td", strip, class_="strip"),
            element("td", draw_box_plot(quantiles, 1 - widest, 1 + widest, span)),
            element("td", f"{rms_from_one(vector):.3f}", class_="number"),
        ]
        rows.append(element("tr", element("th", layer, scope="row"), cells))
    parameters = sum(len(vector.values) for vector in vectors)
    caption = element("caption", element("b", placement), f", {parameters:,} parameters")
    parts = [caption, element("thead", element("tr", head)), element("tbody", rows)]
    return element("table", parts, class_="vectors")
