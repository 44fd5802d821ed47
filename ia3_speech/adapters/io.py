"""One adapter on disk: PEFT's IA³ files, and our own record beside them.

    adapter_config.json, adapter_model.safetensors      PEFT's layout: `PeftModel.from_pretrained` reads it
    ia3_speech.json                                     which base, which placements, whose voice, how good
    README.md                                           the same for people and the Hub (see `card`)

What PEFT cannot express (a vector on both sides of one linear layer: `ffn` with `ffn_output`) is written as
`ia3_speech.safetensors` under our own names, without `adapter_config.json`: PEFT then refuses the folder
instead of loading half of it. Vectors are fp32 always. PEFT's format: see `peft_layout`.
"""

import json
import logging
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

import ia3_speech
from ia3_speech import atomic
from ia3_speech.adapters import card
from ia3_speech.adapters import registry as store
from ia3_speech.adapters.peft import peft_can_express, peft_config, peft_tensors, place_of
from ia3_speech.adapters.record import (
    CARD,
    FILES,
    METADATA,
    OWN_WEIGHTS,
    PEFT_CONFIG,
    PEFT_PREFIX,
    PEFT_WEIGHTS,
    sizes_of,
    tensors_file,
)
from ia3_speech.cli import UserError
from ia3_speech.model import base, ia3
from ia3_speech.model.ia3 import AdapterError, IA3Config

logger = logging.getLogger(__name__)

SCHEMA = 1  # of ia3_speech.json


@dataclass
class Metadata:
    """`ia3_speech.json`: what an adapter is, without opening its tensors.

    Args:
        base: the base's name: mini, a folder's full path, a hub id; "" where nobody knew it
        fingerprint: see `base.fingerprint`
        config: placements, layers, train_head
        labels: speaker, accent, domain, language, …
        training: what the trainer wants remembered (data, seed, epochs, seconds, dev WER, command)
        scores: one entry a test set, see `card.read_score`; rates as fractions
    """

    base: str
    fingerprint: dict[str, Any]
    config: dict[str, Any]
    labels: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)
    version: str = ia3_speech.__version__
    created: str = ""
    schema: int = SCHEMA


@dataclass
class Adapter:
    """An adapter in memory, on no model.

    Attributes:
        name: how it was asked for, for messages.
        config: placements, layers, train_head.
        vectors: place → l, (d,), fp32.
        head: the trained head's parameters by their names in the model (`lm_head.weight`), or nothing.
        metadata: the record beside its tensors; None where other tools wrote it.
    """

    name: str
    config: IA3Config
    vectors: dict[ia3.TargetModule, torch.Tensor]
    head: dict[str, torch.Tensor] = field(default_factory=dict)
    metadata: Metadata | None = None


