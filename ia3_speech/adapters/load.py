"""Load an adapter, or a weighted sum of adapters of one base, onto a model; or a base for it.

    load_adapter(model, "accent:0.7+medical:0.5")

In: a model, and an `AdapterSpec` or its text. Out: the model with vectors, an `Adapter`, or a folder.
A sum is

    vectors   1 + Σ wᵢ·(lᵢ − 1) = Σ wᵢ·lᵢ + (1 − Σ wᵢ)
    heads     Σ wᵢ·hᵢ + (1 − Σ wᵢ)·h         h is the base's head

Weight 0 is the base and weight 1 the adapter, bit for bit. Addition and negation of IA³ vectors: Zhang et al.
2023, "Composing Parameter-Efficient Modules with Arithmetic Operations", arXiv 2306.14870.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ia3_speech.adapters.io import base_head, check_finite, name_of_base, read_adapter, write_adapter
from ia3_speech.adapters.record import Adapter, is_ours, new_record
from ia3_speech.adapters.spec import AdapterSpec, parse_sum
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.common.errors import AdapterError, BaseError
from ia3_speech.model.architectures import IA3Config, format_layers, is_in_encoder_layers
from ia3_speech.model.attach import check_liveness, detach, insert_vectors, trainable
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.ia3 import layers_of, target_modules, vector_size

logger = logging.getLogger(__name__)

Head = Mapping[str, torch.Tensor]  # a head's parameters by their names


def load_adapter(model: nn.Module, adapter: Path | str, *, check: bool = True) -> nn.Module:
    """Attach an adapter to `model` in place, and remove the attached one; return the model.

    The model is then in eval mode, as after transformers' `from_pretrained`: dropout and masks are off.

    Args:
        model: any supported transformers model, for CTC or classification.
        adapter: a folder, ours or PEFT's, a registered name, or a sum of these, accent:0.7+medical:0.5.
        check: prove that each vector has an effect, as `attach` does.

    Raises:
        AdapterError: it belongs to another base (both are named); a tensor is missing, left over, of the
            wrong shape, or not finite.
        UnknownAdapter: there is no such adapter.
    """
    return attach_adapter(model, read_sum(model, parse_sum(adapter)), check=check)


@torch.inference_mode(False)
def attach_adapter(model: nn.Module, adapter: Adapter, *, check: bool = True) -> nn.Module:
    """Attach an adapter that is in memory; otherwise as `load_adapter`."""
    detach(model)
    try:
        insert_vectors(model, list(adapter.vectors), adapter.config)
        parameters = dict(trainable(model))
        with torch.no_grad():
            for name, tensor in adapter.tensors.items():
                parameters[name].copy_(tensor.reshape(parameters[name].shape))
        if check:
            check_liveness(model)
        if names := adapter.head and class_names(adapter):
            model.config.id2label = dict(enumerate(names))
            model.config.label2id = {name: number for number, name in enumerate(names)}
    except Exception:
        detach(model)
        raise
    warn_of_ones(adapter)
    return model.eval()


def warn_of_ones(adapter: Adapter) -> None:
    if all(bool((vector == 1).all()) for vector in adapter.vectors.values()) and not adapter.head:
        logger.warning("%s: every parameter is 1, so this adapter changes nothing", adapter.name)


def base_of(
    spec: AdapterSpec, base: str | Path | None = None, *, dtype: str = "float32", device: str | None = None
) -> Base:
    """Load the base that an adapter needs (see `AdapterSpec.base`). Raises BaseError as `load_base`."""
    name = spec.base(base)
    try:
        return load_base(name, dtype=dtype, device=device)
    except BaseError as error:
        if base or name == "mini":
            raise
        raise BaseError(f"{error} (the adapter {spec} records it; give its folder as `base`)") from None


def read_sum(model: nn.Module, spec: AdapterSpec) -> Adapter:
    """The sum of the terms, adapters of `model`'s base; a single term of weight 1 is its adapter unchanged.
    Raises AdapterError as `read_adapter` and `combine`."""
    adapters = [read_adapter(model, term) for term in spec.terms]
    if spec.is_single:
        return adapters[0]
    records = [{"name": t.name, "weight": t.weight, "sha256": weights_sha256(t.folder)} for t in spec.terms]
    training = {"expression": str(spec), "terms": records}
    return combine(model, adapters, [term.weight for term in spec.terms], name=str(spec), training=training)


def save_sum(spec: AdapterSpec, folder: Path, *, base: str | Path | None = None) -> Adapter:
    """Write the sum of the terms as a folder; returns the adapter. Raises as `base_of`, `read_sum`."""
    model = base_of(spec, base).model
    adapter = read_sum(model, spec)
    if not is_ours(adapter.record):  # a single term, which another tool wrote
        adapter = replace(adapter, record=combine_records(model, [adapter], adapter.config, {}))
    measured = ("gate", "confidence")  # of the files beside a single term
    record = {name: entry for name, entry in adapter.record.items() if name not in measured}
    write_adapter(model, replace(adapter, record=record), folder)
    return adapter


def combine(
    model: nn.Module,
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    *,
    name: str = "sum",
    training: dict[str, Any] | None = None,
) -> Adapter:
    """The weighted sum of adapters of `model`'s base; the model is not changed.

    It has the placements and layers of all of them; a vector that none of them has is ones. Raises
    AdapterError, whose message names the sum `name`, if a parameter of it is not finite, or the adapters are
    classifiers with different classes. `training`: this entry of its record.
    """
    classes = {tuple(names) for a in adapters if (names := a.head and class_names(a))}
    if len(classes) > 1:
        raise AdapterError(f"{name}: the classifiers have different classes, and can't be added")
    pairs = list(zip(adapters, weights, strict=True))
    targets = {target for adapter in adapters for target in adapter.vectors}
    layers = {target.layer for target in targets if is_in_encoder_layers(target.placement)}
    languages = {adapter.config.language for adapter in adapters}
    config = IA3Config(
        tuple({target.placement for target in targets}),
        "all" if len(layers) in (0, len(layers_of(model)[1])) else format_layers(sorted(layers)),
        any(adapter.config.train_head for adapter in adapters),
        window_of_sum(adapter.config.window for adapter in adapters),
        languages.pop() if len(languages) == 1 else None,
    )
    vectors = {}
    for target in target_modules(model, config):
        present = [(a.vectors[target], weight) for a, weight in pairs if target in a.vectors]
        size = vector_size(model, target)
        vectors[target] = weighted_sum(*zip(*present, strict=True)).float() if present else torch.ones(size)
    heads = [(adapter.head, weight) for adapter, weight in pairs if adapter.head]
    total = Adapter(
        name=name,
        config=config,
        vectors=vectors,
        head=sum_heads(heads, base_head(model)) if config.train_head else {},
        record=combine_records(model, adapters, config, training or {}),
    )
    check_finite(total.tensors, f"{name} (take smaller weights):")
    return total


def class_names(adapter: Adapter) -> list[str] | None:
    """The classes of a classifier's adapter; None if its record does not name them."""
    return adapter.record.get("fingerprint", {}).get("class_names")


