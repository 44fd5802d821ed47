"""An adapter on disk: tensors and record, written and read.

In: a model with vectors attached, or an adapter's folder. Out: a folder (see `record` for its files), or an
`Adapter` in memory that is proven to belong to the model's base. Vectors are always fp32.

Format: peft 0.21's IA3 tuner, `save_pretrained`. PEFT cannot express vectors on both sides of a linear layer
(`ffn` with `ffn_output`): such an adapter is written as `ia3_speech.safetensors`, without
`adapter_config.json`, so that PEFT refuses the folder instead of loading half of it.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ia3_speech.adapters.card import other_method, update_card
from ia3_speech.adapters.record import (
    FILES,
    METADATA,
    OWN_WEIGHTS,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    Adapter,
    describe_base,
    ia3_config,
    is_ours,
    new_record,
    same_base,
    write_record,
)
from ia3_speech.adapters.registry import REGISTRATION
from ia3_speech.adapters.spec import Term
from ia3_speech.adapters.weights import PEFT_PREFIX, read_weights
from ia3_speech.common.atomic import remove_leftovers, replacing, unexpected_file
from ia3_speech.common.errors import AdapterError
from ia3_speech.model import ia3
from ia3_speech.model.architectures import IA3Config, format_layers, is_in_encoder_layers
from ia3_speech.model.attach import is_attached, refuse_merged, trainable
from ia3_speech.model.base import Base, full_name
from ia3_speech.model.fingerprint import fingerprint

logger = logging.getLogger(__name__)
PEFT_VERSION = "0.21.2"  # of this layout


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
        base: gives the record its name and fingerprint; None: both are read from `model`.
        labels: speaker, accent, domain, language.
        training: JSON values, with the types of `record.Training`; the names of a classifier's classes are
            added to it.

    Raises:
        AdapterError: nothing is attached, or it is merged; or a parameter is not finite.
    """
    refuse_merged(model)
    if not is_attached(model):
        raise AdapterError("the model has no IA³ vectors to save (attach(model, IA3Config()) comes first)")
    classes = {}
    if ia3.head_parameters(model) and not ia3.is_recogniser(model):
        classes["classes"] = [name for _, name in sorted(model.config.id2label.items())]
    record = new_record(
        base.name if base else name_of_base(model),
        base.fingerprint if base else fingerprint(model),
        ia3.attachment(model).config.to_json(),
        labels=dict(labels or {}),
        training=classes | dict(training or {}),
    )
    return write_adapter(model, adapter_of(model, record), folder)


def name_of_base(model: nn.Module) -> str:
    """The base's name that transformers stored; a folder by its full path, as `load_base` records it."""
    name = getattr(model.config, "name_or_path", "")
    return full_name(name) if name else ""


def adapter_of(model: nn.Module, record: Mapping[str, Any] | None = None) -> Adapter:
    """A copy of the vectors and the head attached to `model`: fp32, on the CPU."""
    attached = ia3.vectors(model)
    return Adapter(
        name=record["base"] if record else "",
        config=ia3.attachment(model).config,
        vectors={vector.target: to_fp32(vector.l) for vector in attached.values()},
        head={name: to_fp32(p) for name, p in trainable(model) if name not in attached},
        record=record or {},
    )


