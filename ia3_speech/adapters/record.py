"""An adapter's folder, looked into without torch and without its base: the names of its files, its vectors.

In: a folder, ours or PEFT's. Out: each vector with its layer and placement, as numpy has it, and how its
numbers are spread: a vector above 1 amplifies what passes, one below 1 inhibits it.
"""

import json
import re
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ia3_speech.cli import UserError

METADATA, OWN_WEIGHTS = "ia3_speech.json", "ia3_speech.safetensors"
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MARKS = (METADATA, PEFT_CONFIG)  # what says of a folder which adapter it is
CARD = "README.md"
FILES = (METADATA, OWN_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS, CARD)  # all that an adapter has to have, or may
PEFT_PREFIX = "base_model.model."  # of PEFT's tensor names
PICKLES = ("adapter_model.bin", "adapter_model.pt")  # never opened: a pickle can run code
# The modules that PEFT's vectors stand on, by the last part of their names: what a vector is at the output
# there, and at the input. `kinds` has the tables that count, but loads torch; a test compares them.
PROJECTIONS = {
    ("k_proj", "linear_k"): ("key", None),
    ("v_proj", "linear_v"): ("value", None),
    ("output_dense", "linear2"): ("ffn_output", "ffn"),
    ("out_proj", "linear_out", "o_proj"): ("attention_output", None),
    ("q_proj", "linear_q"): ("query", None),
    ("intermediate_dense", "linear1"): ("ffn_inner", None),
}
PLACEMENTS = ("key", "value", "ffn", "ffn_output", "attention_output", "conv", "query", "ffn_inner")
TYPES = {"base": str, "fingerprint": dict, "config": dict, "labels": dict, "training": dict, "scores": list}
MARKED = 0.1  # a number that is farther than this from 1 counts as inhibiting or amplifying


@dataclass(frozen=True)
class Vector:
    """One learned vector: `values` (d,), fp32. `layer` is None for a module outside of numbered ones."""

    module: str
    placement: str
    layer: int | None
    values: np.ndarray


@dataclass(frozen=True)
class Spread:
    """How the numbers of one placement in one layer (None: in all of them) lie around 1.

    `inhibiting` and `amplifying` are the shares of the numbers below 0.9 and above 1.1.
    """

    layer: int | None
    placement: str
    numbers: int
    min: float
    mean: float
    max: float
    inhibiting: float
    amplifying: float


