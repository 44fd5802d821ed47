"""Faster steps of training that change what is learned by rounding alone.

    with mixed_precision(base, "bf16"):
        logits, frames = base.forward(features)

In: a base. Within the context: (1) with "bf16" the encoder's layers, and nothing else, compute in bfloat16:
the front end takes little time and may lose accuracy (the mini base takes logarithms there, and its norms
hold large constants); (2) a depthwise convolution over hundreds of frames, such as the mini base's
positional one, is computed by fast Fourier transforms, equal within rounding; (3) with "bf16" on a CPU
attention is computed by plain matrix products while they are small, since torch's fused attention is slow
there in bfloat16 (a sixth of a step of the mini base).
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

FFT_KERNEL_SIZE = 256  # taps from which Fourier transforms are faster
EAGER_ATTENTION_WEIGHTS = (
    2**26
)  # of all layers, heads and rows, up to which they are kept for the backward pass


def choose_precision(precision: str, base: Base) -> str:
    """`precision`, with "auto" decided for a base and its device.

    Returns:
        "bf16", or "no": also for a base in int8, whose layers compute in int8.
    """
    if precision != "auto":
        return precision
    return "bf16" if computes_in_bfloat16(base.device) and base.dtype != "int8" else "no"


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products in bfloat16: it is slower than float32 elsewhere."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextmanager
def mixed_precision(base: Base, precision: str = "no") -> Iterator[None]:
    """Run the base's forward passes as described above.

    Args:
        precision: "bf16", or "no", with which only long convolutions are computed differently.
    """
    with ExitStack() as stack:
        path, layers = layers_of(base.model)
        if precision == "bf16" and base.device.type == "cpu":
            config = base.model.config
            stack.callback(setattr, config, "_attn_implementation", config._attn_implementation)
            encoder = base.model.get_submodule(path.rpartition(".")[0])
            choose = partial(choose_attention, config, len(layers))
            stack.callback(encoder.register_forward_pre_hook(choose, with_kwargs=True).remove)
        if precision == "bf16":
            for layer in layers:
                autocast = torch.autocast(base.device.type, torch.bfloat16)
                before = layer.register_forward_pre_hook(partial(enter, autocast))
                after = layer.register_forward_hook(partial(leave, autocast), always_call=True)
                stack.callback(before.remove)
                stack.callback(after.remove)
        for module in base.model.base_model.modules():
            if isinstance(module, nn.Conv1d) and is_long_depthwise(module):
                module.forward = partial(fft_convolution, module)
                stack.callback(delattr, module, "forward")
        yield


def choose_attention(config: Any, layers: int, _module: nn.Module, args: tuple, kwargs: dict) -> None:
    """Before the encoder: its input, (batch, frames, …), says how many attention weights there will be."""
    batch, frames = next(x for x in (*args, *kwargs.values()) if torch.is_tensor(x)).shape[:2]
    weights = batch * frames**2 * layers * encoder_config(config).num_attention_heads
    if weights <= EAGER_ATTENTION_WEIGHTS:
        config._attn_implementation = "eager"


def enter(context: torch.autocast, _module: nn.Module, _args: tuple) -> None:
    context.__enter__()


def leave(context: torch.autocast, _module: nn.Module, _args: tuple, _output: object) -> None:
    context.__exit__(None, None, None)


def is_long_depthwise(conv: nn.Conv1d) -> bool:
    """Whether a convolution is depthwise, with a kernel long enough for Fourier transforms."""
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and conv.kernel_size[0] >= FFT_KERNEL_SIZE
        and conv.stride == conv.dilation == (1,)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def fft_convolution(conv: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    """The output of `conv`, (batch, channels, frames) in and out, by the correlation theorem."""
    x = nn.functional.pad(x, (conv.padding[0],) * 2)
    kernel = conv.weight[:, 0]
    size, wide = 1 << (x.shape[-1] - 1).bit_length(), torch.promote_types(x.dtype, torch.float32)
    spectrum = torch.fft.rfft(x.to(wide), size) * torch.fft.rfft(kernel.to(wide), size).conj()
    y = torch.fft.irfft(spectrum, size)[..., : x.shape[-1] - kernel.shape[-1] + 1].to(x.dtype)
    return y if conv.bias is None else y + conv.bias[:, None]
