"""What a frozen base needs while vectors train in it: hooks that `ia3` puts in and takes out again.

In: a transformers CTC model. Out: the same, whose front end asks for no gradient, whose norms stand still and
whose layers can be checkpointed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ia3_speech.cli import UserError


@dataclass
class Before:
    """What a base was before it was frozen.

    Attributes:
        trained: its parameters that wanted a gradient.
        changed: (a module or a configuration, its attribute, the value).
    """

    trained: list[nn.Parameter]
    changed: list[tuple[Any, str, Any]]

    def restore(self) -> None:
        for parameter in self.trained:
            parameter.requires_grad_(True)
        for owner, name, value in self.changed:
            setattr(owner, name, value)


def freeze(model: nn.Module) -> Before:
    """No gradient for any weight or convolution (transformers asks for one in training), no LayerDrop, still
    norms. Vectors that stand between the convolutions get their gradient all the same.
    """
    before = Before([p for p in model.parameters() if p.requires_grad], [])
    model.requires_grad_(False)
    for module in model.modules():
        if getattr(module, "_requires_grad", False) is True:  # the convolutional feature encoder
            before.changed.append((module, "_requires_grad", True))
        for owner in (module, getattr(module, "config", None)):
            if value := getattr(owner, "layerdrop", 0):
                before.changed.append((owner, "layerdrop", value))
                owner.layerdrop = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(keep_still)
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    return before


def keep_still(module: nn.Module, _args: tuple) -> None:
    """A frozen batch norm uses, and keeps, its running statistics: `model.train()` would move the base."""
    module.eval()


def let_gradients_in(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Re-entrant gradient checkpointing computes none in a layer whose input wants none, and the input of a
    frozen base's first layer doesn't: let it want one. Without such checkpointing nothing changes.

    Raises:
        UserError: for WavLM, which it never comes back from, with or without vectors (transformers 5.24).
    """
    if not (module.training and torch.is_grad_enabled() and checkpoints_reentrantly(module)):
        return args, kwargs
    if getattr(getattr(module, "config", None), "model_type", "") == "wavlm":
        raise UserError(
            "WavLM's layers share a position bias, with which re-entrant gradient checkpointing never ends "
            "(model.gradient_checkpointing_enable({'use_reentrant': False}))"
        )

    def wanting(x: Any) -> Any:
        plain = not isinstance(x, torch.Tensor) or x.requires_grad or not x.is_floating_point()
        return x if plain else x.detach().requires_grad_().clone()  # no leaf: some encoders write into it

    return tuple(map(wanting, args)), {name: wanting(x) for name, x in kwargs.items()}


def checkpoints_reentrantly(module: nn.Module) -> bool:
    on = [m for m in module.modules() if getattr(m, "gradient_checkpointing", False)]
    return any(getattr(m._gradient_checkpointing_func, "keywords", {}).get("use_reentrant", True) for m in on)
