"""Fold an adapter into the weights, and take it out again, exactly.

    merge(model)         a plain transformers model: its weights hold the vectors, none stands beside them
    unmerge(model)       the base's own tensors again, bit for bit, and the vectors act
    python -m ia3_speech.adapters export speaker42 --out FOLDER     a checkpoint that loads without us

In: a model with vectors attached. Out: the same model, whose logits stay what they were:

    l ⊙ (W x + b)  =  (diag(l) W) x + l ⊙ b        an output vector: rows and bias
    W (l ⊙ x) + b  =  (W diag(l)) x + b            an input vector: columns, and the bias stays

A norm's weight and bias and a convolution's are rows like any other. Each product is taken in float64 and
rounded once, to the weight's type. Nothing is ever divided: what `unmerge` puts back are kept copies, of
the tensors that were changed and no others, so zeros and half precision come back as they were.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.autograd.graph import increment_version

import ia3_speech
from ia3_speech import atomic
from ia3_speech.adapters import combine as arithmetic
from ia3_speech.adapters import io as files
from ia3_speech.adapters.expressions import Term
from ia3_speech.model import ia3
from ia3_speech.model.base import DTYPES, Base
from ia3_speech.model.fingerprint import describe
from ia3_speech.model.frozen import Before
from ia3_speech.model.ia3 import MERGED, AdapterError, IA3Config, is_merged

PERSONAL = (
    "\nIt is adapted to one person's voice, which makes it biometric data: pass it on only with that "
    "person's consent.\n"
)


@dataclass
class Merged:
    """What is kept beside a merged model.

    Attributes:
        config: the adapter's placements, layers, train_head.
        vectors: place → l, the very parameter, so that an optimiser that holds it can go on.
        head: the names of the trained head's parameters; none where the head is the base's.
        kept: name in the model → the base's own tensor, of all that was exchanged, the head too.
        before: what the base was before vectors were attached.
    """

    config: IA3Config
    vectors: dict[ia3.TargetModule, nn.Parameter]
    head: list[str]
    kept: dict[str, torch.Tensor]
    before: Before


def merge(model: nn.Module) -> nn.Module:
    """Fold the attached vectors into the weights, in place; a trained head stays. Returns the model.

    It has the base's modules and parameters by name, no hook, nothing that requires a gradient but a trained
    head, and can be saved or run by anything that knows transformers. Until `unmerge` it is a base of its own
    kind: attaching, saving an adapter and fingerprints are refused.

    Memory: a second copy of each tensor that changes, and no more.

    Raises:
        AdapterError: nothing is attached, or it is merged already; rows have vectors of their own; a module
            can't be folded into (quantised, shared); a product is not finite in the weights' type, as happens
            in float16. The model is then as it was.
    """
    if is_merged(model):
        raise AdapterError(
            "the adapter is merged into the model's weights already (unmerge(model) undoes it)"
        )
    if not ia3.is_attached(model):
        raise AdapterError("the model has no IA³ vectors to merge (load_adapter(model, NAME) comes first)")
    found, folded = ia3.vectors(model), fold(model)
    head = {name: p.detach().clone() for name, p in ia3.trainable(model) if name not in found}
    vectors = {v.place: v.l for v in found.values()}
    merged = Merged(model.ia3_config, vectors, list(head), {}, model.ia3_before)
    ia3.detach(model).requires_grad_(False)
    merged.kept = exchange(model, folded | head)
    setattr(model, MERGED, merged)
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Put the base's own tensors back and let the vectors act again; returns the model.

    Bit for bit what it was before `merge`, unless the model was cast to another type meanwhile: then what
    the base would be after that cast.

    Raises:
        AdapterError: nothing is merged.
    """
    if not is_merged(model):
        raise AdapterError("no adapter is merged into the model's weights (merge(model) comes first)")
    merged: Merged = getattr(model, MERGED)
    head = {name: model.get_parameter(name).data for name in merged.head}
    delattr(model, MERGED)
    exchange(model, merged.kept)
    ia3.attach_vectors(model, list(merged.vectors), merged.config)
    model.ia3_before.trained = merged.before.trained
    exchange(model, head)
    for vector in ia3.vectors(model).values():
        parameter = merged.vectors[vector.place]
        parameter.data = parameter.data.to(vector.l.device)
        vector.l = parameter
    return model


