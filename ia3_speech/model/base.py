"""A frozen base: loaded by name, fingerprinted, and computed so that a row alone equals a row in a batch.

    base = load_base("mini")                      # shipped; or a folder, or a hub id
    logits = base.logits([wave])                  # [(frames, vocabulary)], fp32

In: a name. Out: a `Base` of its model's kind (see `kinds`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ia3_speech.common.errors import AdapterError, BaseError
from ia3_speech.common.progress import Progress
from ia3_speech.model.architectures import ARCHITECTURES
from ia3_speech.model.fingerprint import fingerprint, remember_weights
from ia3_speech.model.ia3 import PREFIX, architecture_of, head_parameters, layers_of
from ia3_speech.model.int8 import quantize
from ia3_speech.model.kinds import WAVEFORM, Base
from ia3_speech.model.kinds.ctc import CTC, Classifier
from ia3_speech.model.kinds.whisper import Whisper
from ia3_speech.model.location import base_folder, full_name

__all__ = ["WAVEFORM", "Base", "Classifier", "load_base", "load_classifier"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPES["int8"] = torch.float32  # of the tensors that are not rounded

# `Architecture.kind` → the class of its bases
KINDS: dict[str, type[Base]] = {"ctc": CTC, "whisper": Whisper}


@torch.inference_mode(False)
def load_base(name: str | Path = "mini", *, dtype: str = "float32", device: str | None = None) -> Base:
    """Load a base by name: `mini`, a folder, or a hub id.

    Args:
        dtype: float32, float16, bfloat16; or int8, on a CPU, for the encoder's linear modules (see `int8`).
        device: a torch device; None: CUDA if there is one.

    Raises:
        BaseError: there is no such device; the base is not found (the message names the places that were
            searched), is no recogniser, has no tokenizer, or lacks a weight, which transformers would draw
            at random (the head of a base that was never fine-tuned).
    """
    if dtype not in DTYPES:
        raise BaseError(f"`dtype` is {dtype!r}, not one of {', '.join(DTYPES)}")
    device = usable_device(device, dtype)
    with Progress(None, "loading the base"):
        model, processor = read_pretrained(name)
        base = make_base(model, processor, full_name(name))
        model.to(device, DTYPES[dtype])
        if dtype == "int8":
            quantize(model, layers_of(model)[1])
        remember_weights(model, base.fingerprint)
    return base


def load_classifier(
    name: str | Path = "mini", classes: Sequence[str] = (), *, device: str | None = None
) -> Classifier:
    """A frozen encoder under a new random head, for training or for an adapter. Raises BaseError if it can't
    be loaded, or a weight of the encoder is missing.

        base = load_classifier("mini", ["alexa", "computer", "other"])
        model = attach(base.model)                      # transformers' Trainer trains it, with base.collate
        save_adapter(model, "exp/keywords", base=base)  # the head with the vectors

    The head is transformers' (`AutoModelForAudioClassification`): a projection, the mean over frames, and a
    linear layer, as in SUPERB (Yang et al. 2021, arXiv 2105.01051).

    Args:
        name: mini, a folder or a hub id, with or without a CTC head; its layers above the encoder
            (`add_adapter`) are left out, since transformers' classifiers have none.
        classes: their names.
        device: a torch device; None: CUDA if there is one.
    """
    device = usable_device(device)
    numbers = {label: number for number, label in enumerate(classes)}
    settings = {"add_adapter": False, "id2label": dict(enumerate(classes)), "label2id": numbers}
    model, extractor = read_pretrained(name, Classifier, settings)
    model.to(device).eval().requires_grad_(False)
    return Classifier(full_name(name), model, extractor, None, fingerprint(model))


def usable_device(device: str | None, dtype: str = "float32") -> str:
    """`device`, else CUDA if there is one, but a CPU for int8. Raises BaseError if torch lacks the device."""
    if device is None:
        return "cuda" if torch.cuda.is_available() and dtype != "int8" else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BaseError(f"`device={device}`: {reason} (take cpu, cuda, cuda:1, mps)") from None
    return device


def make_base(model: nn.Module, processor: Any, name: str) -> Base:
    """Wrap a loaded model. Raises BaseError if it is not a recogniser of a known architecture."""
    try:
        return KINDS[architecture_of(model).kind].wrap(model, processor, name)
    except AdapterError as error:
        raise BaseError(f"{name}: {error}") from error


def read_pretrained(
    name: str | Path, kind: type[Base] | None = None, settings: dict[str, Any] | None = None
) -> tuple[nn.Module, Any]:
    """The model of a base in float32, which holds every type, and its processor. With a `kind` and `settings`
    of its configuration: the encoder under a new head, and the feature extractor. Raises BaseError if it
    can't be loaded, or a weight is missing or left over."""
    import transformers
    from safetensors import SafetensorError

    folder = base_folder(str(name))
    source, is_folder = str(folder or name), folder is not None
    options = {"local_files_only": is_folder, "dtype": torch.float32, "use_safetensors": True}
    try:
        with quiet_transformers():
            config = transformers.AutoConfig.from_pretrained(source, local_files_only=is_folder)
            if settings:
                config.update(settings)
                options["config"] = config
            architecture = ARCHITECTURES.get(config.model_type)
            loaded_kind = kind or KINDS[architecture.kind if architecture else "ctc"]
            loader = getattr(transformers, loaded_kind.auto_class)
            model, report = loader.from_pretrained(source, output_loading_info=True, **options)
            processors = transformers.AutoFeatureExtractor if kind else transformers.AutoProcessor
            try:
                processor = processors.from_pretrained(source, local_files_only=is_folder)
            except ImportError:  # a processor with a language model needs pyctcdecode, which we don't use
                processor = transformers.Wav2Vec2Processor.from_pretrained(source, local_files_only=is_folder)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        if "_torchaudio" in reason:  # transformers imports torchaudio
            raise BaseError(
                f"{reason} (torch {torch.__version__} and torchaudio are of different builds: install both "
                f"from one index, as `uv pip install --torch-backend cpu torch torchaudio` does)"
            ) from error
        if is_folder:
            noun = "encoder" if kind else "recogniser"
            raise BaseError(f"{folder} holds no {noun} that transformers can load: {reason}") from error
        raise BaseError(
            f"no base {str(name)!r}: it is not mini, there is no folder {Path(name).absolute()}, and the "
            f"Hub does not have it: {reason}"
        ) from error
    refuse_unexpected_weights(report["unexpected_keys"], name)
    new_head = head_parameters(model).keys() if kind else set()
    fill_missing_weights(model, report["missing_keys"] - new_head, name)
    return model, processor


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bars, and its warnings, such as of unused weights of the pretraining."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def refuse_unexpected_weights(unexpected: Iterable[str], name: str | Path) -> None:
    """Raises BaseError for a checkpoint of a model with vectors or in int8: only part of it would load."""
    if any(f".{PREFIX}" in key for key in unexpected):
        raise BaseError(
            f"{name}: holds IA³ vectors beside its weights, which transformers would ignore silently "
            f"(load_adapter reads the adapter that AdapterCallback stores in a Trainer's checkpoint; "
            f"save_adapter writes the vectors alone, ia3-speech adapters export merges them)"
        )
    if any(key.endswith(".scale") for key in unexpected):
        raise BaseError(f"{name}: its weights are rounded to int8 (save the base in float32)")


def fill_missing_weights(model: nn.Module, missing: Iterable[str], name: str | Path) -> None:
    """Draw the embedding of masked frames, which many published CTC checkpoints lack, with a fixed seed, so
    that a resumed run has the same. Raises BaseError if another weight is missing."""
    masks = {key for key in missing if key.rpartition(".")[2] == "masked_spec_embed"}
    if lost := sorted(set(missing) - masks):
        raise BaseError(
            f"{name}: the checkpoint lacks {', '.join(lost[:3])}{' …' if len(lost) > 3 else ''}, so it is no "
            f"recogniser (take a checkpoint that was fine-tuned with CTC)"
        )
    for key in masks:
        mask = model.get_parameter(key)
        with torch.no_grad():
            mask.copy_(torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)))