def base_head(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters of the base's head by their names in the model, also while another head is trained."""
    head = ia3.attachment(model).base_head or ia3.head_parameters(model)
    return {name: to_fp32(tensor) for name, tensor in head.items()}


def to_fp32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def write_adapter(model: nn.Module, adapter: Adapter, folder: Path | str) -> Path:
    """Write an adapter of `model`'s base, with its record. Raises AdapterError as `write_folder`, and if a
    parameter is not finite."""
    from safetensors.torch import save_file

    check_finite(adapter.tensors, "not saved:")

    def write_tensors(new: Path) -> None:
        if peft_can_express(model, adapter):
            tensors = {  # in PEFT's shapes: (1, d) scales an input, (d, 1) an output with its bias
                f"{target.module}.ia3_l": vector.reshape((1, -1) if target.side == "in" else (-1, 1))
                for target, vector in adapter.vectors.items()
            }
            tensors = {PEFT_PREFIX + name: tensor for name, tensor in (tensors | adapter.head).items()}
            save_file(tensors, new / PEFT_WEIGHTS, {"format": "pt"})
            config = json.dumps(peft_config(model, adapter), indent=2, sort_keys=True)
            (new / PEFT_CONFIG).write_text(f"{config}\n", "utf-8")
        else:
            save_file(adapter.tensors, new / OWN_WEIGHTS, {"format": "pt"})

    return write_folder(folder, adapter.record, write_tensors)


def write_folder(
    folder: Path | str, record: Mapping[str, Any], write_tensors: Callable[[Path], None]
) -> Path:
    """Write an adapter's folder in one step: record, card, and the tensors, which `write_tensors` writes into
    the folder that it is given. Raises AdapterError if the folder holds files that are not an adapter's."""
    if other := unexpected_file(folder, lambda entry: entry.name in (*FILES, REGISTRATION)):
        raise AdapterError(
            f"{folder}: holds {other}, which would be deleted (take {folder}/adapter, or another folder)"
        )
    remove_leftovers(folder)
    with replacing(folder) as new:
        new.mkdir()
        write_tensors(new)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        write_record(new, {**record, "created": now})
        update_card(new, overwrite=True)  # PEFT writes a card too
    return Path(folder)


def peft_can_express(model: nn.Module, adapter: Adapter) -> bool:
    """Whether PEFT would load the whole adapter, and every vector would have its effect there.

    PEFT has one vector for each linear layer (not `ffn` beside `ffn_output`) and none on convolutions, norms
    and quantised layers; it saves no heads of lists of modules (`tdnn`) or single parameters
    (`layer_weights`). If attention does not call its projections (WavLM), PEFT's vectors have no effect.
    """
    modules = [target.module for target in adapter.vectors]
    if not modules or len(set(modules)) < len(modules):
        return False
    heads = [getattr(model, name) for name in top_level(adapter.head)]
    if any(isinstance(head, nn.ModuleList | nn.Parameter) for head in heads):
        return False
    if not all(isinstance(model.get_submodule(path), nn.Linear) for path in modules):
        return False
    parents = [model.get_submodule(path.rpartition(".")[0]) for path in modules]
    replaced_methods = ia3.architecture_of(model).replaced_methods
    return not any(hasattr(parent, method) for parent in parents for method in replaced_methods)


def top_level(names: Iterable[str]) -> list[str]:
    """`projector` of `projector.weight`, …"""
    return sorted({name.partition(".")[0] for name in names})


def peft_config(model: nn.Module, adapter: Adapter) -> dict[str, Any]:
    """adapter_config.json, with short module names for all layers, full names for a range of layers."""
    modules = [target.module for target in adapter.vectors]

    def names(paths: list[str]) -> list[str]:
        short = {path.rpartition(".")[2] for path in paths}
        if adapter.config.layers != "all":
            return sorted(paths)
        matched = {n for n, _ in model.named_modules() if n.rpartition(".")[2] in short}
        return sorted(short) if matched <= set(modules) else sorted(paths)

    return {
        "auto_mapping": {"base_model_class": type(model).__name__, "parent_library": type(model).__module__},
        "base_model_name_or_path": adapter.record["base"],
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "feedforward_modules": names([target.module for target in adapter.vectors if target.side == "in"]),
        "inference_mode": True,
        "init_ia3_weights": True,
        "modules_to_save": top_level(adapter.head) or None,
        "peft_type": "IA3",
        "peft_version": PEFT_VERSION,
        "revision": None,
        "target_modules": names(modules),
        "task_type": None,  # PEFT has none for CTC
    }


def read_adapter(model: nn.Module, term: Term) -> Adapter:
    """An adapter of `model`'s base, from disk; the model may carry another adapter, and is not changed.
    Raises AdapterError if its record is damaged, it is of another method than IA³ or of another base (both
    are named), or a tensor is missing, left over, of the wrong shape, or not finite."""
    term.refuse_damage()
    folder = term.folder
    if method := other_method(term.record):
        raise AdapterError(
            f"{folder}: its method is {method}; sums, banks, merging, and training from an adapter need IA³ "
            f"(transcribe and decode take it alone)"
        )
    check_base(folder, term.record, fingerprint(model))
    tensors = {name.removeprefix(PEFT_PREFIX): t for name, t in read_weights(folder, "pt").items()}
    head_of_base = base_head(model)
    head = {key: t.float() for key, t in tensors.items() if key in head_of_base}
    values = {
        target_of_tensor(model, key, tensor, folder): tensor.flatten().float()
        for key, tensor in tensors.items()
        if key not in head
    }
    if is_ours(term.record):
        config = ia3_config(term.record, folder)
        if differing := values.keys() ^ set(ia3.target_modules(model, config)):
            names = ", ".join(sorted(f"{t.module} ({t.placement})" for t in differing)[:5])
            raise AdapterError(f"{folder}: missing or left over beside its {METADATA}: {names}")
    else:
        layers = format_layers(sorted({t.layer for t in values if is_in_encoder_layers(t.placement)}))
        config = IA3Config(tuple({target.placement for target in values}), layers or "all", bool(head))
        head = head_of_base | head if head else head  # PEFT may save a classifier without its projector
    for target in ia3.target_modules(model, config):  # PEFT may leave out modules: their vectors are 1
        values.setdefault(target, torch.ones(ia3.vector_size(model, target)))
    adapter = Adapter(str(folder), config, values, head, term.record)
    check_fit(model, adapter)
    return adapter


def check_fit(model: nn.Module, adapter: Adapter) -> None:
    """Raises AdapterError unless an adapter's parameters are finite and have the base's sizes."""
    head = ia3.head_parameters(model) if adapter.config.train_head else {}
    if adapter.head.keys() != head.keys():
        names = f"{', '.join(adapter.head)}, and the base's {', '.join(head)}"
        raise AdapterError(f"{adapter.name}: the head is {names}")
    sizes = {target.vector_path: ia3.vector_size(model, target) for target in ia3.all_target_modules(model)}
    sizes |= {name: parameter.numel() for name, parameter in head.items()}
    for name, tensor in adapter.tensors.items():
        if tensor.numel() != sizes.get(name):
            raise AdapterError(
                f"{adapter.name}: {name} has {tensor.numel()} parameters, and the base has "
                f"{sizes.get(name, 'no target module')} there"
                f"{' (heads are of one vocabulary)' if name in head else ''}"
            )
    check_finite(adapter.tensors, f"{adapter.name}:")


def check_finite(tensors: Mapping[str, torch.Tensor], subject: str) -> None:
    """Raises AdapterError, whose message begins with `subject`, if a parameter is not finite."""
    if not_finite := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise AdapterError(f"{subject} {', '.join(not_finite[:5])} holds NaN or infinite values")


def target_of_tensor(model: nn.Module, key: str, tensor: torch.Tensor, folder: Path) -> ia3.TargetModule:
    """The target module of a tensor, by its name, ours or PEFT's, and its shape."""
    path, _, leaf = key.rpartition(".")
    for target in ia3.all_target_modules(model):
        if target.module != path:
            continue
        if leaf == ia3.PREFIX + target.placement and tensor.ndim == 1:
            return target
        if leaf == "ia3_l" and tensor.ndim == 2 and tensor.shape[0 if target.side == "in" else 1] == 1:
            return target
    raise AdapterError(
        f"{folder}: {key} of shape {tuple(tensor.shape)} has no target module in {type(model).__name__}"
    )


def check_base(adapter: Path | str, record: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Raises AdapterError if the recorded fingerprint differs from the base's."""
    if not is_ours(record):
        logger.warning("%s: written by another tool, so its base is checked by shapes alone", adapter)
        return
    recorded, name = record.get("fingerprint", {}), record.get("base")
    if not same_base(recorded, base):
        is_classifier = "classes" in recorded and "classes" not in base
        fix = f"load it with `base={name}`" if name else "load it with its base"
        raise AdapterError(
            f"{adapter} was trained on another base, {name or 'unnamed'} "
            f"({describe_base(recorded)}); this base is {describe_base(base)} "
            f"({'egs/keywords/local/classify.py takes it' if is_classifier else fix})"
        )
    if recorded.get("dtype") != base.get("dtype"):
        logger.warning(
            "%s: the base's weights are in %s, and the adapter was trained on weights in %s, so only "
            "architecture and sizes were compared (load_base compares weights, in any precision)",
            *(adapter, base.get("dtype"), recorded.get("dtype")),
        )
