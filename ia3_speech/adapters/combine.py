"""Adapters as numbers: what `accent:0.7+medical:0.5` adds up to is an adapter too.

    --adapter accent+medical             both
    --adapter accent:0.7+medical:0.5     so much of each
    --adapter medical+general:-1         without what general learnt
    python -m ia3_speech.adapters combine accent:0.7+medical:0.5 --name clinic

In: terms (see `adapters.expressions`), or adapters in memory. Out: an `Adapter` of the same base. With wᵢ the
terms' weights, at every place, in float64 and rounded to fp32 once:

    linear    Σ wᵢ·lᵢ + (1 − Σ wᵢ)           a place that a term lacks is 1 there
    log       Π lᵢ^wᵢ = exp(Σ wᵢ·log lᵢ)     where all numbers are positive
    heads     Σ wᵢ·hᵢ + (1 − Σ wᵢ)·h         h is the base's own; so by either method

Weight 0 is the base and weight 1 the adapter, bit for bit. Addition and negation of IA³ vectors: Zhang et al.
2023, "Composing Parameter-Efficient Modules with Arithmetic Operations", arXiv 2306.14870.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ia3_speech.adapters import expressions
from ia3_speech.adapters import io as files
from ia3_speech.adapters import registry as store
from ia3_speech.adapters.expressions import Term, is_one, written
from ia3_speech.adapters.io import Adapter, Metadata
from ia3_speech.model import ia3
from ia3_speech.model.base import Base, BaseError, load_base, read_json
from ia3_speech.model.fingerprint import describe, same_base
from ia3_speech.model.ia3 import AdapterError, IA3Config

Method = Literal["linear", "log"]


# ---- numbers


def mix(
    tensors: Sequence[torch.Tensor], weights: Sequence[float], origin: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Σ wᵢ·tᵢ + (1 − Σ wᵢ)·origin, in float64: a weight of 1 gives t and one of 0 the origin, exactly."""
    rest = fsum([1.0, *(-weight for weight in weights)])
    return sum(w * tensor.double() for w, tensor in zip(weights, tensors, strict=True)) + rest * origin


