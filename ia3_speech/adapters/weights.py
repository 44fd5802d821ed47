"""An adapter's tensors, read without its base: its vectors, and their distribution around 1.

In: a folder, ours or PEFT's. Out: each vector with its layer and placement, and statistics: parameters above
1 amplify an activation, parameters below 1 inhibit it. torch is loaded only if its tensors are asked for.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.adapters.record import OWN_WEIGHTS, PEFT_WEIGHTS
from ia3_speech.common.errors import AdapterError
from ia3_speech.common.formatting import in_columns
from ia3_speech.model.architectures import ARCHITECTURES, PLACEMENTS

PEFT_PREFIX = "base_model.model."  # of PEFT's tensor names
PICKLE = "adapter_model.bin"  # never opened: it can run code
MARGIN = 0.1  # a parameter farther than this from 1 counts as inhibiting or amplifying
# (last part of a module's name, side) → placement.
PLACEMENT_OF = {
    (module.rpartition(".")[2], side): placement
    for architecture in ARCHITECTURES.values()
    for placement, targets in architecture.targets.items()
    for module, side in targets
}


@dataclass(frozen=True)
class Vector:
    """A learned vector."""

    module: str  # path of the module that it scales
    placement: str  # key, value, …; the module's name if it belongs to no placement
    layer: int | None  # of the encoder; None for a module outside the layers
    values: np.ndarray  # (d,), fp32


def tensor_files(folder: Path) -> list[Path]:
    """The files that may hold an adapter's tensors; hypotheses depend on no other file."""
    names = (OWN_WEIGHTS, PEFT_WEIGHTS, PICKLE)
    return [folder / name for name in names if (folder / name).is_file()]


def weights_file(folder: Path) -> Path:
    """The file that holds the tensors. Raises AdapterError if there is none."""
    files = tensor_files(folder)
    if files and files[0].name != PICKLE:
        return files[0]
    hint = f" ({PICKLE} is a pickle, which can run code: convert it with PEFT)" if files else ""
    raise AdapterError(f"{folder}: has no {PEFT_WEIGHTS} and no {OWN_WEIGHTS}{hint}")


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of an adapter's tensors: its identity in records of experiments. Raises AdapterError if
    there are no tensors."""
    if not (files := tensor_files(folder)):
        raise AdapterError(f"{folder}: holds no adapter")
    with files[0].open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_weights(folder: Path, framework: Literal["np", "pt"] = "np") -> dict[str, Any]:
    """All tensors of an adapter by their names in the file, of numpy or of torch. Raises AdapterError if
    there are none, or they are damaged."""
    from safetensors import SafetensorError, safe_open

    file = weights_file(folder)
    try:
        with safe_open(file, framework) as tensors:
            weights = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 (no dictionary)
        if framework == "np" and any(tensor.dtype.kind != "f" for tensor in weights.values()):
            raise TypeError  # bfloat16 of ml_dtypes
        return weights
    except (TypeError, KeyError):  # bfloat16, which numpy lacks
        return {name: tensor.float().numpy() for name, tensor in read_weights(folder, "pt").items()}
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file}: {error} (damaged: copy it again)") from error


def vectors_in(tensors: dict[str, np.ndarray]) -> list[Vector]:
    """The vectors, in the order of layers and placements; heads are left out."""
    vectors = [vector_of(name, tensor) for name, tensor in tensors.items() if ".ia3_" in name]

    def order(vector: Vector) -> tuple:
        return vector.layer is None, vector.layer or 0, *placement_order(vector.placement), vector.module

    return sorted(vectors, key=order)


def vector_of(name: str, tensor: np.ndarray) -> Vector:
    """A tensor by our name (`….k_proj.ia3_key`) or PEFT's (`….k_proj.ia3_l`: the shape tells the side)."""
    module, _, leaf = name.removeprefix(PEFT_PREFIX).rpartition(".")
    placement = leaf.removeprefix("ia3_")
    if leaf == "ia3_l":
        last, side = module.rpartition(".")[2], "in" if tensor.shape[0] == 1 else "out"
        placement = PLACEMENT_OF.get((last, side), last)
        if ".decoder." in module and placement != last:
            placement = f"{'cross' if '.encoder_attn.' in module else 'decoder'}_{placement}"
    number = re.search(r"\.(\d+)\.", module)
    return Vector(module, placement, int(number[1]) if number else None, tensor.reshape(-1).astype("float32"))


def placement_order(placement: str) -> tuple[int, str]:
    """A sort key for placements: the order of tables, unknown placements last."""
    known = list(PLACEMENTS)
    return (known.index(placement) if placement in known else len(known), placement)


def count_by_placement(tensors: dict[str, np.ndarray], method: str | None = None) -> dict[str, int]:
    """Placement → number of parameters; last, `head`, if a head was trained. For another method than IA³ its
    name → the number of all."""
    if method:
        return {method: sum(tensor.size for tensor in tensors.values())}
    counts: dict[str, int] = {}
    for vector in vectors_in(tensors):
        counts[vector.placement] = counts.get(vector.placement, 0) + vector.values.size
    counts = {name: counts[name] for name in sorted(counts, key=placement_order)}
    head = sum(tensor.size for name, tensor in tensors.items() if ".ia3_" not in name)
    return counts | ({"head": head} if head else {})


def spreads(vectors: list[Vector]) -> list[dict[str, Any]]:
    """Statistics of each layer and placement, then of each placement in all layers (`layer` is None): number
    of parameters, smallest, mean, largest, and the shares below 0.9 (inhibiting) and above 1.1."""
    groups: dict[tuple[int | None, str], list[Vector]] = {}
    for vector in vectors:
        if vector.layer is not None:
            groups.setdefault((vector.layer, vector.placement), []).append(vector)
    for vector in sorted(vectors, key=lambda vector: placement_order(vector.placement)):
        groups.setdefault((None, vector.placement), []).append(vector)
    result = []
    for (layer, placement), group in groups.items():
        values = np.concatenate([vector.values for vector in group]).astype("float64")
        row = {"layer": layer, "placement": placement, "parameters": values.size}
        row |= {name: float(getattr(values, name)()) for name in ("min", "mean", "max")}
        row["inhibiting"] = float((values < 1 - MARGIN).mean())
        row["amplifying"] = float((values > 1 + MARGIN).mean())
        result.append(row)
    return result


def format_spreads(rows: list[dict[str, Any]]) -> str:
    """A table for people, `all` for the layers together:

    LAYER  PLACEMENT  PARAMETERS    MIN   MEAN    MAX  BELOW 0.9  ABOVE 1.1
        2  key                 5  0.500  0.910  1.200      40.0%      20.0%
      all  key                 5  0.500  0.910  1.200      40.0%      20.0%
    """
    cells = [("LAYER", "PLACEMENT", "PARAMETERS", "MIN", "MEAN", "MAX", "BELOW 0.9", "ABOVE 1.1")]
    for row in rows:
        layer = "all" if row["layer"] is None else str(row["layer"])
        values = (f"{row[name]:.3f}" for name in ("min", "mean", "max"))
        shares = (f"{row[name]:.1%}" for name in ("inhibiting", "amplifying"))
        cells.append((layer, row["placement"], f"{row['parameters']:,}", *values, *shares))
    return "\n".join(in_columns(cells, left=(1,)))
