"""IA³ vectors for speech encoders, and the modules that they scale.

In: a transformers CTC model. Out: its target modules, the vectors that `attach` puts into them, and the
numbers of trained parameters. Paper: Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and
Cheaper than In-Context Learning", arXiv 2205.05638:

    softmax(q (l_k ⊙ k)ᵀ / √d) (l_v ⊙ v)          (l_ff ⊙ γ(x W₁)) W₂

Each vector is a small module inside the module that it scales, and acts through that module's forward hook:
names, weights and the base's state dictionary stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ia3_speech.common.errors import AdapterError
from ia3_speech.common.formatting import in_columns
from ia3_speech.model.architectures import (
    ARCHITECTURES,
    PLACEMENTS,
    Architecture,
    IA3Config,
    format_layers,
    is_in_decoder,
    is_in_encoder_layers,
)

PREFIX = "ia3_"  # the name of a vector's module inside the module that it scales: ia3_key, ia3_ffn, …
# The name of a vector's parameter. transformers' Trainer decays parameters to 0 unless their names contain
# "bias" or "norm", but a vector's identity is 1.
PARAMETER = "l_as_bias"


@dataclass(frozen=True)
class TargetModule:
    """A module that a vector scales."""

    module: str  # its path in the model; the vector merges into its weight, and with side "out" into its bias
    side: str  # the scaled side: "in" or "out"
    placement: str  # a key of `architectures.PLACEMENTS`
    layer: int  # of the encoder or the decoder; for `conv` the number of the convolution
    axis: int = -1  # the scaled axis of the activation: −1 in (batch, time, d), 1 in (batch, d, time)

    @property
    def vector_path(self) -> str:
        """Path of the vector's module, which is inside the module that it scales."""
        return f"{self.module}.{PREFIX}{self.placement}"

    @property
    def weight_axis(self) -> int:
        """The axis of the module's weight along which the vector is merged: 0, rows; 1, columns."""
        return 1 if self.side == "in" else 0


# A vector's parameter → its replacement, (batch, 1, d): a vector for each row of the batches that this thread
# (or this task of asyncio) computes; rows of a decoder may have several beams, one after another.
Rows = Mapping[nn.Parameter, torch.Tensor]
ROWS: ContextVar[Rows | None] = ContextVar("rows", default=None)
# The window of each of these rows, as `IA3Config.window`
WINDOWS: ContextVar[Sequence[str | None] | None] = ContextVar("windows", default=None)


@contextmanager
def using_rows(rows: Rows, windows: Sequence[str | None] | None = None) -> Iterator[None]:
    """Within the context, and only in this thread, use `rows` in place of the vectors that they name, and
    `windows` in place of the attached adapter's."""
    tokens = ROWS.set({**(ROWS.get() or {}), **rows}), WINDOWS.set(windows)
    try:
        yield
    finally:
        ROWS.reset(tokens[0])
        WINDOWS.reset(tokens[1])


class IA3Vector(nn.Module):
    """A learned vector l of shape (d,), fp32; within `using_rows` a vector for each row of the batch."""

    def __init__(self, size: int, target: TargetModule, device: torch.device | None = None):
        super().__init__()
        self.target = target  # the module that it scales
        ones = torch.ones(size, dtype=torch.float32, device=device)
        self.register_parameter(PARAMETER, nn.Parameter(ones))

    @property
    def l(self) -> nn.Parameter:  # noqa: E743 (the paper's name)
        return getattr(self, PARAMETER)

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, d), or with axis 1 (batch, d, time) → the same, scaled in fp32 (or wider) and rounded
        back to the type of x; within `torch.autocast` in the type of x, as weights are."""
        rows = (ROWS.get() or {}).get(self.l)  # (batch, 1, d), where this thread has a vector for each row
        factor = self.l if rows is None else rows
        if self.target.axis == 1:
            factor = factor[:, None] if rows is None else factor.transpose(1, 2)
        if torch.is_autocast_enabled(x.device.type):
            factor = factor.to(x.dtype)
        # In place if no gradient is needed: memory for a new activation takes longer than the product.
        # Nothing else holds a module's output, or the activation between the two feed-forward layers.
        if not torch.is_grad_enabled() and (
            self.target.side == "out" or self.target.placement.endswith("ffn")
        ):
            return x.mul_(factor)
        return (x * factor).to(x.dtype)

    def _apply(self, fn, recurse: bool = True):
        """`model.half()` or `.to("cuda")` moves l and leaves it in fp32."""
        exact = self.l.detach()
        super()._apply(fn, recurse)
        if self.l.dtype != exact.dtype and exact.dtype == torch.float32:
            self.l.data = exact.to(self.l.device)
        return self


@dataclass
class Attachment:
    """The additions to a base's modules and weights in a model."""

    config: IA3Config | None = None  # of the vectors in the model; None: there are none
    base_head: dict[str, torch.Tensor] | None = None  # the base's head, while another head is trained
    # Changes that froze the base: (parameter, module or configuration, attribute, its value before)
    unfrozen: list[tuple[Any, str, Any]] = field(default_factory=list)
    merged: Any = None  # an adapter in the model's weights: `adapters.merge.Merged`
    inserted: Any = None  # another method's parameters: `adapters.methods.Inserted`
    peft: Any = None  # PEFT's wrapper, while a method is inserted
    added_frames: int = 0  # number of frames that a method puts before each row in the encoder
    proven: set[tuple[str, ...]] = field(default_factory=set)  # sets of vectors with a proven effect
    # The state of the weights (`fingerprint.weights_state`) and their digests
    digests: tuple[list[tuple], dict[str, str]] = ([], {})


