"""IA³ for speech encoders: the vectors, where they stand, and how they get in and out of a model.

    model = attach(model, IA3Config(placements=("key", "value", "ffn"), layers="0-11"))
    …train…
    detach(model)

In: any transformers CTC model of a kind in `kinds.KINDS`. Out: the same model, whose chosen activations are
multiplied, element by element, by learned vectors l; everything else is frozen. Paper: Liu et al. 2022,
"Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", arXiv 2205.05638:

    softmax(q (l_k ⊙ k)ᵀ / √d) (l_v ⊙ v)          (l_ff ⊙ γ(x W₁)) W₂

Each vector is a small module inside the linear layer that it scales, and works by that layer's forward hook:
names, weights and the base's state dictionary stay as they are.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ia3_speech.cli import UserError
from ia3_speech.kinds import KINDS, PLACEMENTS, Kind

PREFIX = "ia3_"  # the name of a vector's module inside the module that it scales: ia3_key, ia3_ffn, …
HEAD = "lm_head"


class AdapterError(UserError):
    """An adapter that does not fit, does nothing, or can't be placed."""


@dataclass(frozen=True)
class IA3Config:
    """Where vectors stand.

    Args:
        placements: any of key, value, ffn, ffn_output, attention_output
        layers: "all", or 0-based inclusive ranges such as "0-11" or "0,4-7"
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
class Place:
    """One place in a model: a linear module by its full path, the side that is scaled, and what that is."""

    module: str
    side: str
    placement: str
    layer: int

    @property
    def vector(self) -> str:
        """Path of the vector's module: it stands inside the module that it scales."""
        return f"{self.module}.{PREFIX}{self.placement}"


class IA3Vector(nn.Module):
    """One learned vector l of shape (d,), fp32, and optionally one for each row of the batch.

    `rows`, of shape (batch, 1, d), takes the place of l while it is set.
    """

    def __init__(self, size: int, place: Place, device: torch.device | None = None):
        super().__init__()
        self.place = place
        self.l = nn.Parameter(torch.ones(size, dtype=torch.float32, device=device))
        self.rows: torch.Tensor | None = None

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, d) → the same, scaled in fp32 (or wider) and rounded back to the type of x."""
        return (x * (self.l if self.rows is None else self.rows)).to(x.dtype)

    def scale_input(self, _module: nn.Module, args: tuple) -> tuple:
        return (self.scale(args[0]), *args[1:])

    def scale_output(self, _module: nn.Module, _args: tuple, output: torch.Tensor) -> torch.Tensor:
        return self.scale(output)

    def _apply(self, fn, recurse: bool = True):
        """`model.half()` or `.to("cuda")` moves l and leaves it in fp32."""
        exact = self.l.detach()
        super()._apply(fn, recurse)
        if self.l.dtype != exact.dtype and exact.dtype == torch.float32:
            self.l.data = exact.to(self.l.device)
        return self

    def extra_repr(self) -> str:
        return f"{self.place.placement}, layer {self.place.layer}, {self.l.numel()} numbers"


def kind_of(model: nn.Module) -> Kind:
    """The row of the table for this model. Raises AdapterError where there is none."""
    name = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if name not in KINDS:
        raise AdapterError(
            f"{type(model).__name__} is of kind {name!r}, which IA³ vectors have no table for "
            f"(known: {', '.join(KINDS)}; to add one, write a row in ia3_speech/kinds.py)"
        )
    return KINDS[name]


def layers_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """(path, list) of the encoder's layers."""
    path = kind_of(model).layers.format(body=getattr(model, "base_model_prefix", ""))
    return path, model.get_submodule(path)


def all_places(model: nn.Module) -> list[Place]:
    """Every place that a model of this kind has, layer by layer. Raises AdapterError for an unknown kind."""
    kind, (path, layers) = kind_of(model), layers_of(model)
    return [
        Place(f"{path}.{number}.{site.module}", site.side, placement, number)
        for number in range(len(layers))
        for placement, sites in kind.sites.items()
        for site in sites
    ]


def places(model: nn.Module, config: IA3Config) -> list[Place]:
    """The places that `config` names. Raises AdapterError for a layer or placement that is not there."""
    missing = [p for p in config.placements if p not in kind_of(model).sites]
    if missing:
        raise AdapterError(f"a base of this kind has no place for {', '.join(missing)}")
    numbers = config.layer_numbers(len(layers_of(model)[1]))
    return [p for p in all_places(model) if p.placement in config.placements and p.layer in numbers]


