"""What a frozen base needs while vectors train in it: hooks that `attach` puts in and takes out again.

In: a transformers CTC model. Out: the same model, whose weights and front end ask for no gradient, whose
batch norms keep their statistics, whose layers can be checkpointed and whose input may be short.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ia3_speech.cli import UserError


@dataclass
class UnfrozenState:
    """What `freeze` changed in a base, so that `detach` can undo it.

    Attributes:
        trainable: the parameters that required a gradient.
        attributes: (a module or a configuration, its attribute, the value).
    """

    trainable: list[nn.Parameter]
    attributes: list[tuple[Any, str, Any]]

    def restore(self) -> None:
        for parameter in self.trainable:
            parameter.requires_grad_(True)
        for owner, name, value in self.attributes:
            setattr(owner, name, value)


def freeze(model: nn.Module) -> UnfrozenState:
    """Switch off the gradient of every weight and of the convolutional front end (transformers asks for one
    in training), LayerDrop, and the running statistics of batch norms. Returns what it changed.

    Vectors between the convolutions get their gradient all the same.
    """
    before = UnfrozenState([p for p in model.parameters() if p.requires_grad], [])
    model.requires_grad_(False)
    for module in model.modules():
        if getattr(module, "_requires_grad", False) is True:  # the convolutional feature encoder
            before.attributes.append((module, "_requires_grad", True))
        for owner in (module, getattr(module, "config", None)):
            if value := getattr(owner, "layerdrop", 0):
                before.attributes.append((owner, "layerdrop", value))
                owner.layerdrop = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(keep_in_eval_mode)
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    return before


def keep_in_eval_mode(module: nn.Module, _args: tuple) -> None:
    """A hook: a frozen batch norm uses its running statistics, which `model.train()` would change."""
    module.eval()


def require_input_gradients(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """A hook: re-entrant gradient checkpointing computes no gradient in a layer whose input requires none, as
    is the case in a frozen base's first layer. So let the input require one. Without such checkpointing
    nothing changes.

    Raises:
        UserError: for WavLM, where it never ends, with or without vectors (transformers 5.24).
    """
    if not (module.training and torch.is_grad_enabled() and checkpoints_reentrantly(module)):
        return args, kwargs
    if getattr(getattr(module, "config", None), "model_type", "") == "wavlm":
        raise UserError(
            "WavLM's layers share a position bias, with which re-entrant gradient checkpointing never ends "
            "(model.gradient_checkpointing_enable({'use_reentrant': False}))"
        )

    def with_gradient(x: Any) -> Any:
        unchanged = not isinstance(x, torch.Tensor) or x.requires_grad or not x.is_floating_point()
        return x if unchanged else x.detach().requires_grad_().clone()  # no leaf: some encoders write into it

    return tuple(map(with_gradient, args)), {name: with_gradient(x) for name, x in kwargs.items()}


def checkpoints_reentrantly(module: nn.Module) -> bool:
    on = [m for m in module.modules() if getattr(m, "gradient_checkpointing", False)]
    return any(getattr(m._gradient_checkpointing_func, "keywords", {}).get("use_reentrant", True) for m in on)


def mask_if_it_fits(
    module: nn.Module,
    hidden: torch.Tensor,
    mask_time_indices: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """In place of transformers' `_mask_hidden_states` of the encoder's input, (batch, frames, channels): a
    batch that is shorter than a mask in time, 0.2 s as a rule, has none, where transformers raises a
    ValueError. Of a longer batch it leaves the short rows unmasked by itself."""
    config, frames = module.config, hidden.shape[1]
    drawn = mask_time_indices is None and module.training and config.mask_time_prob > 0
    if drawn and frames < config.mask_time_length:
        mask_time_indices = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    return type(module)._mask_hidden_states(module, hidden, mask_time_indices, attention_mask)