def weighted_sum(
    tensors: Sequence[torch.Tensor], weights: Sequence[float], origin: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Σ wᵢ·tᵢ + (1 − Σ wᵢ)·origin, in float64: weight 1 gives exactly t, and weight 0 exactly the origin."""
    if list(weights) == [1]:
        return tensors[0]
    rest = fsum([1.0, *(-weight for weight in weights)])
    return sum(w * tensor.double() for w, tensor in zip(weights, tensors, strict=True)) + rest * origin


def window_of_sum(windows: Iterable[str | None]) -> str | None:
    """The window of a sum of adapters: the shortest."""
    return max(filter(None, windows), default=None)  # "short" > "30s"


def sum_heads(heads: Sequence[tuple[Head, float]], base: Head) -> dict[str, torch.Tensor]:
    """The weighted sum of heads, fp32. Adapters without a head have the base's, and are left out here."""
    weights = [weight for _, weight in heads]
    return {
        name: weighted_sum([head[name] for head, _ in heads], weights, tensor.double()).float()
        for name, tensor in base.items()
    }


def combine_records(
    model: nn.Module, adapters: Sequence[Adapter], config: IA3Config, training: dict[str, Any]
) -> dict[str, Any]:
    """The record of a sum: the base, the labels that all adapters share, and all speakers, since a sum that
    contains a person's adapter is data about that person."""
    known = [adapter.record for adapter in adapters if is_ours(adapter.record)]
    labels = [record.get("labels", {}) for record in known]
    first = labels[0] if len(known) == len(adapters) else {}
    shared = {key: label for key, label in first.items() if all(each.get(key) == label for each in labels)}
    return new_record(
        known[0].get("base", "") if known else name_of_base(model),
        known[0]["fingerprint"] if known else fingerprint(model),
        config.to_json(),
        labels=shared | join_speakers(labels),
        training=training,
    )


def join_speakers(labels: Iterable[dict[str, str]]) -> dict[str, str]:
    """The label `speaker` of a sum of adapters: all their speakers; empty if there are none."""
    names = (name for each in labels for name in str(each.get("speaker", "")).split("+") if name)
    speakers = "+".join(dict.fromkeys(names))
    return {"speaker": speakers} if speakers else {}


def labels_of_trained(
    init_adapter: str | None, labels: dict[str, str], speakers: Iterable[str] = ()
) -> dict[str, str]:
    """`labels` of a trained adapter, and the speakers of the adapter that training started from (a name, a
    folder, a sum). `speakers` are those of the training data: a single one is a label too, since the adapter
    is that person's. Raises UnknownAdapter."""
    terms = parse_sum(init_adapter).terms if init_adapter else ()
    if len(only := {*speakers}) == 1:
        labels = {"speaker": only.pop()} | labels
    return labels | join_speakers([*(term.record.get("labels", {}) for term in terms), labels])
