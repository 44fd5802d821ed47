"""Merge an adapter into the weights, and take it out again, exactly.

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

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.autograd.graph import increment_version

import ia3_speech
from ia3_speech.adapters.expressions import Term, format_terms, short_name
from ia3_speech.adapters.load import attach_adapter, load_base_for, read_sum
from ia3_speech.adapters.record import describe_base
from ia3_speech.atomic import replacing, unexpected_file
from ia3_speech.model.architectures import AdapterError, IA3Config
from ia3_speech.model.attach import (
    MERGED,
    UnfrozenState,
    detach,
    insert_vectors,
    is_attached,
    is_merged,
    trainable,
)
from ia3_speech.model.base import DTYPES, Base
from ia3_speech.model.ia3 import PARAMETER, IA3Vector, TargetModule, unwrap, vectors

BIOMETRIC_NOTE = (
    "\nIt is adapted to one person's voice, which makes it biometric data: pass it on only with that "
    "person's consent.\n"
)

# A buffer of merged models that shows a cast to lower precision and back: two numbers that bfloat16, and
# float16, can't hold.
CAST_WITNESS, WITNESS_VALUES = "ia3_cast_witness", (1 + 2**-9, 1 + 2**-20)


@dataclass
class Merged:
    """What `unmerge` needs of a merged model.

    Attributes:
        config: the adapter's placements, layers, train_head.
        vectors: target module → l, the same parameter, so that an optimiser that holds it can continue.
        head: the names of the trained head's parameters; none where the head is the base's.
        base_tensors: name in the model → the base's own tensor, of all that were replaced, the head too.
        unfrozen: what the base was before vectors were attached.
        witness: the values of the model's `CAST_WITNESS` at the merge.
    """

    config: IA3Config
    vectors: dict[TargetModule, nn.Parameter]
    head: list[str]
    base_tensors: dict[str, torch.Tensor]
    unfrozen: UnfrozenState
    witness: torch.Tensor


def merge(model: nn.Module) -> nn.Module:
    """Merge the attached vectors into the weights, in place; a trained head stays. Returns the model.

    It has the base's modules and parameters by name, no hook, nothing that requires a gradient but a trained
    head, and can be saved or run by any program that uses transformers. Until `unmerge`, attaching, saving an
    adapter and fingerprints are refused.

    Memory: a second copy of each tensor that changes, and no more.

    Raises:
        AdapterError: nothing is attached, or it is merged already; rows have vectors of their own; a module
            can't be merged into (quantised, shared); a product is not finite in the weights' type, as happens
            in float16. The model is then as it was.
    """
    given, model = model, unwrap(model)
    if is_merged(model):
        raise AdapterError(
            "the adapter is merged into the model's weights already (unmerge(model) undoes it)"
        )
    if not is_attached(model):
        raise AdapterError("the model has no IA³ vectors to merge (load_adapter(model, NAME) comes first)")
    found, products = vectors(model), scaled_parameters(model)
    head = {name: p.detach().clone() for name, p in trainable(model) if name not in found}
    by_target = {vector.target: vector.l for vector in found.values()}
    witness = torch.tensor(WITNESS_VALUES).to(model.dtype)
    merged = Merged(model.ia3_config, by_target, list(head), {}, model.ia3_unfrozen, witness)
    detach(model).requires_grad_(False)
    merged.base_tensors = swap_tensors(model, products | head)
    setattr(model, MERGED, merged)
    model.register_buffer(CAST_WITNESS, witness.clone().to(model.device), persistent=False)
    return given


def unmerge(model: nn.Module) -> nn.Module:
    """Put the base's own tensors back, and the vectors beside them; returns the model.

    Bit for bit what it was before `merge`, unless the model was cast to another type meanwhile: then what
    the base would be after that cast.

    Raises:
        AdapterError: nothing is merged; the model was cast to a lower precision and back meanwhile, which
            rounded all weights but those that would be put back.
    """
    given, model = model, unwrap(model)
    if not is_merged(model):
        raise AdapterError("no adapter is merged into the model's weights (merge(model) comes first)")
    merged: Merged = getattr(model, MERGED)
    witness = getattr(model, CAST_WITNESS)
    if not torch.equal(witness.cpu(), merged.witness.to(witness.dtype)):
        raise AdapterError(
            "the model was cast to a lower precision and back since it was merged, so its other weights are "
            "no longer the base's (load the base again)"
        )
    delattr(model, CAST_WITNESS)
    head = {name: model.get_parameter(name).data for name in merged.head}
    delattr(model, MERGED)
    swap_tensors(model, merged.base_tensors)
    insert_vectors(model, list(merged.vectors), merged.config)
    model.ia3_unfrozen.trainable = merged.unfrozen.trainable
    swap_tensors(model, head)
    for vector in vectors(model).values():
        parameter = merged.vectors[vector.target]
        parameter.data = parameter.data.to(vector.l.device)
        setattr(vector, PARAMETER, parameter)
    return given


def swap_tensors(model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Let the parameters of these names hold `tensors`, and return what they held: nothing is copied."""
    old = {}
    for name, tensor in tensors.items():
        parameter = model.get_parameter(name)
        old[name] = parameter.data
        parameter.data = tensor.to(parameter.device, parameter.dtype)
        increment_version(parameter)  # as a write in place would: `fingerprint` caches its digest by it
    return old


