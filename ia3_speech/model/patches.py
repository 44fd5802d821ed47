"""What transformers' models compute in another way while vectors are attached: `attach` puts these in.

WavLM's attention, masks for batches shorter than a mask, re-entrant gradient checkpointing above frozen
layers. In: a module and its arguments. Out: what transformers would compute, where it can compute it. torch
is imported in the functions, since the table of architectures names one.
"""

import math
from typing import TYPE_CHECKING, Any

from ia3_speech.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn


def wavlm_self_attention(
    self: "nn.Module",
    hidden_states: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    gated_position_bias: "torch.Tensor",
) -> "tuple[torch.Tensor, torch.Tensor]":
    """In place of `WavLMAttention.torch_multi_head_self_attention`, the same operations in the same order.

    transformers passes the projections' raw weights to `torch.nn.functional.multi_head_attention_forward`: no
    projection is ever called, so no hook on one runs, and IA³ on keys and values has no effect (nor has
    PEFT's; transformers#48773). WavLM: arXiv 2110.13900. The gated position bias is an input.

    Args:
        hidden_states: (batch, time, d); the batch stays the first axis, as a vector for each row needs it.
        attention_mask: (batch, time), 1 for a frame and 0 for padding.
        gated_position_bias: (batch · heads, time, time).

    Returns:
        (batch, time, d), and the weights' mean over heads, (batch, heads, time, time).
    """
    import torch

    batch, time, _ = hidden_states.shape
    heads, width = self.num_heads, self.head_dim

    def split(x: "torch.Tensor") -> "torch.Tensor":
        return x.view(batch, time, heads, width).transpose(1, 2).reshape(batch * heads, time, width)

    query = split(self.q_proj(hidden_states)) * math.sqrt(1.0 / width)
    key, value = split(self.k_proj(hidden_states)), split(self.v_proj(hidden_states))
    bias = gated_position_bias
    if attention_mask is not None:
        padding = torch.zeros(batch, 1, 1, time, dtype=query.dtype, device=query.device)
        padding = padding.masked_fill(attention_mask.ne(1)[:, None, None], float("-inf"))
        bias = bias + padding.expand(-1, heads, -1, -1).reshape(batch * heads, 1, time)
    weights = torch.baddbmm(bias, query, key.transpose(1, 2)).softmax(-1)
    weights = torch.nn.functional.dropout(weights, self.dropout, self.training)
    context = torch.bmm(weights, value).view(batch, heads, time, width).transpose(1, 2)
    mean = weights.view(batch, heads, time, time).mean(1, keepdim=True)
    return self.out_proj(context.reshape(batch, time, heads * width)), mean.expand(-1, heads, -1, -1)


def mask_if_it_fits(
    self: "nn.Module",
    hidden: "torch.Tensor",
    mask_time_indices: "torch.Tensor | None" = None,
    attention_mask: "torch.Tensor | None" = None,
) -> "torch.Tensor":
    """In place of `_mask_hidden_states` of the encoder's input, (batch, frames, channels): a batch that is
    shorter than a mask in time, 0.2 s as a rule, has none, where transformers raises a ValueError."""
    import torch

    config, frames = self.config, hidden.shape[1]
    is_drawn = mask_time_indices is None and self.training and config.mask_time_prob > 0
    if is_drawn and frames < config.mask_time_length:
        mask_time_indices = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    return type(self)._mask_hidden_states(self, hidden, mask_time_indices, attention_mask)


def require_input_gradients(module: "nn.Module", args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """A hook: re-entrant gradient checkpointing computes no gradient in a layer whose input requires none, as
    is the case in a frozen base's first layer. So let the input require one. Without such checkpointing
    nothing changes. Raises UserError for WavLM, where it never ends, with or without vectors (transformers
    5.24)."""
    import torch

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


def checkpoints_reentrantly(module: "nn.Module") -> bool:
    on = [m for m in module.modules() if getattr(m, "gradient_checkpointing", False)]
    return any(getattr(m._gradient_checkpointing_func, "keywords", {}).get("use_reentrant", True) for m in on)
