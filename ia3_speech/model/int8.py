"""Linear modules in int8 on a CPU: weights with a scale for each output channel, activations with a scale for
each frame, and an exact product of integers. A row of a batch equals that row alone.

    base = load_base("mini", dtype="int8")        # the base itself: a quarter of the encoder's memory
    compute_int8(copy)                            # a structural copy: the base stays in float32

In: a model in float32. Out: (1) of `quantize` the same model, whose encoder layers' linear modules hold int8
weights; as in QLoRA (arXiv 2305.14314) the frozen weights stay rounded, gradients ignore the rounding of the
activations (straight-through estimator, arXiv 1308.3432), and the trained vectors stay in float32. (2) of
`compute_int8` a copy whose linear modules compute without gradients by oneDNN's kernels, which need VNNI
instructions; the rounded weights are kept beside the base's.

Why not `torch.ao.quantization.quantize_dynamic`: its single scale for the whole batch makes a row depend on
its neighbours, it has no backward pass, and torch has deprecated it.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from ia3_speech.common.errors import UserError

MAX_INT8 = 127  # symmetric: −127 … 127
ZERO_POINT = 128  # of oneDNN's unsigned activations; its kernels for signed ones are slower than float32
# A weight → its state when it was rounded (address, version), oneDNN's layout of it, its scales
PACKED = WeakTensorKeyDictionary()


class Int8Linear(nn.Module):
    """`nn.Linear` with weights in int8, (out, in), and a float32 scale for each output channel, (out, 1)."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        rounded, scale = round_rows(linear.weight.detach().float())
        self.weight = nn.Parameter(rounded.to(torch.int8), requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out), in the type of x."""
        product = Int8Product.apply(x, self.weight, self.scale)
        return product if self.bias is None else product + self.bias


class Int8Product(torch.autograd.Function):
    """x · Wᵀ with x rounded frame by frame; its gradient is that of x · (scale ∘ W)ᵀ."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight, scale)
        rounded, step = round_rows(x.reshape(-1, x.shape[-1]).float())
        product = torch._int_mm(rounded.to(torch.int8), weight.T).float() * step * scale.T
        return product.reshape(*x.shape[:-1], len(weight)).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple:
        weight, scale = ctx.saved_tensors
        return gradient @ (weight * scale).to(gradient.dtype), None, None


def round_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) → whole numbers from −127 to 127, in x's type, and each row's scale, (rows, 1)."""
    scale = x.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny) / MAX_INT8
    return (x / scale).round_(), scale


def has_fast_int8() -> bool:
    """Whether this processor's kernels for int8 are exact and fast."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()


def compute_int8(modules: Iterable[nn.Module]) -> None:
    """Let the linear modules of a structural copy, below `modules` and among them, compute in int8."""
    for module in (each for parent in modules for each in parent.modules()):
        if isinstance(module, nn.Linear):
            module.forward = partial(linear_int8, module.weight, module.bias)


def linear_int8(weight: nn.Parameter, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    """(…, in) → (…, out), both float32, without a gradient."""
    packed, scale, zeros = pack(weight)
    rounded, step = round_rows(x.reshape(-1, x.shape[-1]))
    unsigned = rounded.add_(ZERO_POINT).to(torch.uint8)
    y = torch.ops.onednn.qlinear_pointwise(
        unsigned, 1.0, ZERO_POINT, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    y = y.mul_(step) if bias is None else torch.addcmul(bias, y, step)
    return y.view(*x.shape[:-1], len(weight))


def pack(weight: nn.Parameter) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rounded weight in oneDNN's layout, its scales, and zeros. It is rounded again once it changes, as
    when an adapter is merged."""
    state = weight.data_ptr(), weight._version
    if weight not in PACKED or PACKED[weight][0] != state:
        rounded, scale = round_rows(weight.detach())
        packed = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8), None)
        PACKED[weight] = state, (packed, scale[:, 0], torch.zeros(len(weight), dtype=torch.int32))
    return PACKED[weight][1]


def quantize(model: nn.Module, layers: nn.ModuleList) -> nn.Module:
    """Round the linear modules of the encoder's `layers` to int8, in place; the head stays in float32. Raises
    UserError if the model is not in float32 on a CPU, or uses weights without calling their modules."""
    first = next(model.parameters())
    if first.device.type != "cpu" or first.dtype != torch.float32:
        raise UserError(f"int8 is for float32 on the CPU, and this base is {first.dtype} on {first.device}")
    if model.config.model_type == "wavlm":
        raise UserError(
            "WavLM's attention uses its weights without calling the modules, so it can't be rounded to int8"
        )
    linears = [(m, n, c) for m in layers.modules() for n, c in m.named_children() if type(c) is nn.Linear]
    for parent, name, linear in linears:
        setattr(parent, name, Int8Linear(linear))
    return model


def is_int8(model: nn.Module) -> bool:
    return any(isinstance(module, Int8Linear) for module in model.modules())


def dtype_of(model: nn.Module) -> str:
    """The number format of a model: float32, float16, bfloat16 or int8."""
    return "int8" if is_int8(model) else str(model.dtype).removeprefix("torch.")
