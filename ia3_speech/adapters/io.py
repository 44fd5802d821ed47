"""One adapter on disk: its tensors, written and read beside its record.

In: a model with vectors attached, or an adapter's folder. Out: a folder (see `record` for its files), or an
`Adapter` in memory that is proven to belong to the model's base.

What PEFT cannot express (a vector on both sides of one linear layer: `ffn` with `ffn_output`) is written as
`ia3_speech.safetensors` under our own names, without `adapter_config.json`: PEFT then refuses the folder
instead of loading half of it. Vectors are fp32 always. PEFT's format: see `peft`.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ia3_speech.adapters.adapter import Adapter, Metadata
from ia3_speech.adapters.card import model_card
from ia3_speech.adapters.peft import peft_can_express, peft_config, peft_tensors, target_of_tensor
from ia3_speech.adapters.record import (
    CARD,
    FILES,
    METADATA,
    OWN_WEIGHTS,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    config_of,
    describe_base,
    read_metadata,
    same_base,
    write_metadata,
)
from ia3_speech.adapters.registry import REGISTRATION
from ia3_speech.adapters.weights import PEFT_PREFIX, count_by_placement, weights_file
from ia3_speech.atomic import remove_leftovers, replacing, unexpected_file
from ia3_speech.model.architectures import AdapterError, IA3Config, format_layers
from ia3_speech.model.attach import is_attached, refuse_merged, trainable
from ia3_speech.model.base import MINI, Base
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.ia3 import TargetModule, head_of, is_head, target_modules, unwrap, vector_size, vectors

logger = logging.getLogger(__name__)


# --- writing ------------------------------------------------------------------------------------------------


def save_adapter(
    model: nn.Module,
    folder: Path | str,
    *,
    base: Base | None = None,
    labels: dict[str, str] | None = None,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write the vectors attached to `model` (and its head, if that is trained) as a folder, in one step.

    Args:
        base: the base it was trained on, for its name and fingerprint; without it both are read off `model`.
        labels: speaker, accent, domain, language.
        training: anything JSON can hold.

    Raises:
        AdapterError: nothing is attached, or it is merged; or a parameter is not finite.
    """
    model = unwrap(model)
    refuse_merged(model)
    if not is_attached(model):
        raise AdapterError("the model has no IA³ vectors to save (attach(model, IA3Config()) comes first)")
    metadata = Metadata(
        base=base.name if base else name_of_base(model),
        fingerprint=base.fingerprint if base else fingerprint(model),
        config=model.ia3_config.to_json(),
        labels=dict(labels or {}),
        training=dict(training or {}),
    )
    return write_adapter(model, adapter_of(model, metadata), folder)


def name_of_base(model: nn.Module) -> str:
    """The base's name as transformers remembers it; a folder by its full path, as `load_base` records it."""
    name = getattr(model.config, "name_or_path", "") or ""
    if not name or not Path(name).is_dir():
        return name
    return "mini" if Path(name).resolve() == MINI.resolve() else str(Path(name).resolve())


def adapter_of(model: nn.Module, metadata: Metadata | None = None) -> Adapter:
    """What is attached to `model`, copied: fp32, on the CPU."""
    return Adapter(
        name=metadata.base if metadata else "",
        config=model.ia3_config,
        vectors={vector.target: to_fp32(vector.l) for vector in vectors(model).values()},
        head={name: to_fp32(p) for name, p in trainable(model) if is_head(name)},
        metadata=metadata,
    )


