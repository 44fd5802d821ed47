"""What tells one base from another, so that an adapter is never put on the wrong one.

In: a model. Out: a record of plain types for metadata files.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.attach import refuse_merged
from ia3_speech.model.ia3 import PREFIX, IA3Vector, head_of
from ia3_speech.model.int8 import is_int8


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """What tells one base from another: architecture, sizes, and a SHA-256 over its weights.

    It is the base's also while an adapter, perhaps with a head of its own, is attached. The digest is taken
    over the parameters as float32 in module order, without IA³ vectors. Of a weight norm its two parameters
    count, not the weight computed from them, which is rounded differently with every number of threads.
    `masked_spec_embed` is left out too: many published CTC checkpoints lack it, transformers then draws it at
    random, and recognition never uses it.

    Returns:
        architecture (the class), model_type, layers, hidden, ffn, vocabulary (sizes), dtype, sha256.

    Raises:
        AdapterError: an adapter is merged into the weights, which are then not the base's.
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
    """SHA-256 over `base_weights`; computed again only where a weight was written to or moved."""
    state = [(p.data_ptr(), p._version) for n, p in model.named_parameters() if f".{PREFIX}" not in n]
    known = model.__dict__.get("ia3_digest")
    if known is None or known[0] != state:
        digest = hashlib.sha256()
        for tensor in base_weights(model):
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        known = model.__dict__["ia3_digest"] = (state, digest.hexdigest())
    return known[1]


def base_weights(model: nn.Module) -> Iterator[torch.Tensor]:
    """The base's parameters in module order, those of a weight norm (magnitude, direction) before the others
    of their module; of a head that is trained, the base's own."""
    trained_head = getattr(model, "ia3_head", None)
    head = model.get_submodule(head_of(model)) if trained_head else None
    for module in model.modules():
        if isinstance(module, IA3Vector) or "parametrizations" in type(module).__module__.split("."):
            continue
        if type(module).__name__ in ("ParametrizationList", "_WeightNorm"):
            continue
        for normed in getattr(module, "parametrizations", {}).values():
            yield from normed.parameters()
        for name, parameter in module.named_parameters(recurse=False):
            if name != "masked_spec_embed":
                yield trained_head[name] if module is head else parameter
