"""Merge an adapter into the weights, and take it out again exactly.

    merge(model)         an ordinary transformers model: its weights contain the vectors
    unmerge(model)       the base's own tensors again, bit for bit, and the vectors beside them
    ia3-speech adapters export speaker42 --out FOLDER     a checkpoint for transformers alone

In: a model with vectors attached. Out: the same model with the same logits:

    l ⊙ (W x + b)  =  (diag(l) W) x + l ⊙ b        an output vector: rows and bias
    W (l ⊙ x) + b  =  (W diag(l)) x + b            an input vector: columns, and the bias stays

The weight and bias of a norm, and of a convolution, are rows as well. Each product is computed in float64 and
rounded once, to the weight's type. Nothing is ever divided: `unmerge` puts back saved copies of the tensors
that were changed, so zeros and half precision come back as they were.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.autograd.graph import increment_version

import ia3_speech
from ia3_speech.adapters.card import base_name
from ia3_speech.adapters.io import check_finite
from ia3_speech.adapters.load import attach_adapter, base_of, read_sum
from ia3_speech.adapters.record import CARD, describe_base
from ia3_speech.adapters.spec import AdapterSpec, short_name
from ia3_speech.common.atomic import replacing, unexpected_file
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import detach, insert_vectors, is_attached, is_merged, trainable
from ia3_speech.model.base import DTYPES, Base, quiet_transformers
from ia3_speech.model.ia3 import PARAMETER, IA3Vector, TargetModule, attachment, vectors

BIOMETRIC_NOTE = (
    "\nIt is adapted to one person's voice, which makes it biometric data: pass it on only with that "
    "person's consent.\n"
)


@dataclass
class Merged:
    """The state from which `unmerge` restores a merged model."""

    config: IA3Config  # the adapter's placements, layers, train_head
    # Target module → l, the same parameter, so that an optimiser that holds it can continue
    vectors: dict[TargetModule, nn.Parameter]
    head: list[str]  # names of the trained head's parameters; empty for the base's head
    base_tensors: dict[str, torch.Tensor]  # name in the model → the base's tensor, of all that were replaced
    unfrozen: list[tuple]  # see `Attachment.unfrozen`


def merge(model: nn.Module) -> nn.Module:
    """Merge the attached vectors into the weights, in place; a trained head stays. Returns the model.

    The model then has the base's modules and parameters by name and no hook, and any program that uses
    transformers can save or run it. Until `unmerge`, attaching, saving an adapter and fingerprints are
    refused. Memory: a second copy of each tensor that changes.

    Raises:
        AdapterError: nothing is attached, or it is merged already; a module can't be merged into (quantised);
            a product is not finite in the weights' type, as happens in float16. The model is then unchanged.
    """
    if is_merged(model):
        raise AdapterError(
            "the adapter is merged into the model's weights already (unmerge(model) undoes it)"
        )
    if not is_attached(model):
        raise AdapterError("the model has no IA³ vectors to merge (load_adapter(model, NAME) comes first)")
    by_path, products = vectors(model), scaled_parameters(model)
    head = {name: p.detach().clone() for name, p in trainable(model) if name not in by_path}
    by_target = {vector.target: vector.l for vector in by_path.values()}
    merged = Merged(attachment(model).config, by_target, list(head), {}, attachment(model).unfrozen)
    detach(model).requires_grad_(False)
    merged.base_tensors = swap_tensors(model, products | head)
    attachment(model).merged = merged
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Put the base's tensors back, and the vectors beside them; returns the model. Raises AdapterError if
    nothing is merged.

    The tensors equal bit for bit those before `merge`; if the model was cast to another type meanwhile, they
    equal the base's tensors after that cast.
    """
    if not is_merged(model):
        raise AdapterError("no adapter is merged into the model's weights (merge(model) comes first)")
    merged: Merged = attachment(model).merged
    head = {name: model.get_parameter(name).data for name in merged.head}
    attachment(model).merged = None
    swap_tensors(model, merged.base_tensors)
    insert_vectors(model, list(merged.vectors), merged.config)
    attachment(model).unfrozen = merged.unfrozen
    swap_tensors(model, head)
    for vector in vectors(model).values():
        parameter = merged.vectors[vector.target]
        parameter.data = parameter.data.to(vector.l.device)
        setattr(vector, PARAMETER, parameter)
    return model


