"""IA³ for speech encoders: the vectors, where they stand, and how they get in and out of a model.

    model = attach(model, IA3Config(placements=("key", "value", "ffn"), layers="0-11"))
    …train…
    detach(model)

In: any transformers CTC model of a kind in `architectures.ARCHITECTURES`. Out: the same model, whose chosen activations are
multiplied, element by element, by learned vectors l; everything else is frozen. Paper: Liu et al. 2022,
"Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", arXiv 2205.05638:

    softmax(q (l_k ⊙ k)ᵀ / √d) (l_v ⊙ v)          (l_ff ⊙ γ(x W₁)) W₂

Each vector is a small module inside the module that it scales, and works by that one's forward hook: names,
weights and the base's state dictionary stay as they are.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn

from ia3_speech.cli import UserError
from ia3_speech.model.architectures import ARCHITECTURES, PLACEMENTS, Architecture
from ia3_speech.model.frozen import freeze, keep_still, let_gradients_in

PREFIX = "ia3_"  # the name of a vector's module inside the module that it scales: ia3_key, ia3_ffn, …
MERGED = "ia3_merged"  # the attribute of a model with an adapter in its weights: see `adapters.merge`
HEAD = "lm_head"  # the CTC head of most kinds; `head_of` knows every kind's


class AdapterError(UserError):
    """An adapter that does not fit, does nothing, or can't be placed."""


@dataclass(frozen=True)
class IA3Config:
    """Where vectors stand.

    Args:
        placements: any of key, value, ffn, ffn_output, attention_output, conv
        layers: "all", or 0-based inclusive ranges such as "0-11" or "0,4-7"; conv stands below them all
        train_head: the CTC head is trained too, and saved with the adapter
    """

    placements: tuple[str, ...] = ("key", "value", "ffn")
    layers: str = "all"
    train_head: bool = False

    def __post_init__(self) -> None:
        unknown = [p for p in self.placements if p not in PLACEMENTS]
        if unknown:
            raise AdapterError(f"no placement {', '.join(unknown)} (there are {', '.join(PLACEMENTS)})")
        # One order, so that equal configurations compare and print alike.
        object.__setattr__(self, "placements", tuple(p for p in PLACEMENTS if p in self.placements))
        if not self.placements and not self.train_head:
            raise AdapterError("placements is empty and train_head is off: nothing would be trained")

    def layer_numbers(self, count: int) -> list[int]:
        """The layers of a model with `count` layers, ascending. Raises AdapterError outside 0 … count − 1."""
        if self.layers == "all":
            return list(range(count))
        numbers: set[int] = set()
        for part in str(self.layers).split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            if not match:
                raise AdapterError(f'layers is "{self.layers}": write all, 0-11, or 0,4-7')
            first, last = int(match[1]), int(match[2] or match[1])
            if first > last or last >= count:
                raise AdapterError(f'layers is "{self.layers}", and the base has layers 0-{count - 1}')
            numbers.update(range(first, last + 1))
        return sorted(numbers)


@dataclass(frozen=True)
class TargetModule:
    """One place in a model: a module by its full path, the side that is scaled, and what that is.

    Args:
        module: also the one whose weight, and with side "out" bias, the vector folds into.
        layer: of the encoder; for `conv` the number of the convolution.
        axis: of the activation, the one that is scaled: −1 in (batch, time, d), 1 in (batch, d, time).
    """

    module: str
    side: str
    placement: str
    layer: int
    axis: int = -1

    @property
    def vector(self) -> str:
        """Path of the vector's module: it stands inside the module that it scales."""
        return f"{self.module}.{PREFIX}{self.placement}"

    @property
    def weight_axis(self) -> int:
        """Of the module's weight, the axis that is scaled when the vector is folded in: rows, or columns."""
        return 1 if self.side == "in" else 0


class IA3Vector(nn.Module):
    """One learned vector l of shape (d,), fp32, and optionally one for each row of the batch.

    `rows`, of shape (batch, 1, d), takes the place of l while it is set.
    """

    def __init__(self, size: int, place: TargetModule, device: torch.device | None = None):
        super().__init__()
        self.place = place
        self.l = nn.Parameter(torch.ones(size, dtype=torch.float32, device=device))
        self.rows: torch.Tensor | None = None

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, d), or with axis 1 (batch, d, time) → the same, scaled in fp32 (or wider) and rounded
        back to the type of x."""
        factor = self.l if self.rows is None else self.rows
        if self.place.axis == 1:
            factor = factor[:, None] if self.rows is None else factor.transpose(1, 2)
        return (x * factor).to(x.dtype)

    def _apply(self, fn, recurse: bool = True):
        """`model.half()` or `.to("cuda")` moves l and leaves it in fp32."""
        exact = self.l.detach()
        super()._apply(fn, recurse)
        if self.l.dtype != exact.dtype and exact.dtype == torch.float32:
            self.l.data = exact.to(self.l.device)
        return self

    def extra_repr(self) -> str:
        return f"{self.place.placement}, layer {self.place.layer}, {self.l.numel()} numbers"


def scale_input(name: str, module: nn.Module, args: tuple) -> tuple:
    """By the vector that `module` has: in a copy of it (nn.DataParallel makes them) that is the copy's."""
    return (getattr(module, name).scale(args[0]), *args[1:])


