"""What makes a step of training quicker without changing what is learnt.

    with quick(base, "bf16"):
        logits, frames = base.forward(features)

In: a base. Inside the context (1) with "bf16" the encoder's layers compute in bfloat16, and they alone: what
lies below is cheap, and may not stand it (the mini base takes logarithms there, and its norms hold large
constants); (2) a depthwise convolution over hundreds of frames, as the mini base's positional one, works by
fast Fourier transforms: the same numbers within rounding, in a fraction of the time; (3) with "bf16" on a CPU
attention multiplies plain matrices while they are small, since torch's fused one is slow there in bfloat16
(a sixth of a step of the mini base).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import layers_of

LONG = 256  # taps from which the transforms win
ATTENTION = 2**26  # weights of all layers, heads and rows, up to which attention may hold them for backward


@contextmanager
def quick(base: Base, precision: str = "no") -> Iterator[None]:
    """Run the base's forward passes as the head of this file says. precision: bf16 or no."""
    with ExitStack() as stack:
        path, layers = layers_of(base.model)
        if precision == "bf16" and base.device.type == "cpu":
            config = base.model.config
            stack.callback(setattr, config, "_attn_implementation", config._attn_implementation)
            encoder = base.model.get_submodule(path.rpartition(".")[0])
            small = partial(attend_plainly, config, len(layers))
            stack.callback(encoder.register_forward_pre_hook(small, with_kwargs=True).remove)
        if precision == "bf16":
            for layer in layers:
                low = torch.autocast(base.device.type, torch.bfloat16)
                before = layer.register_forward_pre_hook(partial(enter, low))
                after = layer.register_forward_hook(partial(leave, low), always_call=True)
                stack.callback(before.remove)
                stack.callback(after.remove)
        for module in base.model.base_model.modules():
            if isinstance(module, nn.Conv1d) and is_long(module):
                module.forward = partial(depthwise, module)
                stack.callback(delattr, module, "forward")
        yield


def attend_plainly(config: Any, layers: int, _module: nn.Module, args: tuple, kwargs: dict) -> None:
    """Before the encoder: its input, (batch, frames, …), says how much attention would hold."""
    batch, frames = next(x for x in (*args, *kwargs.values()) if torch.is_tensor(x)).shape[:2]
    if batch * frames**2 * layers * encoder_config(config).num_attention_heads <= ATTENTION:
        config._attn_implementation = "eager"


def enter(context: torch.autocast, _module: nn.Module, _args: tuple) -> None:
    context.__enter__()


def leave(context: torch.autocast, _module: nn.Module, _args: tuple, _output: object) -> None:
    context.__exit__(None, None, None)


def is_long(conv: nn.Conv1d) -> bool:
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and conv.kernel_size[0] >= LONG
        and conv.stride == conv.dilation == (1,)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def depthwise(conv: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    """What `conv` makes of (batch, channels, frames), by the correlation theorem."""
    x = nn.functional.pad(x, (conv.padding[0],) * 2)
    kernel = conv.weight[:, 0]
    size, wide = 1 << (x.shape[-1] - 1).bit_length(), torch.promote_types(x.dtype, torch.float32)
    spectrum = torch.fft.rfft(x.to(wide), size) * torch.fft.rfft(kernel.to(wide), size).conj()
    y = torch.fft.irfft(spectrum, size)[..., : x.shape[-1] - kernel.shape[-1] + 1].to(x.dtype)
    return y if conv.bias is None else y + conv.bias[:, None]
