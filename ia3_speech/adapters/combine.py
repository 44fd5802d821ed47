"""Arithmetic on adapters: what `accent:0.7+medical:0.5` adds up to is an adapter too.

    --adapter accent+medical             both
    --adapter accent:0.7+medical:0.5     weighted
    --adapter medical+general:-1         medical less general
    ia3-speech adapters combine accent:0.7+medical:0.5 --name clinic

In: adapters of one base in memory, and weights. Out: an `Adapter` of the same base. With wᵢ the weights, for
every target module, in float64 and rounded to fp32 once:

    linear    Σ wᵢ·lᵢ + (1 − Σ wᵢ)           where an adapter has no vector, lᵢ is 1
    log       Π lᵢ^wᵢ = exp(Σ wᵢ·log lᵢ)     where all parameters are positive
    heads     Σ wᵢ·hᵢ + (1 − Σ wᵢ)·h         h is the base's own; by either method

Weight 0 is the base and weight 1 the adapter, bit for bit. Addition and negation of IA³ vectors: Zhang et al.
2023, "Composing Parameter-Efficient Modules with Arithmetic Operations", arXiv 2306.14870.
"""

from collections.abc import Iterable, Sequence
from math import fsum
from typing import Any, Literal

import torch
from torch import nn

from ia3_speech.adapters.adapter import Adapter, Metadata
from ia3_speech.adapters.io import name_of_base, to_fp32
from ia3_speech.model.architectures import AdapterError, IA3Config, format_layers
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.ia3 import TargetModule, head_of, layers_of, target_modules, vector_size

Method = Literal["linear", "log"]


def combine(
    model: nn.Module,
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    *,
    method: Method = "linear",
    training: dict[str, Any] | None = None,
) -> Adapter:
    """The weighted sum (or product) of adapters of `model`'s base; the model is not changed.

    Its placements and layers are all that any of them has; a vector that none of them has is ones.

    Args:
        method: linear, or log: multiplicatively, for vectors that are positive.
        training: what its record says of how it was made.

    Raises:
        AdapterError: a head is of another vocabulary; the method is log and a parameter is not positive; a
            result is not finite.
    """
    pairs = list(zip(adapters, weights, strict=True))
    config = union(model, adapters)
    result = Adapter(
        name="+".join(f"{adapter.name}:{weight:g}" for adapter, weight in pairs),
        config=config,
        vectors={t: combine_vectors(model, t, pairs, method) for t in target_modules(model, config)},
        head=combine_heads(model, pairs) if config.train_head else {},
        metadata=combine_metadata(model, adapters, config, training or {}),
    )
    too_large = [name for name, tensor in result.tensors.items() if not bool(tensor.isfinite().all())]
    if too_large:
        raise AdapterError(f"{result.name}: too large for fp32 in {too_large[0]} (take smaller weights)")
    return result


def weighted_sum(
    tensors: Sequence[torch.Tensor], weights: Sequence[float], origin: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Σ wᵢ·tᵢ + (1 − Σ wᵢ)·origin, in float64: a weight of 1 gives t and one of 0 the origin, exactly."""
    rest = fsum([1.0, *(-weight for weight in weights)])
    return sum(w * tensor.double() for w, tensor in zip(weights, tensors, strict=True)) + rest * origin


def weighted_product(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Π tᵢ^wᵢ of positive tensors, in float64 by way of logarithms."""
    return sum(w * tensor.double().log() for w, tensor in zip(weights, tensors, strict=True)).exp()


def union(model: nn.Module, adapters: Sequence[Adapter]) -> IA3Config:
    """The fewest placements × layers that hold all vectors of all of them."""
    targets = {target for adapter in adapters for target in adapter.vectors}
    layers = {target.layer for target in targets if target.placement != "conv"}  # conv is below all layers
    return IA3Config(
        tuple({target.placement for target in targets}),
        "all" if len(layers) in (0, len(layers_of(model)[1])) else format_layers(sorted(layers)),
        any(adapter.config.train_head for adapter in adapters),
    )


def combine_vectors(
    model: nn.Module, target: TargetModule, pairs: Sequence[tuple[Adapter, float]], method: Method
) -> torch.Tensor:
    """(d,), fp32: one vector of a combination."""
    present = [(adapter, weight) for adapter, weight in pairs if target in adapter.vectors]
    if not present:
        return torch.ones(vector_size(model, target))
    vectors = [adapter.vectors[target] for adapter, _ in present]
    weights = [weight for _, weight in present]
    if method == "linear":
        return weighted_sum(vectors, weights).float()
    for (adapter, _), vector in zip(present, vectors, strict=True):
        if not bool((vector > 0).all()):
            raise AdapterError(
                f"{adapter.name}: layer {target.layer}, {target.placement} holds {float(vector.min()):g}, "
                f"and the method log needs positive numbers (take the method linear)"
            )
    return weighted_product(vectors, weights).float()


def combine_heads(model: nn.Module, pairs: Sequence[tuple[Adapter, float]]) -> dict[str, torch.Tensor]:
    """The combined head's parameters, fp32; an adapter without a head has the base's."""
    path = head_of(model)
    base_head = getattr(model, "ia3_head", None) or dict(model.get_submodule(path).named_parameters())
    base = {f"{path}.{name}": to_fp32(tensor) for name, tensor in base_head.items()}
    present = [(adapter, weight) for adapter, weight in pairs if adapter.head]
    for adapter, _ in present:
        for name, tensor in adapter.head.items():
            if tensor.shape != base[name].shape:
                raise AdapterError(
                    f"{adapter.name}: its {name} is for {len(tensor)} symbols, and the base's for "
                    f"{len(base[name])}: heads of different vocabularies can't be added, since their rows "
                    f"stand for different characters (train both on one base)"
                )
    weights = [weight for _, weight in present]
    return {
        name: weighted_sum([adapter.head[name] for adapter, _ in present], weights, tensor.double()).float()
        for name, tensor in base.items()
    }


def combine_metadata(
    model: nn.Module, adapters: Sequence[Adapter], config: IA3Config, training: dict[str, Any]
) -> Metadata:
    """Metadata of a combination: its base, and the labels that all of them share.

    The speakers stay, whatever is added: what is made of a person's adapter is data about that person.
    """
    known = [adapter.metadata for adapter in adapters if adapter.metadata]
    first = known[0].labels if len(known) == len(adapters) else {}
    labels = {key: label for key, label in first.items() if all(m.labels.get(key) == label for m in known)}
    return Metadata(
        base=known[0].base if known else name_of_base(model),
        fingerprint=known[0].fingerprint if known else fingerprint(model),
        config=config.to_json(),
        labels=labels | join_speakers([metadata.labels for metadata in known]),
        training=training,
    )


def join_speakers(labels: Iterable[dict[str, str]]) -> dict[str, str]:
    """The label `speaker` of what is made of several adapters: all of theirs; empty where none has one."""
    speakers = dict.fromkeys(name for one in labels for name in one.get("speaker", "").split("+") if name)
    return {"speaker": "+".join(speakers)} if speakers else {}