def product(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Π tᵢ^wᵢ of positive tensors, in float64 by way of logarithms."""
    return sum(w * tensor.double().log() for w, tensor in zip(weights, tensors, strict=True)).exp()


# ---- adapters in memory


def combine(
    model: nn.Module,
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    *,
    method: Method = "linear",
    training: dict[str, Any] | None = None,
) -> Adapter:
    """The weighted sum (or product) of adapters of `model`'s base; the model stays as it is.

    Its placements and layers are all that any of them has; what none has is filled with ones.

    Args:
        method: linear, or log: multiplicatively, for vectors that are positive.
        training: what its record says of how it was made.

    Raises:
        AdapterError: a head is of another vocabulary; the method is log and a number is not positive; a
            result is not finite.
    """
    pairs = list(zip(adapters, weights, strict=True))
    config = union(model, adapters)
    result = Adapter(
        name="+".join(f"{adapter.name}:{weight:g}" for adapter, weight in pairs),
        config=config,
        vectors={place: vector(model, place, pairs, method) for place in ia3.target_modules(model, config)},
        head=head(model, pairs) if config.train_head else {},
        metadata=record(model, adapters, config, training or {}),
    )
    numbers = {place.vector: tensor for place, tensor in result.vectors.items()} | result.head
    wide = [name for name, tensor in numbers.items() if not bool(tensor.isfinite().all())]
    if wide:
        raise AdapterError(f"{result.name}: too large for fp32 in {wide[0]} (take smaller weights)")
    return result


def interpolate(model: nn.Module, a: Adapter, b: Adapter, weight: float) -> Adapter:
    """weight·a + (1 − weight)·b."""
    return combine(model, [a, b], [weight, 1 - weight])


def average(model: nn.Module, adapters: Sequence[Adapter]) -> Adapter:
    """The mean of many."""
    return combine(model, adapters, [1 / len(adapters)] * len(adapters))


def union(model: nn.Module, adapters: Sequence[Adapter]) -> IA3Config:
    """The least placements × layers that hold all vectors of all of them."""
    found = {place for adapter in adapters for place in adapter.vectors}
    numbers = {place.layer for place in found if place.placement != "conv"}  # which stands below all layers
    return IA3Config(
        tuple({place.placement for place in found}),
        "all" if len(numbers) in (0, len(ia3.layers_of(model)[1])) else ia3.ranges(sorted(numbers)),
        any(adapter.config.train_head for adapter in adapters),
    )


def vector(
    model: nn.Module, place: ia3.TargetModule, pairs: Sequence[tuple[Adapter, float]], method: Method
) -> torch.Tensor:
    """(d,), fp32: one place of a combination."""
    having = [(adapter, weight) for adapter, weight in pairs if place in adapter.vectors]
    if not having:
        return torch.ones(ia3.width_of(model, place))
    given, weights = [adapter.vectors[place] for adapter, _ in having], [weight for _, weight in having]
    if method == "linear":
        return mix(given, weights).float()
    for (adapter, _), tensor in zip(having, given, strict=True):
        if not bool((tensor > 0).all()):
            raise AdapterError(
                f"{adapter.name}: layer {place.layer}, {place.placement} holds {float(tensor.min()):g}, and "
                f"the method log needs positive numbers (take the method linear)"
            )
    return product(given, weights).float()


def head(model: nn.Module, pairs: Sequence[tuple[Adapter, float]]) -> dict[str, torch.Tensor]:
    """The combined head's parameters, fp32; an adapter without a head has the base's."""
    path = ia3.head_of(model)
    kept = getattr(model, "ia3_head", None) or dict(model.get_submodule(path).named_parameters())
    own = {f"{path}.{name}": files.exact(tensor) for name, tensor in kept.items()}
    having = [(adapter, weight) for adapter, weight in pairs if adapter.head]
    for adapter, _ in having:
        for name, tensor in adapter.head.items():
            if tensor.shape != own[name].shape:
                raise AdapterError(
                    f"{adapter.name}: its {name} is for {len(tensor)} symbols, and the base's for "
                    f"{len(own[name])}: heads of different vocabularies can't be added, since their rows "
                    f"stand for different characters (train both on one base)"
                )
    weights = [weight for _, weight in having]
    return {
        name: mix([adapter.head[name] for adapter, _ in having], weights, tensor.double()).float()
        for name, tensor in own.items()
    }


def record(
    model: nn.Module, adapters: Sequence[Adapter], config: IA3Config, training: dict[str, Any]
) -> Metadata:
    """Metadata of a combination: its base, and the labels that all of them share.

    The speakers stay, whoever else is in it: what is made of a person's adapter is data about that person.
    """
    known = [adapter.metadata for adapter in adapters if adapter.metadata]
    first = known[0].labels if len(known) == len(adapters) else {}
    labels = {key: label for key, label in first.items() if all(m.labels.get(key) == label for m in known)}
    labels |= joined_speaker([m.labels for m in known])
    return Metadata(
        base=known[0].base if known else getattr(model.config, "name_or_path", ""),
        fingerprint=known[0].fingerprint if known else files.fingerprint_under(model),
        config=ia3.config_record(config),
        labels=labels,
        training=training,
    )


def joined_speaker(labels: Iterable[dict[str, str]]) -> dict[str, str]:
    """The label `speaker` of what is made of several: all of theirs; empty where it is nobody's."""
    speakers = dict.fromkeys(name for one in labels for name in one.get("speaker", "").split("+") if name)
    return {"speaker": "+".join(speakers)} if speakers else {}


def labels_after(start: str | None, labels: dict[str, str]) -> dict[str, str]:
    """`labels` of an adapter that is trained from another one (a name, a folder, a sum), whose speakers stay.

    Raises:
        UnknownAdapter: there is no such adapter.
    """
    found = [files.read_metadata(term.folder) for term in (expressions.terms(start) if start else [])]
    return labels | joined_speaker([*(one.labels for one in found if one), labels])


# ---- adapters on disk


def read(model: nn.Module, parts: Sequence[Term], method: Method = "linear") -> Adapter:
    """The adapter of `model`'s base that the terms add up to; one term of weight 1 is that adapter as it is.

    Raises:
        AdapterError: as `files.read_adapter` and `combine`; or two terms were trained on different bases.
    """
    check_one_base(parts)
    adapters = [files.read_adapter(model, part.folder) for part in parts]
    if is_one(parts):
        return adapters[0]
    training = {
        "expression": written(parts),
        "method": method,
        "terms": [
            {"name": part.name, "weight": part.weight, "sha256": store.weights_sha256(part.folder)}
            for part in parts
        ],
    }
    named = [replace(adapter, name=part.name) for adapter, part in zip(adapters, parts, strict=True)]
    weights = [part.weight for part in parts]
    return replace(combine(model, named, weights, method=method, training=training), name=written(parts))


def save(
    parts: Sequence[Term], folder: Path, *, base: str | Path | None = None, method: Method = "linear"
) -> Adapter:
    """Write what the terms add up to as a folder; returns it.

    Args:
        base: as for `load_base_of`.

    Raises:
        UserError: as `load_base_of` and `read`.
    """
    model = load_base_of(parts, base).model
    adapter = read(model, parts, method)
    if adapter.metadata is None:  # one term, written by another tool
        adapter = replace(adapter, metadata=record(model, [adapter], adapter.config, {}))
    files.write_adapter(model, adapter, folder)
    return adapter


def check_one_base(parts: Sequence[Term]) -> None:
    """Raises AdapterError where two terms' records name different bases: no `--base` would cure that."""
    records = [(part, metadata) for part in parts if (metadata := files.read_metadata(part.folder))]
    for part, metadata in records[1:]:
        first, other = records[0]
        if not same_base(other.fingerprint, metadata.fingerprint):
            raise AdapterError(
                f"{first.name} was trained on {other.base or 'a base'} ({describe(other.fingerprint)}), and "
                f"{part.name} on {metadata.base or 'another'} ({describe(metadata.fingerprint)}): only "
                f"adapters of one base can be added"
            )


def load_base_of(parts: Sequence[Term], base: str | Path | None = None, **options: Any) -> Base:
    """`base`, else the first base that a term records, else mini.

    Args:
        options: of `load_base`.

    Raises:
        BaseError: it can't be loaded.
    """
    wanted = base or next(filter(None, (recorded_base(part.folder) for part in parts)), "mini")
    try:
        return load_base(wanted, **options)
    except BaseError as error:
        if base or wanted == "mini":
            raise
        raise BaseError(f"{error} (the adapter {written(parts)} records this base; pass --base)") from None


def recorded_base(adapter: Path) -> str | None:
    """The base that an adapter was trained on, from our record or PEFT's; None where neither says."""
    if metadata := files.read_metadata(adapter):
        return metadata.base or None
    found = read_json(adapter / files.PEFT_CONFIG)
    return found.get("base_model_name_or_path") if isinstance(found, dict) else None
