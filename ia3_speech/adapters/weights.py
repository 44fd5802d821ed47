"""An adapter's tensors, read without torch and without its base: which vectors, and how they lie around 1.

In: a folder, ours or PEFT's. Out: each vector with its layer and placement as numpy has it, and statistics: a
vector above 1 amplifies an activation, one below 1 inhibits it.
"""

import hashlib
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ia3_speech.adapters.record import OWN_WEIGHTS, PEFT_WEIGHTS
from ia3_speech.formatting import in_columns
from ia3_speech.model.architectures import ARCHITECTURES, PLACEMENTS, AdapterError

PEFT_PREFIX = "base_model.model."  # of PEFT's tensor names
PICKLES = ("adapter_model.bin", "adapter_model.pt")  # never opened: a pickle can run code
WEIGHTS = (PEFT_WEIGHTS, OWN_WEIGHTS, PICKLES[0])  # any of these may stand in a registered adapter
MARGIN = 0.1  # a parameter that is farther than this from 1 counts as inhibiting or amplifying
# (last part of a module's name, side) → placement.
PLACEMENT_OF = {
    (spec.module.rpartition(".")[2], spec.side): placement
    for architecture in ARCHITECTURES.values()
    for placement, specs in architecture.targets.items()
    for spec in specs
}


@dataclass(frozen=True)
class Vector:
    """One learned vector.

    Attributes:
        module: path of the module that it scales.
        placement: key, value, …; the module's name where no placement is known for it.
        layer: of the encoder; None for a module outside of numbered ones.
        values: (d,), fp32.
    """

    module: str
    placement: str
    layer: int | None
    values: np.ndarray


@dataclass(frozen=True)
class Spread:
    """How the parameters of one placement in one layer lie around 1.

    Attributes:
        layer: None: in all layers together.
        placement: key, value, …
        parameters: how many there are.
        min: the smallest.
        mean: their mean.
        max: the largest.
        inhibiting: the share of them below 0.9.
        amplifying: the share of them above 1.1.
    """

    layer: int | None
    placement: str
    parameters: int
    min: float
    mean: float
    max: float
    inhibiting: float
    amplifying: float


def weights_file(folder: Path) -> Path:
    """The file that holds the tensors. Raises AdapterError where there is none."""
    found = [folder / name for name in (OWN_WEIGHTS, PEFT_WEIGHTS) if (folder / name).is_file()]
    if not found:
        pickled = [name for name in PICKLES if (folder / name).exists()]
        hint = f" ({pickled[0]} is a pickle, which can run code: convert it with PEFT)" if pickled else ""
        raise AdapterError(f"{folder}: no {PEFT_WEIGHTS} and no {OWN_WEIGHTS} in it{hint}")
    return found[0]


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of an adapter's tensors: its identity in records of experiments."""
    return sha256(next(folder / name for name in WEIGHTS if (folder / name).is_file()))


def sha256(file: Path) -> str:
    """What `sha256sum` prints for a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of an adapter by their names in the file. Raises AdapterError for none, or damaged ones."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = weights_file(folder)
    try:
        return load_file(file)
    except (SafetensorError, OSError, TypeError, KeyError) as error:  # the last two: bfloat16, not ours
        raise AdapterError(f"{file}: {error} (damaged: copy it again)") from error


def parameters_in(folder: Path) -> int | None:
    """How many parameters an adapter has, by the headers of its tensors; None where they can't be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights_file(folder), "np") as tensors:
            return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    except (AdapterError, OSError, SafetensorError):
        return None


def vectors_in(tensors: dict[str, np.ndarray]) -> list[Vector]:
    """The vectors, in the order of layers and placements; heads are left out."""
    found = [vector_of(name, tensor) for name, tensor in tensors.items() if ".ia3_" in name]
    return sorted(
        found, key=lambda v: (v.layer is None, v.layer or 0, *placement_order(v.placement), v.module)
    )


def vector_of(name: str, tensor: np.ndarray) -> Vector:
    """A tensor by our name (`….k_proj.ia3_key`) or PEFT's (`….k_proj.ia3_l`: the shape tells the side)."""
    module, _, leaf = name.removeprefix(PEFT_PREFIX).rpartition(".")
    if leaf == "ia3_l":
        placement = placement_of(module, "in" if tensor.shape[0] == 1 else "out")
    else:
        placement = leaf.removeprefix("ia3_")
    number = re.search(r"\.(\d+)\.", module)
    return Vector(module, placement, int(number[1]) if number else None, tensor.reshape(-1).astype("float32"))


def placement_of(module: str, side: str) -> str:
    """The placement of a vector at this side of a module; the module's own name where none is known."""
    name = module.rpartition(".")[2]
    return PLACEMENT_OF.get((name, side), name)


def placement_order(placement: str) -> tuple[int, str]:
    """A key to sort placements by: as tables list them, unknown ones last."""
    known = list(PLACEMENTS)
    return (known.index(placement) if placement in known else len(known), placement)


def count_by_placement(tensors: dict[str, np.ndarray]) -> dict[str, int]:
    """Placement → its parameters; last, `head`, where a head was trained."""
    counts: dict[str, int] = {}
    for vector in vectors_in(tensors):
        counts[vector.placement] = counts.get(vector.placement, 0) + vector.values.size
    counts = {name: counts[name] for name in sorted(counts, key=placement_order)}
    head = sum(tensor.size for name, tensor in tensors.items() if ".ia3_" not in name)
    return counts | ({"head": head} if head else {})


def spreads(vectors: list[Vector]) -> list[Spread]:
    """One for each layer and placement, then one for each placement in all layers."""
    by_layer: dict[tuple[int, str], list[Vector]] = {}
    by_placement: dict[str, list[Vector]] = {}
    for vector in vectors:
        by_placement.setdefault(vector.placement, []).append(vector)
        if vector.layer is not None:
            by_layer.setdefault((vector.layer, vector.placement), []).append(vector)
    rows = [spread_of(layer, placement, group) for (layer, placement), group in by_layer.items()]
    return rows + [
        spread_of(None, name, by_placement[name]) for name in sorted(by_placement, key=placement_order)
    ]


def spread_of(layer: int | None, placement: str, vectors: list[Vector]) -> Spread:
    values = np.concatenate([vector.values for vector in vectors]).astype("float64")
    return Spread(
        layer,
        placement,
        values.size,
        float(values.min()),
        float(values.mean()),
        float(values.max()),
        float((values < 1 - MARGIN).mean()),
        float((values > 1 + MARGIN).mean()),
    )


def format_spreads(rows: list[Spread]) -> str:
    """A table for people, `all` for the layers together:

    LAYER  PLACEMENT  PARAMETERS    MIN   MEAN    MAX  BELOW 0.9  ABOVE 1.1
        2  key                 5  0.500  0.910  1.200      40.0%      20.0%
      all  key                 5  0.500  0.910  1.200      40.0%      20.0%
    """
    cells = [("LAYER", "PLACEMENT", "PARAMETERS", "MIN", "MEAN", "MAX", "BELOW 0.9", "ABOVE 1.1")]
    for row in rows:
        layer = "all" if row.layer is None else str(row.layer)
        values = (f"{value:.3f}" for value in (row.min, row.mean, row.max))
        shares = (f"{share:.1%}" for share in (row.inhibiting, row.amplifying))
        cells.append((layer, row.placement, f"{row.parameters:,}", *values, *shares))
    return "\n".join(in_columns(cells, left=(1,)))