def save_adapter(
    model: nn.Module,
    folder: Path | str,
    *,
    base: "base.Base | None" = None,
    labels: dict[str, str] | None = None,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write the vectors attached to `model` (and its head, if that is trained) as a folder, in one step.

    Args:
        base: the base it was trained on, for its name and fingerprint; without it both are read off `model`.
        labels: speaker, accent, domain, language.
        training: anything JSON can hold.

    Raises:
        AdapterError: nothing is attached, or it is merged; or a number is not finite.
    """
    ia3.refuse_merged(model)
    if not ia3.is_attached(model):
        raise AdapterError("the model has no IA³ vectors to save (attach(model, IA3Config()) comes first)")
    metadata = Metadata(
        base=base.name if base else name_under(model),
        fingerprint=base.fingerprint if base else fingerprint_under(model),
        config=ia3.config_record(model.ia3_config),
        labels=dict(labels or {}),
        training=dict(training or {}),
    )
    return write_adapter(model, adapter_of(model, metadata), folder)


def name_under(model: nn.Module) -> str:
    """The base's name as transformers remembers it; a folder by its full path, as `load_base` records it."""
    name = getattr(model.config, "name_or_path", "") or ""
    if not name or not Path(name).is_dir():
        return name
    return "mini" if Path(name).resolve() == base.MINI.resolve() else str(Path(name).resolve())


def adapter_of(model: nn.Module, metadata: Metadata | None = None) -> Adapter:
    """What is attached to `model`, copied: fp32, on the CPU."""
    head = {n: p for n, p in ia3.trainable(model) if ia3.is_head(n)}
    vectors = {v.place: v.l for v in ia3.vectors(model).values()}
    return Adapter(
        name=metadata.base if metadata else "",
        config=model.ia3_config,
        vectors={place: exact(tensor) for place, tensor in vectors.items()},
        head={name: exact(tensor) for name, tensor in head.items()},
        metadata=metadata,
    )


def exact(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in fp32 on the CPU, in one piece."""
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def write_adapter(model: nn.Module, adapter: Adapter, folder: Path | str) -> Path:
    """Write an adapter of `model`'s base as a folder, in one step. Its metadata must be there.

    Raises:
        AdapterError: a number is not finite; the folder holds something else than an adapter.
    """
    from safetensors.torch import save_file

    numbers = {place.vector: tensor for place, tensor in adapter.vectors.items()} | adapter.head
    broken = [name for name, tensor in numbers.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise AdapterError(f"not saved: {', '.join(broken[:5])} holds NaN or infinite numbers")
    if other := atomic.unexpected_file(folder, lambda entry: entry.name in (*FILES, store.RECORD)):
        raise AdapterError(
            f"{folder}: holds {other} and is to be replaced (take {folder}/adapter, or another)"
        )
    metadata = asdict(adapter.metadata)
    metadata["created"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    express = peft_can_express(model, adapter)
    with atomic.replacing(folder) as new:
        new.mkdir()
        if express:
            save_file(peft_tensors(adapter), new / PEFT_WEIGHTS, {"format": "pt"})
            record = peft_config(model, adapter)
            (new / PEFT_CONFIG).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        else:  # our own names, so that PEFT can't load half of it
            save_file(numbers, new / OWN_WEIGHTS, {"format": "pt"})
        (new / METADATA).write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", "utf-8")
        sizes = sizes_of({name: tensor.numpy() for name, tensor in numbers.items()})
        (new / CARD).write_text(card.text(metadata, sizes, peft=express), "utf-8")
    return Path(folder)


def fingerprint_under(model: nn.Module) -> dict[str, Any]:
    """The base's fingerprint although an adapter, perhaps with a head of its own, is attached."""
    head = getattr(model, "ia3_head", None)
    if not head:
        return base.fingerprint(model)
    module = model.get_submodule(ia3.head_of(model))
    trained = {name: p.detach().clone() for name, p in module.named_parameters()}
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(head[name])
        record = base.fingerprint(model)
        for name, p in module.named_parameters():
            p.copy_(trained[name])
    return record


def read_metadata(folder: Path | str) -> Metadata | None:
    """The record beside an adapter's tensors, or None where other tools wrote it.

    Raises:
        AdapterError: it is there and can't be read.
    """
    file = Path(folder) / METADATA
    if not file.exists():
        return None
    try:
        record = base.read_json(file)
    except base.BaseError as error:
        raise AdapterError(f"{error} (damaged: copy the adapter again)") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise AdapterError(
            f'{file}: "schema" is not {SCHEMA} (a newer ia3-speech may have written it: upgrade)'
        )
    known = {name: record[name] for name in Metadata.__dataclass_fields__ if name in record}
    try:
        metadata = Metadata(**known)
        IA3Config(**(metadata.config | {"placements": tuple(metadata.config["placements"])}))
        metadata.fingerprint.keys()
    except (AttributeError, KeyError, TypeError) as error:
        raise AdapterError(f"{file}: {error} (damaged: copy the adapter again)") from error
    return metadata


def load_adapter(model: nn.Module, folder_or_name: Path | str, *, check: bool = True) -> nn.Module:
    """Attach an adapter to `model` in place, instead of one that may be attached; return the model.

    The model is then in eval mode, as after transformers' `from_pretrained`: dropout and masks are off.

    Args:
        model: any supported transformers CTC model.
        folder_or_name: a folder, ours or PEFT's, or a name in the store (see `adapters.store`), or a sum of
            such, accent:0.7+medical:0.5 (see `adapters.arithmetic`).
        check: prove that each vector has an effect, as `ia3.attach` does.

    Raises:
        AdapterError: there is no such adapter; it belongs to another base (both are named); a tensor is
            missing, left over, of the wrong shape or not finite.
    """
    from ia3_speech.adapters import combine as arithmetic
    from ia3_speech.adapters import expressions

    return put(model, arithmetic.read(model, expressions.terms(folder_or_name)), check=check)


def read_adapter(model: nn.Module, folder: Path) -> Adapter:
    """An adapter of `model`'s base, off the disk; the model may carry another one, and stays as it is.

    Raises:
        AdapterError: as `load_adapter`.
    """
    metadata, tensors = read_metadata(folder), read_tensors(folder)
    if metadata is None:
        logger.warning("%s: written by another tool, so its base is checked by shapes alone", folder)
    else:
        check_base(folder, metadata, fingerprint_under(model))
    head = {key: tensor.float() for key, tensor in tensors.items() if is_head(key)}
    found = {place_of(model, k, t, folder): (k, t) for k, t in tensors.items() if k not in head}
    config = config_of(metadata, list(found), bool(head))
    if metadata is not None:
        check_complete(folder, list(found), ia3.target_modules(model, config))
    name = ia3.head_of(model)
    wanted = dict(model.get_submodule(name).named_parameters(name)) if config.train_head else {}
    if head.keys() != wanted.keys():
        raise AdapterError(f"{folder}: the head is {', '.join(head)}, and the base's {', '.join(wanted)}")
    sizes = [(key, tensor, ia3.width_of(model, place)) for place, (key, tensor) in found.items()]
    sizes += [(key, tensor, wanted[key].numel()) for key, tensor in head.items()]
    for key, tensor, size in sizes:
        if tensor.numel() != size:
            raise AdapterError(
                f"{folder}: {key} has {tensor.numel()} numbers, the base has {size} numbers there"
            )
    vectors = {place: tensor.flatten().float() for place, (_, tensor) in found.items()}
    for place in ia3.target_modules(model, config):  # PEFT may leave out single modules: there it scales by 1
        vectors.setdefault(place, torch.ones(ia3.width_of(model, place)))
    return Adapter(str(folder), config, vectors, head, metadata)


@torch.inference_mode(False)
def put(model: nn.Module, adapter: Adapter, *, check: bool = True) -> nn.Module:
    """Attach an adapter that is in memory: what `load_adapter` does after reading."""
    ia3.detach(model)
    try:
        ia3.attach_vectors(model, list(adapter.vectors), adapter.config)
        targets, given = dict(ia3.trainable(model)), {p.vector: v for p, v in adapter.vectors.items()}
        with torch.no_grad():
            for name, tensor in (given | adapter.head).items():
                targets[name].copy_(tensor.reshape(targets[name].shape))
        if check:
            ia3.check_liveness(model)
    except Exception:
        ia3.detach(model)
        raise
    if all(bool((v == 1).all()) for v in adapter.vectors.values()) and not adapter.head:
        logger.warning("%s: every number is 1, so this adapter changes nothing", adapter.name)
    return model.eval()


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The adapter's tensors by their names in the file. Raises AdapterError for none, or broken ones."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        file = tensors_file(folder)
    except UserError as error:
        raise AdapterError(str(error)) from None
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file}: {error} (damaged: copy it again)") from error
    if not tensors:
        raise AdapterError(f"{file}: holds no tensor")
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise AdapterError(f"{file}: {', '.join(broken[:5])} holds NaN or infinite numbers")
    return {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in tensors.items()}


def is_head(key: str) -> bool:
    """Whether a tensor of the file is a head's; `lm_head.ia3_l` would be PEFT's vector on one."""
    return ia3.is_head(key) and not key.endswith(".ia3_l")


def config_of(metadata: Metadata | None, target_modules: list[ia3.TargetModule], head: bool) -> IA3Config:
    if metadata is None:
        layers = ia3.ranges(sorted({p.layer for p in target_modules}))
        return IA3Config(tuple({p.placement for p in target_modules}), layers, head)
    record = metadata.config
    return IA3Config(tuple(record["placements"]), record["layers"], record["train_head"])


def check_base(folder: Path, metadata: Metadata, found: dict[str, Any]) -> None:
    recorded = metadata.fingerprint
    if not base.same_base(recorded, found):
        raise AdapterError(
            f"{folder} was trained on another base, {metadata.base or 'unnamed'} "
            f"({base.describe(recorded)}); this one is {base.describe(found)} "
            f"(pass --base {metadata.base or 'with the right one'})"
        )
    if recorded.get("dtype") != found.get("dtype"):
        logger.info(
            "the base is in %s, so it was compared by architecture and sizes alone", found.get("dtype")
        )


def check_complete(folder: Path, found: list[ia3.TargetModule], wanted: list[ia3.TargetModule]) -> None:
    """Every vector that the record promises is there, and no other."""
    missing, left_over = set(wanted) - set(found), set(found) - set(wanted)
    if missing or left_over:
        names = ", ".join(sorted(f"{p.module} ({p.placement})" for p in missing or left_over)[:5])
        raise AdapterError(
            f"{folder}: {'missing' if missing else 'left over'} beside its {METADATA}: {names}"
        )