def to_fp32(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous copy in fp32 on the CPU."""
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def write_adapter(model: nn.Module, adapter: Adapter, folder: Path | str) -> Path:
    """Write an adapter of `model`'s base, which must have metadata, as a folder, in one step.

    Raises:
        AdapterError: a parameter is not finite; the folder holds files that are not an adapter's.
    """
    from safetensors.torch import save_file

    tensors = adapter.tensors
    if not_finite := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise AdapterError(f"not saved: {', '.join(not_finite[:5])} holds NaN or infinite values")
    if other := unexpected_file(folder, lambda entry: entry.name in (*FILES, REGISTRATION)):
        raise AdapterError(
            f"{folder}: holds {other}, which would be deleted (take {folder}/adapter, or another folder)"
        )
    model = unwrap(model)
    express = peft_can_express(model, adapter)
    remove_leftovers(folder)
    with replacing(folder) as new:
        new.mkdir()
        if express:
            save_file(peft_tensors(adapter), new / PEFT_WEIGHTS, {"format": "pt"})
            config = json.dumps(peft_config(model, adapter), indent=2, sort_keys=True)
            (new / PEFT_CONFIG).write_text(f"{config}\n", "utf-8")
        else:  # our own names, so that PEFT can't load half of it
            save_file(tensors, new / OWN_WEIGHTS, {"format": "pt"})
        record = write_metadata(new, adapter.metadata)
        counts = count_by_placement({name: tensor.numpy() for name, tensor in tensors.items()})
        (new / CARD).write_text(model_card(record, counts, peft=express), "utf-8")
    return Path(folder)


# --- reading ------------------------------------------------------------------------------------------------


def read_adapter(model: nn.Module, folder: Path) -> Adapter:
    """An adapter of `model`'s base, from disk; the model may carry another one, and is not changed.

    Raises:
        AdapterError: it belongs to another base (both are named); a tensor is missing, left over, of the
            wrong shape or not finite.
    """
    model, metadata, tensors = unwrap(model), read_metadata(folder), read_tensors(folder)
    if metadata is None:
        logger.warning("%s: written by another tool, so its base is checked by shapes alone", folder)
    else:
        check_base(folder, metadata, fingerprint(model))
    head = {key: tensor.float() for key, tensor in tensors.items() if is_head_tensor(key)}
    found = {target_of_tensor(model, k, t, folder): (k, t) for k, t in tensors.items() if k not in head}
    config = config_of(metadata) if metadata else config_from_tensors(list(found), bool(head))
    expected = target_modules(model, config)
    if metadata is not None:
        check_complete(folder, list(found), expected)
    path = head_of(model)
    base_head = dict(model.get_submodule(path).named_parameters(path)) if config.train_head else {}
    if head.keys() != base_head.keys():
        raise AdapterError(f"{folder}: the head is {', '.join(head)}, and the base's {', '.join(base_head)}")
    sizes = [(key, tensor, vector_size(model, target)) for target, (key, tensor) in found.items()]
    sizes += [(key, tensor, base_head[key].numel()) for key, tensor in head.items()]
    for key, tensor, size in sizes:
        if tensor.numel() != size:
            raise AdapterError(
                f"{folder}: {key} has {tensor.numel()} parameters, the base has {size} parameters there"
            )
    values = {target: tensor.flatten().float() for target, (_, tensor) in found.items()}
    for target in expected:  # PEFT may leave out single modules, whose vector is then 1
        values.setdefault(target, torch.ones(vector_size(model, target)))
    return Adapter(str(folder), config, values, head, metadata)


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The adapter's tensors by their names in the file. Raises AdapterError for none, or damaged ones."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = weights_file(folder)
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file}: {error} (damaged: copy it again)") from error
    if not tensors:
        raise AdapterError(f"{file}: holds no tensor")
    if not_finite := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise AdapterError(f"{file}: {', '.join(not_finite[:5])} holds NaN or infinite values")
    return {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in tensors.items()}


def is_head_tensor(key: str) -> bool:
    """Whether a tensor of the file is a head's; `lm_head.ia3_l` would be PEFT's vector on one."""
    return is_head(key) and not key.endswith(".ia3_l")


def config_from_tensors(targets: list[TargetModule], head: bool) -> IA3Config:
    """The configuration of an adapter that another tool wrote."""
    layers = format_layers(sorted({target.layer for target in targets}))
    return IA3Config(tuple({target.placement for target in targets}), layers, head)


def check_base(folder: Path, metadata: Metadata, found: dict[str, Any]) -> None:
    """Raises AdapterError where the recorded fingerprint is not the one found."""
    recorded = metadata.fingerprint
    if not same_base(recorded, found):
        raise AdapterError(
            f"{folder} was trained on another base, {metadata.base or 'unnamed'} "
            f"({describe_base(recorded)}); this one is {describe_base(found)} "
            f"(pass --base {metadata.base or 'with the right one'})"
        )
    if recorded.get("dtype") != found.get("dtype"):
        logger.warning(
            "%s: the base's weights are in %s and those it was trained on in %s, so they were compared by "
            "architecture and sizes alone (load_base compares weights, in any precision)",
            *(folder, found.get("dtype"), recorded.get("dtype")),
        )


def check_complete(folder: Path, found: list[TargetModule], expected: list[TargetModule]) -> None:
    """Raises AdapterError unless each vector that the record names is there, and no other."""
    missing, left_over = set(expected) - set(found), set(found) - set(expected)
    if missing or left_over:
        names = ", ".join(sorted(f"{t.module} ({t.placement})" for t in missing or left_over)[:5])
        raise AdapterError(
            f"{folder}: {'missing' if missing else 'left over'} beside its {METADATA}: {names}"
        )