def read_record(folder: Path) -> dict[str, Any]:
    """`ia3_speech.json`. Raises UserError where there is none or it can't be read."""
    file = folder / METADATA
    try:
        record = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no {METADATA} in it, so another tool wrote it (load_adapter and save_adapter make it "
            f"one of ours)"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: {error} (damaged: copy the adapter again)") from error
    if not isinstance(record, dict) or not isinstance(record.get("labels", {}), dict):
        raise UserError(f"{file}: it, or its labels, are not an object (damaged: copy the adapter again)")
    return sound(record)


def sound(record: dict[str, Any]) -> dict[str, Any]:
    """What is of its type in a record, which may come from anywhere: the rest counts as missing."""
    kept = {name: value for name, value in record.items() if isinstance(value, TYPES.get(name, object))}
    if "scores" in kept:
        kept["scores"] = [
            one for one in kept["scores"] if isinstance(one, dict) and {"set", "wer"} <= one.keys()
        ]
    return kept


def about(folder: Path) -> dict[str, Any]:
    """What an adapter says of itself: our `ia3_speech.json`, else the part of PEFT's record that we know.

    Empty where neither can be read: to load such an adapter is an error, to list it is none.
    """
    for mark in MARKS:
        try:
            record = json.loads((folder / mark).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(record, dict):
            continue
        if mark == MARKS[0]:
            return sound(record)
        return {"base": record.get("base_model_name_or_path")}
    return {}


def numbers(folder: Path) -> int | None:
    """How many numbers an adapter's tensors hold, by their heads; None where these can't be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(tensors_file(folder), "np") as tensors:
            return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    except (UserError, OSError, SafetensorError):
        return None


def tensors_file(folder: Path) -> Path:
    """The file that holds the tensors, the same that loading takes. Raises UserError where there is none."""
    found = [folder / name for name in (OWN_WEIGHTS, PEFT_WEIGHTS) if (folder / name).is_file()]
    if not found:
        pickled = [name for name in PICKLES if (folder / name).exists()]
        hint = f" ({pickled[0]} is a pickle, which can run code: convert it with PEFT)" if pickled else ""
        raise UserError(f"{folder}: no {PEFT_WEIGHTS} and no {OWN_WEIGHTS} in it{hint}")
    return found[0]


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of an adapter by their names in the file. Raises UserError for none, or broken ones."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = tensors_file(folder)
    try:
        return load_file(file)
    except (SafetensorError, OSError, TypeError, KeyError) as error:  # the last two: bfloat16, not ours
        raise UserError(f"{file}: {error} (damaged: copy it again)") from error


def vectors_in(tensors: dict[str, np.ndarray]) -> list[Vector]:
    """The vectors, in the order of layers and placements; heads are left out."""
    found = [vector_of(name, tensor) for name, tensor in tensors.items() if ".ia3_" in name]
    return sorted(found, key=lambda v: (v.layer is None, v.layer or 0, *order(v.placement), v.module))


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
    """What a vector at this side of a module is; the module's own name where we have no word for it."""
    leaf = module.rpartition(".")[2]
    pair = next((pair for names, pair in PROJECTIONS.items() if leaf in names), (None, None))
    return pair[side == "in"] or leaf


def order(placement: str) -> tuple[int, str]:
    """Placements as tables list them, unknown ones last."""
    return (PLACEMENTS.index(placement) if placement in PLACEMENTS else len(PLACEMENTS), placement)


def sizes_of(tensors: dict[str, np.ndarray]) -> dict[str, int]:
    """Placement → how many numbers stand there; last, `head`, where a head was trained."""
    counts: dict[str, int] = {}
    for vector in vectors_in(tensors):
        counts[vector.placement] = counts.get(vector.placement, 0) + vector.values.size
    counts = {name: counts[name] for name in sorted(counts, key=order)}
    head = sum(tensor.size for name, tensor in tensors.items() if ".ia3_" not in name)
    return counts | ({"head": head} if head else {})


def spreads(vectors: list[Vector]) -> list[Spread]:
    """One for each layer and placement, then one for each placement in all layers."""
    places = list(dict.fromkeys((v.layer, v.placement) for v in vectors if v.layer is not None))
    rows = [
        spread(layer, placement, [v for v in vectors if (v.layer, v.placement) == (layer, placement)])
        for layer, placement in places
    ]
    return rows + [
        spread(None, placement, [one for one in vectors if one.placement == placement])
        for placement in sorted({one.placement for one in vectors}, key=order)
    ]


def spread(layer: int | None, placement: str, vectors: list[Vector]) -> Spread:
    numbers = np.concatenate([one.values for one in vectors]).astype("float64")
    return Spread(
        layer,
        placement,
        numbers.size,
        float(numbers.min()),
        float(numbers.mean()),
        float(numbers.max()),
        float((numbers < 1 - MARKED).mean()),
        float((numbers > 1 + MARKED).mean()),
    )


def spread_table(rows: list[Spread]) -> str:
    """For people: a line a layer and placement, `all` for the layers together."""
    cells = [("LAYER", "PLACEMENT", "NUMBERS", "MIN", "MEAN", "MAX", "BELOW 0.9", "ABOVE 1.1")]
    for row in rows:
        layer = "all" if row.layer is None else str(row.layer)
        values = (f"{value:.3f}" for value in (row.min, row.mean, row.max))
        shares = (f"{share:.1%}" for share in (row.inhibiting, row.amplifying))
        cells.append((layer, row.placement, f"{row.numbers:,}", *values, *shares))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    form = "  ".join(f"{{:{'<' if n == 1 else '>'}{width}}}" for n, width in enumerate(widths))
    return "\n".join(form.format(*line) for line in cells)


def spread_record(rows: list[Spread]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(row) for row in rows]