def attach(model: nn.Module, config: IA3Config | None = None, *, check: bool = True) -> nn.Module:
    """Freeze `model`, put vectors of ones into it, return it: its logits are bit for bit what they were.

    Only the vectors (and the head with `train_head`) require gradients. LayerDrop is switched off, since it
    leaves vectors without a gradient, and so is the gradient of the convolutional front end.

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
    attach_places(model, places(model, config), config)
    if check:
        try:
            check_liveness(model)
        except AdapterError:
            detach(model)
            raise
    return model


def attach_places(model: nn.Module, wanted: list[Place], config: IA3Config) -> None:
    """Put a vector of ones at each place, free the head if it is trained, freeze all else."""
    model.requires_grad_(False)
    freeze_front_end(model)
    for place in wanted:
        module = model.get_submodule(place.module)
        vector = IA3Vector(width_of(model, place), place, module.weight.device)
        module.add_module(PREFIX + place.placement, vector)
        if place.side == "in":
            module.register_forward_pre_hook(vector.scale_input)
        else:
            module.register_forward_hook(vector.scale_output)
    model.ia3_config = config
    model.ia3_head = None
    if config.train_head:
        head = model.get_submodule(HEAD)
        model.ia3_head = {name: p.detach().clone() for name, p in head.named_parameters()}
        head.requires_grad_(True)


def width_of(model: nn.Module, place: Place) -> int:
    """How many numbers a vector has there."""
    weight = model.get_submodule(place.module).weight
    return weight.shape[1] if place.side == "in" else weight.shape[0]


def freeze_front_end(model: nn.Module) -> None:
    """No gradient through the convolutions (transformers asks for one in training), no LayerDrop."""
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    if getattr(model.config, "layerdrop", 0):
        model.config.layerdrop = 0.0


def detach(model: nn.Module) -> nn.Module:
    """Take the vectors out; a trained head gives way to the base's own. The model is the base again."""
    for module in model.modules():
        names = [n for n, child in module.named_children() if isinstance(child, IA3Vector)]
        for name in names:
            vector = getattr(module, name)
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                for key in [k for k, hook in hooks.items() if getattr(hook, "__self__", None) is vector]:
                    del hooks[key]
            delattr(module, name)
    if getattr(model, "ia3_head", None):
        with torch.no_grad():
            for name, p in model.get_submodule(HEAD).named_parameters():
                p.copy_(model.ia3_head[name])
        model.get_submodule(HEAD).requires_grad_(False)
    for name in ("ia3_config", "ia3_head"):
        if hasattr(model, name):
            delattr(model, name)
    return model


def is_attached(model: nn.Module) -> bool:
    return hasattr(model, "ia3_config")


def vectors(model: nn.Module) -> dict[str, IA3Vector]:
    """Path of the vector's module (`wav2vec2.encoder.layers.0.attention.k_proj.ia3_key`) → the vector."""
    return {name: module for name, module in model.named_modules() if isinstance(module, IA3Vector)}


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The vectors' parameters, then the head's if it is trained: what an optimiser gets."""
    for name, vector in vectors(model).items():
        yield name, vector.l
    if getattr(model, "ia3_head", None):
        for name, parameter in model.get_submodule(HEAD).named_parameters():
            yield f"{HEAD}.{name}", parameter


@dataclass(frozen=True)
class Size:
    """How many numbers are trained, by placement, and how many the base has."""

    placements: dict[str, int]
    layers: list[int]
    head: int
    base: int

    @property
    def trained(self) -> int:
        return sum(self.placements.values()) + self.head

    def table(self) -> str:
        """The table shown before training."""
        layers = ranges(self.layers)
        rows = [("placement", "layers", "numbers", "share of the base")]
        rows += [(p, layers, f"{n:,}", f"{n / self.base:.4%}") for p, n in self.placements.items()]
        if self.head:
            rows.append(("head", "", f"{self.head:,}", f"{self.head / self.base:.4%}"))
        rows.append(("all", "", f"{self.trained:,}", f"{self.trained / self.base:.4%} of {self.base:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows
        )


def size(model: nn.Module) -> Size:
    """Count what is attached."""
    counts: dict[str, int] = {}
    layers = set()
    for vector in vectors(model).values():
        placement = vector.place.placement
        counts[placement] = counts.get(placement, 0) + vector.l.numel()
        layers.add(vector.place.layer)
    head = sum(p.numel() for n, p in trainable(model) if n.startswith(HEAD))
    base = sum(p.numel() for p in model.parameters()) - sum(counts.values())
    order = [p for p in PLACEMENTS if p in counts]
    return Size({p: counts[p] for p in order}, sorted(layers), head, base)


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


# --- liveness: the commonest complaint about adapters is one that is silently not applied -----------------


def check_liveness(model: nn.Module) -> None:
    """Prove that every vector reaches the logits and gets a gradient; the model comes out as it went in.

    Vectors are drawn from [0.5, 1.5], a second of noise goes forward and backward. Runs once for each model
    object and set of placements: the result is remembered on the model.

    Raises:
        AdapterError: names the vectors that have no effect.
    """
    found = vectors(model)
    key = tuple(sorted(found))
    proven = model.__dict__.setdefault("ia3_proven", set())
    if not found or key in proven:
        return
    device = next(model.parameters()).device
    noise = probe(model, device)
    kept = {name: v.l.detach().clone() for name, v in found.items()}
    was_training, needs = model.training, {n: v.l.requires_grad for n, v in found.items()}
    model.eval()
    try:
        with torch.no_grad():
            plain = model(**noise).logits
            generator = torch.Generator().manual_seed(0)
            for v in found.values():
                v.l.copy_((torch.rand(v.l.shape, generator=generator) + 0.5).to(device))
        with torch.enable_grad():
            for v in found.values():
                v.l.requires_grad_(True)
            moved = model(**noise).logits
            score, wanted = moved.float().square().mean(), [v.l for v in found.values()]
            gradients = (
                torch.autograd.grad(score, wanted, allow_unused=True)
                if score.requires_grad
                else [None] * len(found)
            )
    finally:
        with torch.no_grad():
            for name, v in found.items():
                v.l.copy_(kept[name])
                v.l.requires_grad_(needs[name])
        model.train(was_training)
    dead = [n for n, g in zip(found, gradients, strict=True) if g is None or not bool(g.ne(0).any())]
    if dead or torch.equal(moved, plain):
        raise AdapterError(
            f"{len(dead) or len(found)} of {len(found)} IA³ vectors have no effect on "
            f"{type(model).__name__}: "
            f"{', '.join((dead or list(found))[:8])} (this base computes around these modules; leave these "
            f"placements out, or report the model)"
        )
    proven.add(key)


def probe(model: nn.Module, device: torch.device) -> dict[str, torch.Tensor]:
    """A second of noise at 16 kHz, (1, 16000), in the base's type."""
    wave = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    return {"input_values": wave.to(device, next(model.parameters()).dtype)}
