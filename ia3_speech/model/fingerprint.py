"""What tells one base from another, so that an adapter is never put on the wrong one.

In: a model. Out: a record of plain types for metadata files, its comparison, a line about it for messages.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.ia3 import IA3Vector, refuse_merged
from ia3_speech.model.int8 import is_int8


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """What tells one base from another: architecture, sizes, and a SHA-256 over its weights.

    The digest runs over the parameters as float32 in module order, IA³ vectors left out. Of a weight norm its
    two parameters count, not what is folded of them: that is rounded differently with every number of
    threads. `masked_spec_embed` is left out too: many published CTC checkpoints lack it, transformers then
    draws it at random, and recognition never uses it.

    Raises:
        AdapterError: an adapter is merged into the weights, so that they are not the base's.
    """
    refuse_merged(model)
    config = encoder_config(model.config)
    sizes = {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "ffn": config.intermediate_size,
        "vocabulary": model.config.vocab_size,
    }
    record = {"architecture": type(model).__name__, "model_type": model.config.model_type, **sizes}
    dtype = "int8" if is_int8(model) else str(model.dtype).removeprefix("torch.")
    return record | {"dtype": dtype, "sha256": weights_digest(model)}


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over `weights`; computed again only where a weight was written to or moved."""
    state = [(p.data_ptr(), p._version) for n, p in model.named_parameters() if ".ia3_" not in n]
    known = model.__dict__.get("ia3_digest")
    if known is None or known[0] != state:
        digest = hashlib.sha256()
        for tensor in weights(model):
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        known = model.__dict__["ia3_digest"] = (state, digest.hexdigest())
    return known[1]


def weights(model: nn.Module) -> Iterator[torch.Tensor]:
    """The base's parameters in module order, those of a weight norm (magnitude, direction) before the rest of
    their module's."""
    for _, module in model.named_modules():
        if isinstance(module, IA3Vector) or "parametrizations" in type(module).__module__.split("."):
            continue
        if type(module).__name__ in ("ParametrizationList", "_WeightNorm"):
            continue
        for normed in getattr(module, "parametrizations", {}).values():
            yield from normed.parameters()
        for name, parameter in module.named_parameters(recurse=False):
            if name != "masked_spec_embed":
                yield parameter


def same_base(recorded: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether two fingerprints are of one base. In another precision, architecture and sizes must do."""
    names = ["architecture", "layers", "hidden", "ffn", "vocabulary"]
    if recorded.get("dtype") == found.get("dtype"):
        names.append("sha256")
    return all(recorded.get(name) == found.get(name) for name in names)


def describe(record: dict[str, Any]) -> str:
    """One line for messages: `Wav2Vec2ForCTC, 4 layers of 384/1536, 29 symbols, weights 3f2a…`."""
    return (
        f"{record.get('architecture')}, {record.get('layers')} layers of {record.get('hidden')}/"
        f"{record.get('ffn')}, {record.get('vocabulary')} symbols, weights {str(record.get('sha256'))[:8]}"
    )