def scale_output(name: str, module: nn.Module, _args: tuple, output: torch.Tensor) -> torch.Tensor:
    return getattr(module, name).scale(output)


def architecture_of(model: nn.Module) -> Architecture:
    """The row of the table for this model. Raises AdapterError where there is none."""
    name = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if name not in ARCHITECTURES:
        raise AdapterError(
            f"{type(model).__name__} is of kind {name!r}, which IA³ vectors have no table for "
            f"(known: {', '.join(ARCHITECTURES)}; to add one, write a row in ia3_speech/model/architectures.py: "
            f"ARCHITECTURES[{name!r}] = Architecture(layers=…, targets=…, probe=…))"
        )
    return ARCHITECTURES[name]


def path_in(model: nn.Module, path: str) -> str:
    """A path of the table, in this model."""
    return path.format(body=getattr(model, "base_model_prefix", ""))


def head_of(model: nn.Module) -> str:
    """Path of the CTC head: `lm_head`, `ctc_head`."""
    return architecture_of(model).head


def is_head(name: str) -> bool:
    """Whether a parameter's name (`lm_head.weight`) is that of a head."""
    return name.rpartition(".")[0] in {architecture.head for architecture in ARCHITECTURES.values()}


def layers_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """(path, list) of the encoder's layers."""
    path = path_in(model, architecture_of(model).layers)
    return path, model.get_submodule(path)


def all_target_modules(model: nn.Module) -> list[TargetModule]:
    """Every place that a model of this kind has, layer by layer. Raises AdapterError for an unknown kind."""
    architecture, (path, layers) = architecture_of(model), layers_of(model)
    return convolution_targets(model) + [
        TargetModule(f"{path}.{number}.{site.module}", site.side, placement, number)
        for number in range(len(layers))
        for placement, targets in architecture.targets.items()
        for site in targets
    ]


def convolution_targets(model: nn.Module) -> list[TargetModule]:
    """One for each layer of the convolutional feature encoder: after its norm, or where it has none after
    its convolution."""
    path, found = path_in(model, architecture_of(model).convolutions), []
    for number, layer in enumerate(model.get_submodule(path) if path else ()):
        norm = getattr(layer, "layer_norm", None)
        name, axis = ("conv" if norm is None else "layer_norm"), (-1 if isinstance(norm, nn.LayerNorm) else 1)
        found.append(TargetModule(f"{path}.{number}.{name}", "out", "conv", number, axis))
    return found


def target_modules(model: nn.Module, config: IA3Config) -> list[TargetModule]:
    """The places that `config` names. Raises AdapterError for a layer or placement that is not there."""
    every = all_target_modules(model)
    missing = [p for p in config.placements if p not in {place.placement for place in every}]
    if missing:
        why = " (it has no convolutional feature encoder)" if "conv" in missing else ""
        raise AdapterError(f"{type(model).__name__} has no place for {', '.join(missing)}{why}")
    numbers = config.layer_numbers(len(layers_of(model)[1]))
    return [
        p for p in every if p.placement in config.placements and (p.placement == "conv" or p.layer in numbers)
    ]


@torch.inference_mode(False)
def attach(model: nn.Module, config: IA3Config | None = None, *, check: bool = True) -> nn.Module:
    """Freeze `model`, put vectors of ones into it, return it: its logits are bit for bit what they were.

    Only the vectors (and the head with `train_head`) require gradients. LayerDrop is switched off, since it
    leaves vectors without a gradient; so is the gradient of the convolutional front end's weights. Gradient
    checkpointing works, re-entrant or not (WavLM: not). Batch norms keep their running statistics even where
    `model.train()` is called. WavLM's attention gives way to one that calls its projections (see `wavlm`):
    equal bit for bit on one row, within rounding on several.

    Args:
        model: a transformers CTC model; changed in place.
        check: prove by one forward and backward pass that every vector has an effect (once for each base
            and set of placements in a process).

    Raises:
        AdapterError: vectors are attached already, the kind of model is unknown, a layer does not exist, or
            a vector has no effect.
    """
    config = config or IA3Config()
    if is_attached(model):
        raise AdapterError("the model has IA³ vectors already (call detach(model) first)")
    attach_vectors(model, target_modules(model, config), config)
    if check:
        try:
            check_liveness(model)
        except AdapterError:
            detach(model)
            raise
    return model