def swap_tensors(model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Let the parameters of these names hold `tensors`, and return their old tensors; nothing is copied."""
    old = {}
    for name, tensor in tensors.items():
        parameter = model.get_parameter(name)
        old[name] = parameter.data
        parameter.data = tensor.to(parameter.device, parameter.dtype)
        increment_version(parameter)  # as a write in place would: `fingerprint` caches its digest by it
    return old


def scaled_parameters(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameter name → its product with the vectors, in its type; the model is only read."""
    by_module: dict[str, list[IA3Vector]] = {}
    for vector in vectors(model).values():
        by_module.setdefault(vector.target.module, []).append(vector)
    products = {}
    for path, module_vectors in by_module.items():
        module = model.get_submodule(path)
        weight, bias = (module._parameters.get(name) for name in ("weight", "bias"))
        if weight is None or not weight.is_floating_point() or bias is not getattr(module, "bias", None):
            raise AdapterError(
                f"{path}: a {type(module).__name__} without an ordinary weight can't be merged into "
                f"(quantised or parametrised: merge on the base in float32)"
            )
        products[f"{path}.weight"] = scaled(f"{path}.weight", weight, module_vectors)
        output_vectors = [vector for vector in module_vectors if vector.target.side == "out"]
        if bias is not None and output_vectors:  # a vector of the input leaves the bias alone
            products[f"{path}.bias"] = scaled(f"{path}.bias", bias, output_vectors)
    return products


@torch.no_grad()
def scaled(name: str, parameter: torch.Tensor, vectors: list[IA3Vector]) -> torch.Tensor:
    """A weight (out, in, …) or a bias (out,) times its vectors, each along its side."""
    wide = torch.float32 if parameter.device.type == "mps" else torch.float64  # MPS has no float64
    result = parameter.detach().to(wide)
    for vector in vectors:
        shape = [-1 if n == vector.target.weight_axis else 1 for n in range(result.ndim)]
        result = result * vector.l.detach().to(result.device, wide).reshape(shape)
    rounded = result.to(parameter.dtype)
    if not bool(rounded.isfinite().all()):
        dtype = str(parameter.dtype).removeprefix("torch.")
        raise AdapterError(
            f"not merged: {name} would hold {result.abs().max():.4g}, and {dtype} ends at "
            f"{torch.finfo(parameter.dtype).max:.4g} (merge in float32 or bfloat16)"
        )
    return rounded


def export_terms(
    spec: AdapterSpec, out: Path, *, base: str | Path | None = None, dtype: str = "float32"
) -> Base:
    """Merge an adapter, or a sum, into its base, and `write_checkpoint`; returns the base.

    The base is loaded in float32, in which its weights identify it; the merged model is cast to `dtype`:
    float32, float16 or bfloat16.
    """
    loaded = base_of(spec, base, device="cpu")
    adapter = read_sum(loaded.model, spec)
    attach_adapter(loaded.model, adapter)
    merge(loaded.model).to(DTYPES[dtype])  # in this order each weight is rounded once
    labels = adapter.record.get("labels", {})
    # Short names, since a card must hold no path of this machine.
    published = AdapterSpec(tuple(replace(term, name=short_name(term)) for term in spec.terms))
    write_checkpoint(loaded, out, adapter=str(published), labels=labels)
    return loaded


def write_checkpoint(merged: Base, out: Path, *, adapter: str, labels: Mapping[str, str]) -> None:
    """Write a base with a merged adapter as an ordinary Hugging Face checkpoint, in one step, in place of an
    older checkpoint. The card names adapter and labels. Raises AdapterError if `out` is the base's folder, or
    holds files that are not a checkpoint's (a Trainer's folder), or a weight is not finite (float16 can't
    hold every base)."""

    def is_checkpoint_file(entry: Path) -> bool:
        return bool(re.fullmatch("language_model" if entry.is_dir() else CHECKPOINT_FILE, entry.name))

    if Path(merged.name).is_dir() and Path(merged.name).resolve() == out.resolve():
        raise AdapterError(f"{out}: is the base itself, which would be lost (give another `out`)")
    if other := unexpected_file(out, is_checkpoint_file):
        raise AdapterError(f"{out}: holds {other}, which would be lost (give another `out`)")
    check_finite(dict(merged.model.named_parameters()), "not written:")
    with replacing(out) as new, quiet_transformers():
        new.mkdir()
        merged.model.save_pretrained(new)
        merged.processor.save_pretrained(new)
        (new / CARD).write_text(checkpoint_card(merged, adapter, labels), encoding="utf-8")


CHECKPOINT_FILE = (  # what `save_pretrained` of a model, a processor or a tokenizer writes
    r"(generation_|processor_|preprocessor_|tokenizer_)?config\.json|(tokenizer|vocab|alphabet)\.json|"
    r"(special_tokens_map|added_tokens)\.json|(pytorch_)?model.*\.(safetensors|bin|json)|"
    r"(vocab|merges)\.txt|.*\.(model|jinja)|README\.md"
)


def checkpoint_card(merged: Base, adapter: str, labels: Mapping[str, str]) -> str:
    """The README.md of a merged checkpoint, with the Hub's front matter."""
    config = attachment(merged.model).merged.config
    name = base_name(merged.name)
    base_model = f"base_model: {name}\nbase_model_relation: finetune\n" if "/" in name else ""
    parts = [f"IA³ on {', '.join(config.placements)}; layers {config.layers}"] if config.placements else []
    parts += ["a trained head"] if config.train_head else []
    label_lines = "".join(f"- {label}: {value}\n" for label, value in labels.items())
    return (
        f"---\n{base_model}library_name: transformers\npipeline_tag: automatic-speech-recognition\n"
        f"tags:\n- ia3\n- ia3-speech\n---\n\n"
        f"# {name} with {adapter} merged into it\n\n"
        f"An ordinary transformers checkpoint ({type(merged.model).__name__}, {merged.dtype}): "
        f"`{merged.auto_class}` and `AutoProcessor` load it, and nothing else is needed.\n\n"
        f"- base: {name} ({describe_base(merged.fingerprint)}); its licence applies here too\n"
        f"- adapter: {adapter} ({'; '.join(parts)})\n{label_lines}"
        f"- merged by ia3-speech {ia3_speech.__version__}: each weight times its vector, rounded once. The "
        f"adapter can't be taken out of these files again, so keep it.\n"
        f"{BIOMETRIC_NOTE if labels.get('speaker') else ''}"
    )
