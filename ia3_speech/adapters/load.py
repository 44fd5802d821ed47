"""Load an adapter, or a sum of adapters, onto a model; or a base for it.

    load_adapter(model, "accent:0.7+medical:0.5")

In: a model and what a user types for an adapter: a name, a path, or a sum (see `expressions`). Out: the model
with its vectors, or one `Adapter` in memory, or a folder.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ia3_speech.adapters.adapter import Adapter
from ia3_speech.adapters.combine import Method, combine, combine_metadata, join_speakers
from ia3_speech.adapters.expressions import Term, format_terms, is_single_adapter, parse_terms
from ia3_speech.adapters.io import read_adapter, write_adapter
from ia3_speech.adapters.record import describe_base, read_metadata, recorded_base, same_base
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.model.architectures import AdapterError
from ia3_speech.model.attach import check_liveness, detach, insert_vectors, trainable
from ia3_speech.model.base import Base, BaseError, load_base

logger = logging.getLogger(__name__)


def load_adapter(model: nn.Module, adapter: Path | str, *, check: bool = True) -> nn.Module:
    """Attach an adapter to `model` in place, instead of one that may be attached; return the model.

    The model is then in eval mode, as after transformers' `from_pretrained`: dropout and masks are off.

    Args:
        model: any supported transformers CTC model.
        adapter: a folder, ours or PEFT's, a registered name, or a sum of such, accent:0.7+medical:0.5.
        check: prove that each vector has an effect, as `attach` does.

    Raises:
        AdapterError: there is no such adapter; it belongs to another base (both are named); a tensor is
            missing, left over, of the wrong shape or not finite.
    """
    return attach_adapter(model, read_sum(model, parse_terms(adapter)), check=check)


@torch.inference_mode(False)
def attach_adapter(model: nn.Module, adapter: Adapter, *, check: bool = True) -> nn.Module:
    """Attach an adapter that is in memory, as `load_adapter` does with one on disk."""
    detach(model)
    try:
        insert_vectors(model, list(adapter.vectors), adapter.config)
        parameters = dict(trainable(model))
        with torch.no_grad():
            for name, tensor in adapter.tensors.items():
                parameters[name].copy_(tensor.reshape(parameters[name].shape))
        if check:
            check_liveness(model)
    except Exception:
        detach(model)
        raise
    if all(bool((vector == 1).all()) for vector in adapter.vectors.values()) and not adapter.head:
        logger.warning("%s: every parameter is 1, so this adapter changes nothing", adapter.name)
    return model.eval()


def read_sum(model: nn.Module, terms: Sequence[Term], method: Method = "linear") -> Adapter:
    """The adapter of `model`'s base that the terms add up to; one term of weight 1 is that adapter as it is.

    Raises:
        AdapterError: as `read_adapter` and `combine`; or two terms were trained on different bases.
    """
    check_same_base(terms)
    adapters = [read_adapter(model, term.folder) for term in terms]
    if is_single_adapter(terms):
        return adapters[0]
    training = {
        "expression": format_terms(terms),
        "method": method,
        "terms": [
            {"name": term.name, "weight": term.weight, "sha256": weights_sha256(term.folder)}
            for term in terms
        ],
    }
    adapters = [replace(adapter, name=term.name) for adapter, term in zip(adapters, terms, strict=True)]
    weights = [term.weight for term in terms]
    result = combine(model, adapters, weights, method=method, training=training)
    return replace(result, name=format_terms(terms))


def save_sum(
    terms: Sequence[Term], folder: Path, *, base: str | Path | None = None, method: Method = "linear"
) -> Adapter:
    """Write the adapter that the terms add up to as a folder; returns it.

    Args:
        base: as for `load_base_for`.

    Raises:
        UserError: as `load_base_for` and `read_sum`.
    """
    model = load_base_for(terms, base).model
    adapter = read_sum(model, terms, method)
    if adapter.metadata is None:  # one term, written by another tool
        adapter = replace(adapter, metadata=combine_metadata(model, [adapter], adapter.config, {}))
    write_adapter(model, adapter, folder)
    return adapter


def check_same_base(terms: Sequence[Term]) -> None:
    """Raises AdapterError where two terms' records name different bases."""
    records = [(term, metadata) for term in terms if (metadata := read_metadata(term.folder))]
    for term, metadata in records[1:]:
        first, other = records[0]
        if not same_base(other.fingerprint, metadata.fingerprint):
            raise AdapterError(
                f"{first.name} was trained on {other.base or 'a base'} ({describe_base(other.fingerprint)}), "
                f"and {term.name} on {metadata.base or 'another'} ({describe_base(metadata.fingerprint)}): "
                f"only adapters of one base can be added"
            )


def load_base_for(
    terms: Sequence[Term],
    base: str | Path | None = None,
    *,
    dtype: str = "float32",
    device: str | None = None,
) -> Base:
    """`base`, else the first base that a term records, else mini.

    Args:
        dtype: as for `load_base`.
        device: as for `load_base`.

    Raises:
        BaseError: it can't be loaded.
    """
    name = base or next(filter(None, (recorded_base(term.folder) for term in terms)), "mini")
    try:
        return load_base(name, dtype=dtype, device=device)
    except BaseError as error:
        if base or name == "mini":
            raise
        raise BaseError(
            f"{error} (the adapter {format_terms(terms)} records this base; pass --base)"
        ) from None


def labels_of_trained(init_adapter: str | None, labels: dict[str, str]) -> dict[str, str]:
    """`labels` of an adapter that is trained from another one (a name, a folder, a sum), whose speakers stay.

    Raises:
        UnknownAdapter: there is no such adapter.
    """
    terms = parse_terms(init_adapter) if init_adapter else []
    found = [read_metadata(term.folder) for term in terms]
    return labels | join_speakers([*(metadata.labels for metadata in found if metadata), labels])