def scaled_parameters(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameter name → its product with the vectors, in its own type; the model is only read.

    Raises:
        AdapterError: see `merge`; the module is named.
    """
    by_module: dict[str, list[IA3Vector]] = {}
    for vector in vectors(model).values():
        if vector.current_rows() is not None:
            raise AdapterError(
                f"{vector.target.vector_path}: the rows of a batch have vectors of their own here, and "
                f"merged weights hold one adapter for all (attach that one alone)"
            )
        by_module.setdefault(vector.target.module, []).append(vector)
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    products = {}
    for path, found in by_module.items():
        for name, parameter in parameters_of(model.get_submodule(path), path).items():
            scaling = [v for v in found if name == "weight" or v.target.side == "out"]
            if not scaling:  # the bias, where only the input has a vector
                continue
            if uses[id(parameter)] > 1:
                raise AdapterError(f"{path}.{name}: other modules share it, so nothing can be merged into it")
            products[f"{path}.{name}"] = scaled(f"{path}.{name}", parameter, scaling)
    return products


def parameters_of(module: nn.Module, path: str) -> dict[str, nn.Parameter]:
    """The module's weight, and its bias if it has one. AdapterError unless they are ordinary ones."""
    found = {name: module._parameters.get(name) for name in ("weight", "bias")}
    weight, bias = found.values()
    if weight is None or not weight.is_floating_point() or bias is not getattr(module, "bias", None):
        raise AdapterError(
            f"{path}: a {type(module).__name__} without an ordinary weight can't be merged into (quantised "
            f"or parametrised: merge on the base in float32)"
        )
    return {name: parameter for name, parameter in found.items() if parameter is not None}


@torch.no_grad()
def scaled(name: str, parameter: torch.Tensor, vectors: list[IA3Vector]) -> torch.Tensor:
    """A weight (out, in, …) or a bias (out,) times its vectors, each along its own side."""
    wide = torch.float32 if parameter.device.type == "mps" else torch.float64  # MPS has no float64
    result = parameter.detach().to(wide)
    for vector in vectors:
        dim = vector.target.weight_axis
        if dim >= result.ndim or result.shape[dim] != vector.l.numel():
            raise AdapterError(
                f"{name} of shape {tuple(result.shape)} can't be scaled by the {vector.l.numel()} parameters "
                f"of {vector.target.placement} (a grouped convolution's, or a norm's, input has no columns)"
            )
        shape = [-1 if n == dim else 1 for n in range(result.ndim)]
        result = result * vector.l.detach().to(result.device, wide).reshape(shape)
    rounded = result.to(parameter.dtype)
    if not bool(rounded.isfinite().all()):
        dtype = str(parameter.dtype).removeprefix("torch.")
        raise AdapterError(
            f"not merged: {name} would hold {result.abs().max():.4g}, and {dtype} ends at "
            f"{torch.finfo(parameter.dtype).max:.4g} (merge in float32 or bfloat16)"
        )
    return rounded


# --- an ordinary checkpoint ---------------------------------------------------------------------------------


def export_terms(
    terms: Sequence[Term], out: Path | str, *, base: str | Path | None = None, dtype: str = "float32"
) -> Base:
    """Load the base of an adapter, or of a sum of some, and `export_checkpoint` it with that; returns it.

    The base is loaded in float32, where it can be told from others by its weights; the merged one is cast.

    Args:
        base: as for `load_base_for`.
        dtype: of the checkpoint: float32, float16 or bfloat16.

    Raises:
        UserError: as `load_base_for`, `read_sum`, `attach_adapter` and `export_checkpoint`.
    """
    loaded = load_base_for(terms, base, device="cpu")
    adapter = read_sum(loaded.model, terms)
    merge(attach_adapter(loaded.model, adapter)).to(
        DTYPES[dtype]
    )  # in this order each weight is rounded once
    labels = adapter.metadata.labels if adapter.metadata else {}
    published = [replace(term, name=short_name(term)) for term in terms]  # a path is not for others to read
    export_checkpoint(loaded, out, adapter=format_terms(published), labels=labels)
    return loaded


def export_checkpoint(
    loaded: Base, out: Path | str, *, adapter: str = "", labels: Mapping[str, str] | None = None
) -> Path:
    """Write a base with its adapter merged as an ordinary Hugging Face checkpoint, in one step.

    config.json, model.safetensors, the processor's files and a card: `AutoModelForCTC.from_pretrained(out)`
    and `load_base(out)` read it. Afterwards the model is as it was, merged or not.

    Args:
        loaded: with an adapter attached or merged.
        out: an older checkpoint there is replaced.
        adapter: its name, for the card.
        labels: the adapter's, for the card.

    Raises:
        AdapterError: as `merge`; `out` is the base's folder, or holds files that are not a checkpoint's (a
            Trainer's folder); a weight is not finite (float16 can't hold every base).
    """
    if Path(loaded.name).is_dir() and Path(loaded.name).resolve() == Path(out).resolve():
        raise AdapterError(f"{out}: is the base itself, which would be lost (give another --out)")
    if other := unexpected_file(out, is_checkpoint_file):
        raise AdapterError(f"{out}: holds {other}, which would be lost (give another --out)")
    model = loaded.model
    was_merged = is_merged(model)
    if not was_merged:
        merge(model)
    try:
        not_finite = [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]
        if not_finite:
            raise AdapterError(f"not written: {', '.join(not_finite[:5])} holds NaN or infinite values")
        with replacing(out) as new, no_progress_bars():
            new.mkdir()
            model.save_pretrained(new)
            loaded.processor.save_pretrained(new)
            (new / "README.md").write_text(checkpoint_card(loaded, adapter, labels or {}), encoding="utf-8")
    finally:
        if not was_merged:
            unmerge(model)
    return Path(out)


def is_checkpoint_file(entry: Path) -> bool:
    """Whether `save_pretrained` of a model or a processor may have written this, by its name."""
    if entry.is_dir():
        return entry.name == "language_model"
    return entry.suffix in {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".md"}


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """transformers shows a progress bar even for a small file."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def checkpoint_card(loaded: Base, adapter: str, labels: Mapping[str, str]) -> str:
    """The README.md of a merged checkpoint, with the Hub's front matter. The model is merged."""
    model, config = loaded.model, getattr(loaded.model, MERGED).config
    is_local = Path(loaded.name).is_absolute()  # a path of this machine is not published
    name = Path(loaded.name).name if is_local else loaded.name
    base_model = f"base_model: {name}\nbase_model_relation: finetune\n" if "/" in name else ""
    parts = [f"IA³ on {', '.join(config.placements)}; layers {config.layers}"] if config.placements else []
    parts += ["a trained head"] if config.train_head else []
    label_lines = "".join(f"- {label}: {value}\n" for label, value in labels.items())
    dtype, architecture = str(model.dtype).removeprefix("torch."), type(model).__name__
    return (
        f"---\n{base_model}library_name: transformers\npipeline_tag: automatic-speech-recognition\n"
        f"tags:\n- ia3\n- ia3-speech\n---\n\n"
        f"# {name} with {adapter or 'an IA³ adapter'} merged into it\n\n"
        f"An ordinary transformers checkpoint ({architecture}, {dtype}): `AutoModelForCTC` and "
        f"`AutoProcessor` load it, and nothing else is needed.\n\n"
        f"- base: {name} ({describe_base(loaded.fingerprint)}); its licence applies here too\n"
        f"- adapter: {adapter or 'unnamed'} ({'; '.join(parts)})\n{label_lines}"
        f"- merged by ia3-speech {ia3_speech.__version__}: each weight times its vector, rounded once. The "
        f"adapter can't be taken out of these files again, so keep it.\n"
        f"{BIOMETRIC_NOTE if labels.get('speaker') else ''}"
    )
