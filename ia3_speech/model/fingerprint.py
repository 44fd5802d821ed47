"""Fingerprints of bases, so that an adapter is never attached to another base.

In: a model. Out: a record of plain types for metadata files.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.attach import refuse_merged
from ia3_speech.model.ia3 import PREFIX, IA3Vector, attachment, head_parameters, is_recogniser
from ia3_speech.model.int8 import dtype_of


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Architecture, sizes, and SHA-256s of the weights and buffers of a model's base, also while an adapter,
    perhaps with a head, is attached.

    A base of `load_base` keeps the digests of its weights before they were cast, also if it is cast or moved
    later; after a write to a weight they are computed again. Raises AdapterError if an adapter is merged into
    the weights.

    Returns:
        architecture (the class), model_type, layers, hidden, ffn, vocabulary (sizes); for a classifier
        `classes` instead of the vocabulary, and their `class_names`, if they have names; for a bare encoder
        neither; sha256 of the parameters as float32, and their type, `dtype`; and `buffers`, the SHA-256 of
        the buffers that a checkpoint holds (statistics of batch norms), if there are any.
    """
    refuse_merged(model)
    config = encoder_config(model.config)
    names = {"layers": "num_hidden_layers", "hidden": "hidden_size", "ffn": "intermediate_size"}
    if not hasattr(config, names["ffn"]):  # Whisper's name
        names["ffn"] = "encoder_ffn_dim"
    sizes = {name: getattr(config, attribute) for name, attribute in names.items()}
    if is_recogniser(model):
        sizes["vocabulary"] = model.config.vocab_size
    elif head_parameters(model):
        sizes["classes"] = model.config.num_labels
        names = [model.config.id2label[number] for number in range(sizes["classes"])]
        if names != [f"LABEL_{number}" for number in range(sizes["classes"])]:  # transformers' default
            sizes["class_names"] = names
    record = {"architecture": type(model).__name__, "model_type": model.config.model_type, **sizes}
    known_state, digests = attachment(model).digests
    state = weights_state(model)
    if state != known_state:
        digests = {"dtype": dtype_of(model), "sha256": tensors_sha256(base_weights(model))}
        if buffers := list(base_buffers(model)):
            digests["buffers"] = tensors_sha256(buffers)
    attachment(model).digests = (state, digests)
    return record | digests


def tensors_sha256(tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def remember_weights(model: nn.Module, record: dict[str, Any]) -> None:
    """Record for the weights, which were cast meanwhile, the digests in `record`."""
    digests = {name: record[name] for name in ("dtype", "sha256", "buffers") if name in record}
    attachment(model).digests = (weights_state(model), digests)


def weights_state(model: nn.Module) -> list[tuple]:
    """The state of each weight: it changes if the tensor is replaced or written to, not if it is cast."""
    tensors = [p for n, p in model.named_parameters() if f".{PREFIX}" not in n] + list(base_buffers(model))
    return [(id(tensor), tensor._version) for tensor in tensors]


def base_buffers(model: nn.Module) -> Iterator[torch.Tensor]:
    """The floating-point buffers that a checkpoint holds: statistics of batch norms."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set and buffer.is_floating_point():
                yield buffer


def base_weights(model: nn.Module) -> Iterator[torch.Tensor]:
    """The base's parameters in module order, without IA³ vectors; the base's CTC head, even if another is
    trained; no classifier's head, which is drawn at random if a checkpoint has none.

    A weight norm gives its magnitude and direction, before the other parameters of their module: the weight
    computed from them is rounded differently with every number of threads. `masked_spec_embed` is left out:
    many published CTC checkpoints lack it, transformers then draws it at random, and recognition never uses
    it.
    """
    base_head = attachment(model).base_head or {}
    left_out = set() if is_recogniser(model) else head_parameters(model).keys()
    for path, module in model.named_modules():
        if isinstance(module, IA3Vector | ParametrizationList):
            continue
        for normed in getattr(module, "parametrizations", {}).values():
            yield from normed.parameters()
        for name, parameter in module.named_parameters(recurse=False):
            full_name = f"{path}.{name}" if path else name
            if name != "masked_spec_embed" and full_name not in left_out:
                yield base_head.get(full_name, parameter)
