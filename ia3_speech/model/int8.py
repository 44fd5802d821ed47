"""A frozen base in int8 on a CPU: its encoder takes a quarter of the memory, and IA³ vectors train on it.

    base = load_base("mini", dtype="int8")

In: a model in float32. Out: the same model, whose encoder layers' linear modules hold int8 weights with a
scale for each output channel; activations are rounded to int8 with a scale for each frame, and the product is
torch's int8 × int8 → int32 (`torch._int_mm`), which is exact. As in QLoRA (arXiv 2305.14314) the frozen
weights stay rounded, gradients ignore the rounding of the activations (straight-through estimator,
arXiv 1308.3432), and the trained vectors stay in float32.

Why not `torch.ao.quantization.quantize_dynamic`: its single scale for the whole batch makes a row depend on
its neighbours, it has no backward pass, and torch has deprecated it.
"""

import torch
from torch import nn

from ia3_speech.common.errors import UserError

MAX_INT8 = 127  # symmetric: −127 … 127


class Int8Linear(nn.Module):
    """`nn.Linear` with weights in int8, (out, in), and a float32 scale for each output channel, (out, 1)."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / MAX_INT8
        rounded = (weight / scale).round().to(torch.int8)
        self.weight = nn.Parameter(rounded, requires_grad=False)
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
        frames = x.reshape(-1, x.shape[-1]).float()
        step = frames.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / MAX_INT8
        rounded = (frames / step).round().to(torch.int8)
        product = torch._int_mm(rounded, weight.T).float() * step * scale.T
        return product.reshape(*x.shape[:-1], len(weight)).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple:
        weight, scale = ctx.saved_tensors
        return gradient @ (weight * scale).to(gradient.dtype), None, None


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
