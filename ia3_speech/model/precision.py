"""Faster forward passes, which change logits and gradients only by rounding.

    base = load_base("mini")
    base.precision, base.precision_reason = choose_precision("auto", base.model, base.dtype)

In: a structural copy of a base's model, for a single forward pass. Out: the copy, in which
(1) a depthwise convolution over hundreds of frames, such as the mini base's positional convolution, is
computed by fast Fourier transforms;
(2) with "bf16" the encoder's layers, and the convolutions of transformers' `add_adapter` above them, compute
in bfloat16; the front end does not, since it takes little time and may lose accuracy (the mini base takes
logarithms there, and its norms hold large constants);
(3) with "bf16" on a CPU small attentions are computed by plain matrix products, since torch's fused attention
is slow there in bfloat16 (a sixth of a training step of the mini base).

With "int8" (see `int8`) the linear modules of the encoder's layers compute in int8, without gradients. "auto"
does not choose it: on Whisper base it has 0.4 to 0.8 points more errors (egs/medical_dictation/RESULTS.md).
"""

import copy
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError
from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.ia3 import layers_of
from ia3_speech.model.int8 import compute_int8, has_fast_int8

FFT_KERNEL_SIZE = 256  # taps from which Fourier transforms are faster
# Attention weights of all layers, heads and rows; eager attention stores them for the backward pass.
MAX_EAGER_WEIGHTS = 2**27

MEASURED_FRAMES, MEASURED_ROUNDS = 500, 5  # 50 to 100 ms for mini on one core
MARGIN = 1.1  # bf16 must be faster by this factor, since it rounds

Precision = Literal["no", "bf16", "int8"]
CACHE = "precision.json"  # measured times in the user's cache, by processor, torch version and shape


def choose_precision(
    precision: Precision | Literal["auto"],
    model: nn.Module,
    dtype: str = "float32",
    among: Sequence[Precision] = ("bf16",),
) -> tuple[Precision, str]:
    """`precision`, with "auto" decided, and the reason.

    auto gives bf16 on a GPU with instructions for products in bfloat16, and on a CPU that has them if they
    are faster than float32, which is measured once; it gives no for a base that is not in float32. Raises
    UserError for int8 if it is not in `among`, the precisions of the base, or not possible here.
    """
    kind = next(model.parameters()).device.type
    if precision == "int8":
        if precision not in among:
            raise UserError("`precision=int8` is for recognition with a Whisper base (take bf16 or auto)")
        if kind != "cpu" or dtype != "float32" or not has_fast_int8():
            raise UserError(
                "`precision=int8` needs a CPU with VNNI and a base in float32 (take bf16 or auto)"
            )
    if precision != "auto":
        return precision, "as the options say"
    if dtype != "float32":
        return "no", f"the base is in {dtype}"
    if kind != "cpu":
        fast = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if fast else "no", f"{kind} {'has' if fast else 'has no'} instructions for bfloat16"
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "no", "cpu has no instructions for bfloat16"
    single, half, what = layer_seconds(model)
    reason = f"{what}: {1e3 * single:.1f} ms in float32, {1e3 * half:.1f} in bfloat16"
    return "bf16" if MARGIN * half <= single else "no", reason


def layer_seconds(model: nn.Module) -> tuple[float, float, str]:
    """Seconds in float32 and in bfloat16 of the largest linear layer of the encoder's first layer, and a
    description. They are measured once, then read from the user's cache, so the choice stays the same."""
    linear = max(
        (module for module in layers_of(model)[1][0].modules() if isinstance(module, nn.Linear)),
        key=lambda module: module.weight.numel(),
    )
    amx = " with AMX" if torch.cpu._is_amx_tile_supported() else ""
    what = f"{linear.in_features} × {linear.out_features}, {MEASURED_FRAMES} frames, {processor_name()}{amx}"
    what += f", torch {torch.__version__}"
    import platformdirs

    home = os.environ.get("IA3_SPEECH_HOME") or platformdirs.user_cache_dir("ia3_speech", appauthor=False)
    file, measured = Path(home).expanduser() / CACHE, {}
    with suppress(OSError, ValueError, AttributeError):
        measured = dict(json.loads(file.read_text("utf-8")).items())
    try:
        single, half = map(float, measured[what])
    except (KeyError, TypeError, ValueError):
        single, half = measure_linear(linear)
        with suppress(OSError):  # a read-only home: each process measures again
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, measured | {what: [single, half]})
    return single, half, what


