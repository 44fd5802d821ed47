"""PEFT's layout of an IA³ adapter: the names and shapes of its tensors, `adapter_config.json`.

Format: peft 0.21's IA3 tuner, `save_pretrained`. A vector of shape (d, 1) scales a linear layer's output with
its bias, one of shape (1, d) its input.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ia3_speech.adapters.adapter import Adapter
from ia3_speech.adapters.weights import PEFT_PREFIX
from ia3_speech.model.architectures import AdapterError
from ia3_speech.model.ia3 import PREFIX, TargetModule, all_target_modules, architecture_of, head_of

PEFT_VERSION = "0.21.2"  # whose layout this is
# The base's name in adapter_config.json where no hub id and no folder is meant: `AutoPeftModel`, which can't
# find it, shows this in its error.
MINI_NAME = (
    "mini (it comes with ia3-speech: ia3-speech adapters export ADAPTER --out FOLDER writes it "
    "with the adapter merged, for AutoModelForCTC; "
    "or PeftModel.from_pretrained(load_base('mini').model, ADAPTER))"
)


def peft_can_express(model: nn.Module, adapter: Adapter) -> bool:
    """Whether PEFT would load all of it, and every vector would have its effect there.

    PEFT has one vector a linear layer (not `ffn` beside `ffn_output`) and none on convolutions, norms and
    quantised layers. Where attention does not call its projections (WavLM) PEFT's vectors have no effect.
    """
    modules = [target.module for target in adapter.vectors]
    replaced_methods = architecture_of(model).replaced_methods

    def has_effect_in_peft(path: str) -> bool:
        parent = model.get_submodule(path.rpartition(".")[0])
        is_called = not any(hasattr(parent, method) for method in replaced_methods)
        return isinstance(model.get_submodule(path), nn.Linear) and is_called

    return bool(modules) and len(set(modules)) == len(modules) and all(map(has_effect_in_peft, modules))


def peft_tensors(adapter: Adapter) -> dict[str, torch.Tensor]:
    """PEFT's names and shapes: (1, d) scales an input, (d, 1) an output with its bias."""
    tensors = {}
    for target, vector in adapter.vectors.items():
        shape = (1, -1) if target.side == "in" else (-1, 1)
        tensors[f"{PEFT_PREFIX}{target.module}.ia3_l"] = vector.reshape(shape)
    return tensors | {PEFT_PREFIX + name: tensor for name, tensor in adapter.head.items()}


def peft_config(model: nn.Module, adapter: Adapter) -> dict[str, Any]:
    """adapter_config.json. Short module names for all layers, full ones for a range of them."""
    modules = [target.module for target in adapter.vectors]

    def names(paths: list[str]) -> list[str]:
        short = {path.rpartition(".")[2] for path in paths}
        if adapter.config.layers != "all":
            return sorted(paths)
        # PEFT matches the end of a path, so a short name must not match modules without a vector.
        matched = {n for n, _ in model.named_modules() if n.rpartition(".")[2] in short}
        return sorted(short) if matched <= set(modules) else sorted(paths)

    architecture = type(model)
    return {
        "auto_mapping": {
            "base_model_class": architecture.__name__,
            "parent_library": architecture.__module__,
        },
        "base_model_name_or_path": MINI_NAME if adapter.metadata.base == "mini" else adapter.metadata.base,
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "feedforward_modules": names([target.module for target in adapter.vectors if target.side == "in"]),
        "inference_mode": True,
        "init_ia3_weights": True,
        "modules_to_save": [head_of(model)] if adapter.head else None,
        "peft_type": "IA3",
        "peft_version": PEFT_VERSION,
        "revision": None,
        "target_modules": names(modules),
        "task_type": None,  # PEFT has none for CTC
    }


def target_of_tensor(model: nn.Module, key: str, tensor: torch.Tensor, folder: Path) -> TargetModule:
    """The target module of a tensor, by its name, ours or PEFT's, and its shape.

    Raises:
        AdapterError: the model has no such target module; the message names `folder`.
    """
    path, _, leaf = key.rpartition(".")
    for target in all_target_modules(model):
        if target.module != path:
            continue
        if leaf == PREFIX + target.placement and tensor.ndim == 1:
            return target
        if leaf == "ia3_l" and tensor.ndim == 2 and tensor.shape[0 if target.side == "in" else 1] == 1:
            return target
    raise AdapterError(
        f"{folder}: {key} of shape {tuple(tensor.shape)} has no target module in {type(model).__name__}"
    )
