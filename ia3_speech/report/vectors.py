"""An adapter's vectors, drawn layer by layer, number by number.

In: an adapter's folder, ours or PEFT's. Out: a section of the page. No model is loaded, and no torch.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from ia3_speech.adapters.weights import Vector, placement_order
from ia3_speech.report.drawings import box, strip
from ia3_speech.report.markup import Child, Markup, element

QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def vectors_section(vectors: Sequence[Vector]) -> Iterator[Child]:
    """A panel for each placement, the layers from the input upwards on the page downwards."""
    distances = np.concatenate([np.abs(vector.values - 1) for vector in vectors])
    reach = max(float(np.quantile(distances, 0.99)), 1e-6)
    widest = max(float(distances.max()), 1e-6)
    yield element(
        "p",
        f"{len(distances):,} numbers multiply what the frozen base computes; at 1 each of them changes "
        "nothing. The strip shows every number of a vector in its order, ",
        element("span", "above 1", class_="above"),
        " or ",
        element("span", "below 1", class_="below"),
        f", at full colour from {reach:.2g} away. The box holds the middle half of the numbers, its whiskers "
        "90 %, the dots are the extremes; rms is the root mean square distance from 1.",
        class_="note",
    )
    by_placement = sorted(vectors, key=lambda vector: (placement_order(vector.placement), vector.layer or 0))
    panels = [
        panel(name, list(own), reach, widest)
        for name, own in groupby(by_placement, key=lambda vector: vector.placement)
    ]
    yield element("div", panels, class_="panels")


def panel(name: str, vectors: Sequence[Vector], reach: float, widest: float) -> Markup:
    """The rows of one placement: layer, strip, box, distance from 1."""
    head = [element("th", text, scope="col") for text in ("layer", "numbers", f"1 ± {widest:.2g}", "rms")]
    rows = []
    for vector in vectors:
        layer = "–" if vector.layer is None else str(vector.layer)
        what = f"{name}, layer {layer}: {len(vector.values):,} numbers"
        marks = [float(mark) for mark in np.quantile(vector.values, QUANTILES)]
        spread = f"{what} from {marks[0]:.3f} to {marks[-1]:.3f}, median {marks[3]:.3f}"
        rms = float(np.sqrt(np.mean((vector.values - 1) ** 2)))
        drawn = [
            element("td", strip(vector.values - 1, reach, f"{what}, in their order"), class_="strip"),
            element("td", box(marks, 1 - widest, 1 + widest, spread)),
        ]
        rms_cell = element("td", f"{rms:.3f}", class_="number")
        rows.append(element("tr", element("th", layer, scope="row"), drawn, rms_cell))
    numbers = sum(len(vector.values) for vector in vectors)
    caption = element("caption", element("b", name), f", {numbers:,} numbers")
    parts = [caption, element("thead", element("tr", head)), element("tbody", rows)]
    return element("table", parts, class_="vectors")
