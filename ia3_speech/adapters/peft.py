"""PEFT's layout of an IA³ adapter, out and in: the names and shapes of its tensors, `adapter_config.json`.

Format: peft 0.21's IA3 tuner, `save_pretrained`. A vector of shape (d, 1) scales a linear layer's output with
its bias, one of shape (1, d) its input.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ia3_speech.adapters.record import PEFT_PREFIX
from ia3_speech.model import ia3
from ia3_speech.model.ia3 import AdapterError

if TYPE_CHECKING:
    from ia3_speech.adapters.io import Adapter

PEFT_VERSION = "0.21.2"  # whose layout this is


def peft_can_express(model: nn.Module, adapter: "Adapter") -> bool:
    """Whether PEFT would load all of it, and every vector would have its effect there.

    It has one vector a linear layer (not `ffn` beside `ffn_output`) and none on convolutions, norms and
    quantised layers. Where attention computes around its projections (WavLM) its vectors do nothing.
    """
    modules = [place.module for place in adapter.vectors]
    around = ia3.architecture_of(model).explicit

    def works(path: str) -> bool:
        parent = model.get_submodule(path.rpartition(".")[0])
        passed_by = any(hasattr(parent, method) for method in around)
        return isinstance(model.get_submodule(path), nn.Linear) and not passed_by

    return bool(modules) and len(set(modules)) == len(modules) and all(map(works, modules))


def peft_tensors(adapter: "Adapter") -> dict[str, torch.Tensor]:
    """PEFT's names and shapes: (1, d) scales an input, (d, 1) an output with its bias."""
    tensors = {}
    for place, vector in adapter.vectors.items():
        shape = (1, -1) if place.side == "in" else (-1, 1)
        tensors[f"{PEFT_PREFIX}{place.module}.ia3_l"] = vector.reshape(shape)
    return tensors | {PEFT_PREFIX + name: tensor for name, tensor in adapter.head.items()}


def peft_config(model: nn.Module, adapter: "Adapter") -> dict[str, Any]:
    """adapter_config.json. Short module names for all layers, full ones for a range of them."""
    modules = [place.module for place in adapter.vectors]

    def names(wanted: list[str]) -> list[str]:
        short = {path.rpartition(".")[2] for path in wanted}
        if adapter.config.layers != "all":
            return sorted(wanted)
        # PEFT matches the end of a path, so a short name must not reach modules that we leave alone.
        reached = {n for n, _ in model.named_modules() if n.rpartition(".")[2] in short}
        return sorted(short) if reached <= set(modules) else sorted(wanted)

    architecture = type(model)
    return {
        "auto_mapping": {
            "base_model_class": architecture.__name__,
            "parent_library": architecture.__module__,
        },
        "base_model_name_or_path": adapter.metadata.base,
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "feedforward_modules": names([p.module for p in adapter.vectors if p.side == "in"]),
        "inference_mode": True,
        "init_ia3_weights": True,
        "modules_to_save": [ia3.head_of(model)] if adapter.head else None,
        "peft_type": "IA3",
        "peft_version": PEFT_VERSION,
        "revision": None,
        "target_modules": names(modules),
        "task_type": None,  # PEFT has none for CTC
    }


def place_of(model: nn.Module, key: str, tensor: torch.Tensor, folder: Path) -> ia3.TargetModule:
    """The place of a tensor, by its name and (PEFT's) by its shape. Raises AdapterError where it has none."""
    path, _, leaf = key.rpartition(".")
    for place in ia3.all_target_modules(model):
        if place.module != path:
            continue
        if leaf == ia3.PREFIX + place.placement and tensor.ndim == 1:
            return place
        if leaf == "ia3_l" and tensor.ndim == 2 and tensor.shape[0 if place.side == "in" else 1] == 1:
            return place
    raise AdapterError(
        f"{folder}: {key} of shape {tuple(tensor.shape)} has no place in {type(model).__name__}"
    )