def exchange(model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Let the parameters of these names hold `tensors`, and return what they held: nothing is copied."""
    old = {}
    for name, tensor in tensors.items():
        parameter = model.get_parameter(name)
        old[name] = parameter.data
        parameter.data = tensor.to(parameter.device, parameter.dtype)
        increment_version(parameter)  # as a write in place would: `base.fingerprint` remembers by it
    return old


def fold(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameter name → its product with the vectors, in its own type; the model is only read.

    Raises:
        AdapterError: see `merge`; the module is named.
    """
    by_module: dict[str, list[ia3.IA3Vector]] = {}
    for vector in ia3.vectors(model).values():
        if vector.rows is not None:
            raise AdapterError(
                f"{vector.place.vector}: the rows of a batch have vectors of their own here, and merged "
                f"weights hold one adapter for all (attach that one alone)"
            )
        by_module.setdefault(vector.place.module, []).append(vector)
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    folded = {}
    for path, found in by_module.items():
        for name, parameter in parameters_of(model.get_submodule(path), path).items():
            scaled = [v for v in found if name == "weight" or v.place.side == "out"]
            if not scaled:  # the bias, where only the input has a vector
                continue
            if uses[id(parameter)] > 1:
                raise AdapterError(f"{path}.{name}: other modules share it, so nothing can be folded into it")
            folded[f"{path}.{name}"] = product(f"{path}.{name}", parameter, scaled)
    return folded


def parameters_of(module: nn.Module, path: str) -> dict[str, nn.Parameter]:
    """The module's weight, and its bias if it has one. Raises AdapterError unless they are plain tensors."""
    found = {name: module._parameters.get(name) for name in ("weight", "bias")}
    weight, bias = found.values()
    if weight is None or not weight.is_floating_point() or bias is not getattr(module, "bias", None):
        raise AdapterError(
            f"{path}: a {type(module).__name__} without a plain weight can't be folded into (quantised or "
            f"parametrised: merge on the base in float32)"
        )
    return {name: parameter for name, parameter in found.items() if parameter is not None}


@torch.no_grad()
def product(name: str, parameter: torch.Tensor, vectors: list[ia3.IA3Vector]) -> torch.Tensor:
    """A weight (out, in, …) or a bias (out,) times its vectors, each along its own side."""
    wide = torch.float32 if parameter.device.type == "mps" else torch.float64  # MPS has no float64
    result = parameter.detach().to(wide)
    for vector in vectors:
        dim = vector.place.weight_axis
        if dim >= result.ndim or result.shape[dim] != vector.l.numel():
            raise AdapterError(
                f"{name} of shape {tuple(result.shape)} can't be scaled by the {vector.l.numel()} numbers of "
                f"{vector.place.placement} (a grouped convolution's, or a norm's, input has no columns)"
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


# ---- a checkpoint without us


def export_terms(
    parts: Sequence[Term], out: Path | str, *, base: str | Path | None = None, dtype: str = "float32"
) -> Base:
    """Load the base of an adapter, or of a sum of some, and `export` it with that; returns it.

    The base is loaded in float32, where it can be told from others by its weights; the merged one is cast.

    Args:
        base: as for `arithmetic.load_base_of`.
        dtype: of the checkpoint: float32, float16 or bfloat16.

    Raises:
        UserError: as `arithmetic.load_base_of`, `arithmetic.read`, `files.put` and `export`.
    """
    loaded = arithmetic.load_base_of(parts, base, device="cpu")
    adapter = arithmetic.read(loaded.model, parts)
    merge(files.put(loaded.model, adapter)).to(DTYPES[dtype])  # in this order each weight is rounded once
    labels = adapter.metadata.labels if adapter.metadata else {}
    export(loaded, out, adapter="+".join(map(title, parts)), labels=labels)
    return loaded


def title(part: Term) -> str:
    """A term for others to read: of a path, which says nothing to them, the adapter's own name."""
    name, folder = part.name, part.folder.absolute()
    if Path(name).name != name:
        name = folder.parent.name if folder.name == "adapter" else folder.name
    return str(Term(name, part.folder, part.weight))


def export(
    loaded: Base, out: Path | str, *, adapter: str = "", labels: Mapping[str, str] | None = None
) -> Path:
    """Write a base with its adapter folded in as a plain Hugging Face checkpoint, in one step.

    config.json, model.safetensors, the processor's files and a card: `AutoModelForCTC.from_pretrained(out)`
    and `load_base(out)` read it. The model comes out as it went in, merged or not.

    Args:
        loaded: with an adapter attached or merged.
        out: a checkpoint that stands there is replaced.
        adapter: its name, for the card.
        labels: the adapter's, for the card.

    Raises:
        AdapterError: as `merge`; `out` is the base's folder, or holds what no checkpoint does (a Trainer's
            folder); a weight that no vector touches is not finite (a base that float16 doesn't hold).
    """
    if Path(loaded.name).is_dir() and Path(loaded.name).resolve() == Path(out).resolve():
        raise AdapterError(f"{out}: is the base itself, which would be lost (give another --out)")
    if other := atomic.unexpected_file(out, is_of_checkpoint):
        raise AdapterError(f"{out}: holds {other}, which would be lost (give another --out)")
    model = loaded.model
    was_merged = is_merged(model)
    if not was_merged:
        merge(model)
    try:
        broken = [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]
        if broken:
            raise AdapterError(f"not written: {', '.join(broken[:5])} holds NaN or infinite numbers")
        with atomic.replacing(out) as new, without_bars():
            new.mkdir()
            model.save_pretrained(new)
            loaded.processor.save_pretrained(new)
            (new / "README.md").write_text(card(loaded, adapter, labels or {}), encoding="utf-8")
    finally:
        if not was_merged:
            unmerge(model)
    return Path(out)


def is_of_checkpoint(entry: Path) -> bool:
    """Whether `save_pretrained` of a model or a processor may have written this, by its name."""
    if entry.is_dir():
        return entry.name == "language_model"
    return entry.suffix in {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".md"}


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers shows a progress bar even for a file that is written in no time."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def card(loaded: Base, adapter: str, labels: Mapping[str, str]) -> str:
    """The README.md of a merged checkpoint, with the Hub's front matter. The model is merged."""
    model, config = loaded.model, getattr(loaded.model, MERGED).config
    local = Path(loaded.name).is_absolute()  # a path of this machine says nothing to others
    name = Path(loaded.name).name if local else loaded.name
    origin = f"base_model: {name}\nbase_model_relation: finetune\n" if "/" in name else ""
    what = [f"IA³ on {', '.join(config.placements)}; layers {config.layers}"] if config.placements else []
    what += ["a trained head"] if config.train_head else []
    about = "".join(f"- {label}: {value}\n" for label, value in labels.items())
    dtype, architecture = str(model.dtype).removeprefix("torch."), type(model).__name__
    return (
        f"---\n{origin}library_name: transformers\npipeline_tag: automatic-speech-recognition\n"
        f"tags:\n- ia3\n- ia3-speech\n---\n\n"
        f"# {name} with {adapter or 'an IA³ adapter'} merged into it\n\n"
        f"A plain transformers checkpoint ({architecture}, {dtype}): `AutoModelForCTC` and `AutoProcessor` "
        f"load it, and nothing else is needed.\n\n"
        f"- base: {name} ({describe(loaded.fingerprint)}); its licence holds here too\n"
        f"- adapter: {adapter or 'unnamed'} ({'; '.join(what)})\n{about}"
        f"- merged by ia3-speech {ia3_speech.__version__}: each weight times its vector, rounded once. The "
        f"adapter can't be taken out of these files again, so keep it.\n"
        f"{PERSONAL if labels.get('speaker') else ''}"
    )