def attachment(model: nn.Module) -> Attachment:
    """The `Attachment` of a model, which a structural copy shares."""
    return model.__dict__.setdefault("ia3_attachment", Attachment())


def vectors(model: nn.Module) -> dict[str, IA3Vector]:
    """Path of the vector's module (`wav2vec2.encoder.layers.0.attention.k_proj.ia3_key`) → the vector."""
    return {name: module for name, module in model.named_modules() if isinstance(module, IA3Vector)}


def architecture_of(model: nn.Module) -> Architecture:
    """The model's entry in ARCHITECTURES. Raises AdapterError if there is none."""
    name = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if name not in ARCHITECTURES:
        raise AdapterError(
            f"{type(model).__name__} is of model type {name!r}, for which no target modules are known "
            f"(known: {', '.join(ARCHITECTURES)}; to add one, write an entry in "
            f"ia3_speech/model/architectures.py: "
            f"ARCHITECTURES[{name!r}] = Architecture(layers=…, targets=…, probe=…))"
        )
    return ARCHITECTURES[name]


def path_in(model: nn.Module, path: str) -> str:
    """A path of the table in this model, which may be the bare encoder (`Wav2Vec2Model`)."""
    body = getattr(model, "base_model_prefix", "")
    return path.format(body=body).removeprefix("" if hasattr(model, body) else f"{body}.")


def is_recogniser(model: nn.Module) -> bool:
    """Whether the model has a CTC head; a classifier has another head, and a bare encoder none."""
    return hasattr(model, architecture_of(model).head)


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter of the CTC head (`lm_head.weight`); of a classifier all parameters above the encoder
    (`projector.weight`, `classifier.bias`, `layer_weights`); empty for a bare encoder."""
    body = getattr(model, "base_model_prefix", "")
    if not (is_recogniser(model) or hasattr(model, body)):
        return {}
    names = {name.partition(".")[0] for name, _ in model.named_parameters()} - {body}
    heads = {architecture_of(model).head} if is_recogniser(model) else names
    return {name: p for name, p in model.named_parameters() if name.partition(".")[0] in heads}


def is_head(name: str) -> bool:
    """Whether a name (`lm_head.weight`) belongs to a parameter of a CTC head."""
    return name.rpartition(".")[0] in {architecture.head for architecture in ARCHITECTURES.values()}


def layers_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """(path, list) of the encoder's layers."""
    path = path_in(model, architecture_of(model).layers)
    return path, model.get_submodule(path)


def all_target_modules(model: nn.Module) -> list[TargetModule]:
    """Every target module of a model, layer by layer. Raises AdapterError for an unknown architecture."""
    stacks = {path_in(model, path): targets for path, targets in architecture_of(model).stacks.items()}
    modules = dict(model.named_modules())  # a classifier has no decoder
    return convolution_targets(model) + [
        TargetModule(f"{path}.{number}.{module}", side, placement, number)
        for path, placements in stacks.items()
        for number in range(len(modules.get(path, ())))
        for placement, targets in placements.items()
        for module, side in targets
    ]


def convolution_targets(model: nn.Module) -> list[TargetModule]:
    """The target modules of the convolutional feature encoder: each layer's norm, or else its convolution."""
    path, targets = path_in(model, architecture_of(model).convolutions), []
    for number, layer in enumerate(model.get_submodule(path) if path else ()):
        norm = getattr(layer, "layer_norm", None)
        name, axis = ("conv" if norm is None else "layer_norm"), (-1 if isinstance(norm, nn.LayerNorm) else 1)
        targets.append(TargetModule(f"{path}.{number}.{name}", "out", "conv", number, axis))
    return targets


def target_modules(model: nn.Module, config: IA3Config) -> list[TargetModule]:
    """The target modules that `config` names. Raises AdapterError if the model lacks a layer or placement."""
    every = all_target_modules(model)
    missing = [p for p in config.placements if p not in {target.placement for target in every}]
    if missing:
        reason = " (it has no convolutional feature encoder)" if "conv" in missing else ""
        reason = " (it has no decoder)" if not reason and any(map(is_in_decoder, missing)) else reason
        raise AdapterError(f"{type(model).__name__} has no target module for {', '.join(missing)}{reason}")
    numbers = config.layer_numbers(len(layers_of(model)[1]))
    chosen = [target for target in every if target.placement in config.placements]
    return [t for t in chosen if t.layer in numbers or not is_in_encoder_layers(t.placement)]


def vector_size(model: nn.Module, target: TargetModule) -> int:
    """d, the number of parameters of a vector at a target module."""
    return model.get_submodule(target.module).weight.shape[target.weight_axis]


def parameter_table(model: nn.Module) -> str:
    """A table of the attached parameters, and their share of the base's parameters, with the head:

    placement  layers  parameters  share of the base
    key        0-1             64  0.2896%
    conv                       48  0.2172%
    head                      957  4.3301%
    all                     1,069  4.8369% of 22,101
    """
    attached = list(vectors(model).values())
    counts = {p: sum(v.l.numel() for v in attached if v.target.placement == p) for p in PLACEMENTS}
    base = sum(p.numel() for p in model.parameters()) - sum(counts.values())
    counts["head"] = sum(p.numel() for p in (attachment(model).base_head or {}).values())
    rows = [("placement", "layers", "parameters", "share of the base")]
    for name, count in counts.items():
        if count:
            numbers = sorted({v.target.layer for v in attached if v.target.placement == name != "conv"})
            rows.append((name, format_layers(numbers), f"{count:,}", f"{count / base:.4%}"))
    total = sum(counts.values())
    rows.append(("all", "", f"{total:,}", f"{total / base:.4%} of {base:,}"))
    return "\n".join(in_columns(rows, left=(0, 1, 3)))
