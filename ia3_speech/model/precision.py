"""Faster forward passes, which change logits and gradients by rounding alone.

    base = load_base("mini")
    base.precision = choose_precision("auto", base.device, base.dtype)

In: a structural copy of a base's model, which one forward pass runs on. Out: the copy, in which
(1) a depthwise convolution over hundreds of frames, such as the mini base's positional one, is computed by
fast Fourier transforms;
(2) with "bf16" the encoder's layers, and the convolutions that transformers' `add_adapter` has above them,
compute in bfloat16: the front end takes little time and may lose accuracy (the mini base takes logarithms
there, and its norms hold large constants);
(3) with "bf16" on a CPU attention is computed by plain matrix products while they are small, since torch's
fused attention is slow there in bfloat16 (a sixth of a training step of the mini base).
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.ia3 import layers_of

FFT_KERNEL_SIZE = 256  # taps from which Fourier transforms are faster
# Attention weights of all layers, heads and rows, up to which they are kept for the backward pass.
EAGER_ATTENTION_WEIGHTS = 2**27


def choose_precision(
    precision: Literal["no", "bf16", "auto"], device: torch.device, dtype: str = "float32"
) -> Literal["no", "bf16"]:
    """`precision`, with "auto" decided: bf16 where the device has instructions for products in bfloat16, else
    it is slower than float32; and no for a base whose own type is not float32."""
    if precision != "auto":
        return precision
    has_instructions = False
    if device.type == "cuda":
        has_instructions = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_instructions and dtype == "float32" else "no"


def compute_fast(model: nn.Module, precision: str) -> None:
    """Let a structural copy compute as described above; with "no" only long convolutions change."""
    for module in model.base_model.modules():
        if isinstance(module, nn.Conv1d) and is_long_depthwise(module):
            module.forward = partial(fft_convolution, module)
    if precision != "bf16":
        return
    path, layers = layers_of(model)
    device = next(model.parameters()).device.type
    above = getattr(model.base_model, "adapter", None)  # transformers' `add_adapter`: convolutions
    for module in [*layers, *([above] if above else [])]:
        module.forward = partial(in_bfloat16, module.forward, device)
    if device == "cpu":
        config = with_own_config(model)
        encoder = model.get_submodule(path.rpartition(".")[0])
        encoder.forward = partial(with_chosen_attention, encoder.forward, config, len(layers))


def in_bfloat16(forward: Callable, device: str, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """`forward` of x in bfloat16; where it returns a tensor, in the type of x.

    A mask that is added to the attention's scores is rounded too. In float32 it would have their softmax
    computed and stored in float32, which takes a fifth of a layer's training step at 430 frames.
    """
    mask = kwargs.get("attention_mask")
    if mask is not None and mask.is_floating_point():
        lowest = torch.finfo(torch.bfloat16).min  # float32's would become −inf
        kwargs["attention_mask"] = mask.clamp(min=lowest).to(torch.bfloat16)
    with torch.autocast(device, torch.bfloat16):
        output = forward(x, *args, **kwargs)
    return output.to(x.dtype) if torch.is_tensor(output) else output


def with_own_config(model: nn.Module) -> Any:
    """Give a structural copy a configuration of its own, which is returned."""
    memo: dict[int, Any] = {}
    config = copy.deepcopy(model.config, memo)
    for module in model.modules():
        if id(vars(module).get("config")) in memo:
            module.config = memo[id(module.config)]
    return config


def with_chosen_attention(forward: Callable, config: Any, layers: int, *args: Any, **kwargs: Any) -> Any:
    """The encoder's `forward`; its input, (batch, frames, …), says how many attention weights there are."""
    batch, frames = next(x for x in (*args, *kwargs.values()) if torch.is_tensor(x)).shape[:2]
    if batch * frames**2 * layers * encoder_config(config).num_attention_heads <= EAGER_ATTENTION_WEIGHTS:
        config._attn_implementation = "eager"
    return forward(*args, **kwargs)


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
    """The output of `conv`, (batch, channels, frames) in and out, by the correlation theorem.

    Taps that reach beyond both ends of x from each of its frames are left out: of the mini base's 1,536, four
    seconds of speech need 400.
    """
    (kernel_size,), (padding,) = conv.kernel_size, conv.padding
    frames = x.shape[-1]
    output = frames + 2 * padding - kernel_size + 1
    first, last = max(0, padding - output + 1), min(kernel_size, padding + frames)
    kernel = conv.weight[:, 0, first:last]
    x = nn.functional.pad(x, (padding - first, 0))
    # The shortest fast length: for 15 s, 2304 takes half of the time of 4096.
    needed = max(x.shape[-1], output, output + last - padding - 1)
    size = min(odd << ((needed - 1) // odd).bit_length() for odd in (1, 3, 5, 9))
    wide = torch.promote_types(x.dtype, torch.float32)
    spectrum = torch.fft.rfft(x.to(wide), size) * torch.fft.rfft(kernel.to(wide), size).conj()
    y = torch.fft.irfft(spectrum, size)[..., :output].to(x.dtype)
    return y if conv.bias is None else y + conv.bias[:, None]
