"""What tells one base from another, so that an adapter is never put on the wrong one.

In: a model. Out: a record of plain types for metadata files.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.attach import refuse_merged
from ia3_speech.model.ia3 import PREFIX, IA3Vector, head_of
from ia3_speech.model.int8 import is_int8
from ia3_speech.model.structural_copy import unwrap


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """What tells one base from another: architecture, sizes, and SHA-256s of its weights and buffers.

    It is the base's also while an adapter, perhaps with a head of its own, is attached. The digest is taken
    over the parameters as float32 in module order, without IA³ vectors. Of a weight norm its two parameters
    count, not the weight computed from them, which is rounded differently with every number of threads.
    `masked_spec_embed` is left out too: many published CTC checkpoints lack it, transformers then draws it at
    random, and recognition never uses it.

    A base of `load_base` keeps the digests of its weights before they were cast, also when it is cast or
    moved later; they are computed again where a weight was written to.

    Returns:
        architecture (the class), model_type, layers, hidden, ffn, vocabulary (sizes); sha256, of the
        parameters in the type `dtype`; and `buffers`, the same of the buffers that a checkpoint holds
        (statistics of batch norms), where there are any. Records of version 0.1 lack the latter.

    Raises:
        AdapterError: an adapter is merged into the weights, which are then not the base's.
    """
    model = unwrap(model)
    refuse_merged(model)
    config = encoder_config(model.config)
    sizes = {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "ffn": config.intermediate_size,
        "vocabulary": model.config.vocab_size,
    }
    record = {"architecture": type(model).__name__, "model_type": model.config.model_type, **sizes}
    state, (known_state, digests) = weights_state(model), model.__dict__.get("ia3_digests", ([], {}))
    if len(state) != len(known_state) or not all(map(same_values, known_state, state)):
        digests = weights_digests(model)
    model.__dict__["ia3_digests"] = (state, digests)
    return record | digests


def weights_digests(model: nn.Module) -> dict[str, str]:
    """dtype and sha256 of the parameters, and `buffers` where there are any."""
    dtype = "int8" if is_int8(model) else str(model.dtype).removeprefix("torch.")
    digests = {"dtype": dtype, "sha256": sha256_of(base_weights(model))}
    buffers = list(base_buffers(model))
    return digests | ({"buffers": sha256_of(buffers)} if buffers else {})


def sha256_of(tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def remember_weights(model: nn.Module, record: dict[str, Any]) -> None:
    """Let the model's weights, as they are now, have the digests of `record`: it was cast since."""
    digests = {name: record[name] for name in ("dtype", "sha256", "buffers") if name in record}
    model.__dict__["ia3_digests"] = (weights_state(model), digests)


def weights_state(model: nn.Module) -> list[tuple]:
    """By which it shows that a tensor was written to, moved or cast."""
    tensors = [p for n, p in model.named_parameters() if f".{PREFIX}" not in n] + list(base_buffers(model))
    return [(id(t), t._version, t.data_ptr(), t.dtype, t.device) for t in tensors]


def same_values(before: tuple, now: tuple) -> bool:
    """Whether a tensor was at most moved or cast: the same object, not written to, and its memory the same
    unless its type or device is another."""
    return before[:2] == now[:2] and (before[2] == now[2] or before[3:] != now[3:])


def base_buffers(model: nn.Module) -> Iterator[torch.Tensor]:
    """What a checkpoint holds beside parameters, where it is a number: statistics of batch norms."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set and buffer.is_floating_point():
                yield buffer


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