def attach_vectors(model: nn.Module, wanted: list[TargetModule], config: IA3Config) -> None:
    """Put a vector of ones at each place, free the head if it is trained, freeze all else."""
    refuse_merged(model)
    model.ia3_before = freeze(model)
    stacks = [layers_of(model)[0]]
    if "conv" in config.placements:
        stacks.append(path_in(model, architecture_of(model).convolutions))
    for path in stacks:
        encoder = model.get_submodule(path.rpartition(".")[0])
        encoder.register_forward_pre_hook(let_gradients_in, with_kwargs=True)
    for place in wanted:
        make_explicit(model, place)
        module = model.get_submodule(place.module)
        vector = IA3Vector(width_of(model, place), place, module.weight.device)
        name = PREFIX + place.placement
        module.add_module(name, vector)
        if place.side == "in":
            module.register_forward_pre_hook(partial(scale_input, name))
        else:
            module.register_forward_hook(partial(scale_output, name))
    model.ia3_config = config
    model.ia3_head = None
    if config.train_head:
        head = model.get_submodule(head_of(model))
        model.ia3_head = {name: p.detach().clone() for name, p in head.named_parameters()}
        head.requires_grad_(True)


def width_of(model: nn.Module, place: TargetModule) -> int:
    """How many numbers a vector has there."""
    return model.get_submodule(place.module).weight.shape[place.weight_axis]


def make_explicit(model: nn.Module, place: TargetModule) -> None:
    """Where the kind's attention computes around its projections, let it call them."""
    parent = model.get_submodule(place.module.rpartition(".")[0])
    for name, method in architecture_of(model).explicit.items():
        if hasattr(parent, name) and name not in vars(parent):
            setattr(parent, name, MethodType(method, parent))
            parent.register_forward_pre_hook(partial(bind_again, name))


def bind_again(name: str, module: nn.Module, _args: tuple) -> None:
    """A copy of a module (nn.DataParallel makes them) has the original's bound method; it gets its own."""
    bound = vars(module)[name]
    if bound.__self__ is not module:
        setattr(module, name, MethodType(bound.__func__, module))


HOOKS = (scale_input, scale_output, keep_still, let_gradients_in, bind_again)


def detach(model: nn.Module) -> nn.Module:
    """Take the vectors out; a trained head gives way to the base's own. The model is the base again,
    with its LayerDrop, and what wanted a gradient wants one."""
    refuse_merged(model)
    explicit = {name for architecture in ARCHITECTURES.values() for name in architecture.explicit}
    for module in model.modules():
        inside = {n: child for n, child in module.named_children() if isinstance(child, IA3Vector)}
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                if getattr(hook, "func", hook) in HOOKS:
                    del hooks[key]
                    module._forward_pre_hooks_with_kwargs.pop(key, None)
        for name in [*inside, *(explicit & vars(module).keys())]:
            delattr(module, name)
    if getattr(model, "ia3_head", None):
        head = model.get_submodule(head_of(model))
        with torch.no_grad():
            for name, p in head.named_parameters():
                p.copy_(model.ia3_head[name])
        head.requires_grad_(False)
    if hasattr(model, "ia3_before"):
        model.ia3_before.restore()
    for name in ("ia3_config", "ia3_head", "ia3_before"):
        if hasattr(model, name):
            delattr(model, name)
    return model


def is_attached(model: nn.Module) -> bool:
    return hasattr(model, "ia3_config")


def is_merged(model: nn.Module) -> bool:
    return hasattr(model, MERGED)


def refuse_merged(model: nn.Module) -> None:
    """Raises AdapterError while an adapter is folded into the weights: they are no adapter's base then."""
    if is_merged(model):
        raise AdapterError("an adapter is merged into the model's weights (unmerge(model) comes first)")


def vectors(model: nn.Module) -> dict[str, IA3Vector]:
    """Path of the vector's module (`wav2vec2.encoder.layers.0.attention.k_proj.ia3_key`) → the vector."""
    plain = getattr(model, "_orig_mod", model)  # under torch.compile
    return {name: module for name, module in plain.named_modules() if isinstance(module, IA3Vector)}


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The vectors' parameters, then the head's if it is trained: what an optimiser gets."""
    for name, vector in vectors(model).items():
        yield name, vector.l
    if getattr(model, "ia3_head", None):
        yield from model.get_submodule(head_of(model)).named_parameters(head_of(model))


def ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] → "0-2,5"."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def config_record(config: IA3Config) -> dict[str, Any]:
    """For metadata files: plain types."""
    return asdict(config) | {"placements": list(config.placements)}


def check_liveness(model: nn.Module) -> None:
    """Prove that every vector reaches the logits and gets a gradient: see `liveness.check`."""
    from ia3_speech.model import liveness

    liveness.check(model)
