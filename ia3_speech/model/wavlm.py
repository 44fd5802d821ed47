"""WavLM's self-attention by calls of its projections, so that vectors on them have an effect.

transformers passes the projections' raw weights to `torch.nn.functional.multi_head_attention_forward`: no
projection is ever called, so no hook on one runs, and IA³ on keys and values has no effect (nor has PEFT's;
transformers#48773). `self_attention` replaces `WavLMAttention.torch_multi_head_self_attention` and computes
the same operations in the same order (WavLM: arXiv 2110.13900). The gated position bias is an input.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def self_attention(
    self: "nn.Module",
    hidden_states: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    gated_position_bias: "torch.Tensor",
) -> "tuple[torch.Tensor, torch.Tensor]":
    """WavLM's self-attention, with the signature of the method that it replaces.

    Args:
        self: the `WavLMAttention`.
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
