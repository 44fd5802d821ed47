"""Gated IA³ vectors, as a user's method: each vector acts as far as the audio resembles its speech.

    ia3-speech train --method gated.py:gated --learning-rate 2e-2 …

    l(x) = 1 + g(x) (l − 1),    g(x) = σ(w · p(x) + b)

p(x) is the mean over time of the first layer's output, without padding. So g is near 0 for speech that replay
shows, and the base's activations stay as they are. The first layer, below the gate, has no vectors. Compare
MoV (arXiv 2309.05444) and SMEAR (2306.03745), which mix several vectors or adapters by a learned router.
"""

from torch import Tensor, nn, randn, sigmoid

from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.ia3 import layers_of, target_modules

PLACEMENTS = ("key", "value", "ffn", "ffn_output", "attention_output")
START = 1e-2  # deviation of the vectors from 1 at the start: where they are 1, the gate has no effect


def gated(model: nn.Module, config: dict) -> dict[str, nn.Parameter]:
    """Insert vectors at five places of each layer but the first, and their gate; returns what trains."""
    _, layers = layers_of(model)
    first = layers[0]
    first.gate = nn.Linear(model.config.hidden_size, 1).to(model.device)
    gates: list[Tensor] = []  # of the rows of the batch in computation

    def compute_gate(_: nn.Module, _args: tuple, kwargs: dict, output: Tensor | tuple) -> None:
        hidden = (output[0] if isinstance(output, tuple) else output).float()
        mask = kwargs.get("attention_mask")  # (batch, 1, frames, frames): additive, or of booleans
        valid = hidden.new_ones(hidden.shape[:2])
        if mask is not None:
            last = mask[:, 0, -1]
            valid = (last > -1 if last.is_floating_point() else last).to(hidden)
        mean = (hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        gates[:] = [sigmoid(first.gate(mean))[:, None]]

    def scaled(vector: Tensor, x: Tensor) -> Tensor:
        return (x * (1 + gates[0] * (vector - 1))).to(x.dtype)

    first.register_forward_hook(compute_gate, with_kwargs=True)
    for target in target_modules(model, IA3Config(PLACEMENTS, f"1-{len(layers) - 1}")):
        module = model.get_submodule(target.module)
        size = module.in_features if target.side == "in" else module.out_features
        vector = nn.Parameter(1 + START * randn(size).to(model.device))
        module.register_parameter(f"gated_{target.placement}", vector)
        if target.side == "in":
            module.register_forward_pre_hook(lambda _, args, v=vector: (scaled(v, args[0]), *args[1:]))
        else:
            module.register_forward_hook(lambda _module, _args, output, v=vector: scaled(v, output))
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