@torch.inference_mode()
def measure_linear(linear: nn.Linear) -> list[float]:
    """Seconds of a linear layer in float32, and in bfloat16 by autocast: the minimum of some rounds, on a
    single core, by the thread's time, so that other programs on the machine count little."""
    x, least = torch.ones(MEASURED_FRAMES, linear.in_features), [math.inf, math.inf]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for round_ in range(1 + MEASURED_ROUNDS):  # the first is a warm-up
            for number, enabled in enumerate((False, True)):
                started = time.thread_time()
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    nn.functional.linear(x, linear.weight)
                if round_:
                    least[number] = min(least[number], time.thread_time() - started)
    finally:
        torch.set_num_threads(threads)
    return least


def processor_name() -> str:
    """The system's name of the processor."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor() or platform.machine()


def compute_fast(model: nn.Module, precision: str) -> None:
    """Change a structural copy as described above; with "no" only long convolutions change."""
    for module in model.base_model.modules():
        if isinstance(module, nn.Conv1d) and is_long_depthwise(module):
            module.forward = partial(fft_convolution, module)
    path, layers = layers_of(model)
    if precision == "int8":
        compute_int8(layers)
    if precision != "bf16":
        return
    device = next(model.parameters()).device.type
    above = getattr(model.base_model, "adapter", None)  # transformers' `add_adapter`: convolutions
    for module in [*layers, *([above] if above else [])]:
        module.forward = partial(in_bfloat16, module.forward, device)
    if device == "cpu":
        memo: dict[int, Any] = {}  # the copy gets a copy of its configuration
        config = copy.deepcopy(model.config, memo)
        for module in model.modules():
            if id(vars(module).get("config")) in memo:
                module.config = memo[id(module.config)]
        encoder = model.get_submodule(path.rpartition(".")[0])
        encoder.forward = partial(with_chosen_attention, encoder.forward, config, len(layers))


def in_bfloat16(forward: Callable, device: str, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """`forward` of x in bfloat16; a returned tensor has the type of x.

    A mask that is added to the attention's scores is rounded too. With a mask in float32 their softmax would
    be computed and stored in float32, which takes a fifth of a layer's training step at 430 frames.
    """
    mask = kwargs.get("attention_mask")
    if mask is not None and mask.is_floating_point():
        lowest = torch.finfo(torch.bfloat16).min  # float32's would become −inf
        kwargs["attention_mask"] = mask.clamp(min=lowest).to(torch.bfloat16)
    with torch.autocast(device, torch.bfloat16):
        output = forward(x, *args, **kwargs)
    return output.to(x.dtype) if torch.is_tensor(output) else output


def with_chosen_attention(forward: Callable, config: Any, layers: int, *args: Any, **kwargs: Any) -> Any:
    """The encoder's `forward`, with eager attention if the input, (batch, frames, …), is small."""
    batch, frames = next(x for x in (*args, *kwargs.values()) if torch.is_tensor(x)).shape[:2]
    if batch * frames**2 * layers * encoder_config(config).num_attention_heads <= MAX_EAGER_WEIGHTS:
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

    Taps that reach beyond the ends of x from all frames are left out: four seconds of speech need 400 of the
    mini base's 1,536 taps.
    """
    (kernel_size,), (padding,) = conv.kernel_size, conv.padding
    frames = x.shape[-1]
    output = frames + 2 * padding - kernel_size + 1
    first, last = max(0, padding - output + 1), min(kernel_size, padding + frames)
    kernel = conv.weight[:, 0, first:last]
    x = nn.functional.pad(x, (padding - first, 0))
    # The shortest fast length: for 15 s, 2304 takes half the time of 4096.
    needed = max(x.shape[-1], output, output + last - padding - 1)
    size = min(odd << ((needed - 1) // odd).bit_length() for odd in (1, 3, 5, 9))
    wide = torch.promote_types(x.dtype, torch.float32)
    spectrum = torch.fft.rfft(x.to(wide), size) * torch.fft.rfft(kernel.to(wide), size).conj()
    y = torch.fft.irfft(spectrum, size)[..., :output].to(x.dtype)
    return y if conv.bias is None else y + conv.bias[:, None]
