"""A CTC model and its processor from a folder or the hub, by transformers.

In: a hub id or a folder. Out: the model in float32 and its processor, or a `BaseError` that says what is
wrong with the checkpoint: vectors that would be ignored, weights that would be drawn at random.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ia3_speech.cli import UserError
from ia3_speech.model.ia3 import PREFIX


class BaseError(UserError):
    """A base that can't be found, loaded or used."""


def read_pretrained(name: str | Path, source: str) -> tuple[nn.Module, Any]:
    """The model of a checkpoint, in float32, which holds every stored type, and its processor.

    Args:
        name: the base as the user called it, for messages.
        source: its folder or hub id.

    Raises:
        BaseError: it can't be loaded, or a weight is missing or left over.
    """
    from transformers import AutoModelForCTC, AutoProcessor, Wav2Vec2Processor
    from transformers.utils import logging as transformers_logging

    local = Path(source).is_dir()
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # a CTC base leaves weights of its pretraining unused
    transformers_logging.disable_progress_bar()
    try:
        options = {"local_files_only": local, "dtype": torch.float32, "use_safetensors": True}
        model, report = AutoModelForCTC.from_pretrained(source, output_loading_info=True, **options)
        try:
            processor = AutoProcessor.from_pretrained(source, local_files_only=local)
        except ImportError:  # one with a language model needs pyctcdecode; search is greedy here
            processor = Wav2Vec2Processor.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BaseError(load_failure(name, source, error)) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    refuse_unexpected_weights(report["unexpected_keys"], name)
    fill_missing_weights(model, report["missing_keys"], name)
    return model, processor


def refuse_unexpected_weights(unexpected: Iterable[str], name: str | Path) -> None:
    """Raises BaseError for a checkpoint of a model with vectors, or of one in int8: only part of it would
    load."""
    if any(f".{PREFIX}" in key for key in unexpected):
        raise BaseError(
            f"{name}: holds IA³ vectors beside its weights, which transformers would ignore silently "
            f"(load_adapter reads a Trainer's checkpoint that AdapterCallback has stored them in; "
            f"save_adapter writes the vectors, ia3-speech adapters export both as one)"
        )
    if any(key.endswith(".scale") for key in unexpected):
        raise BaseError(f"{name}: its weights are rounded to int8 (save the base in float32)")


def fill_missing_weights(model: nn.Module, missing: Iterable[str], name: str | Path) -> None:
    """Draw the embedding of masked frames, which many published CTC checkpoints lack, with a fixed seed, so
    that a resumed run has the same. Raises BaseError where another weight is missing."""
    masks = {key for key in missing if key.rpartition(".")[2] == "masked_spec_embed"}
    if lost := sorted(set(missing) - masks):
        raise BaseError(
            f"{name}: the checkpoint lacks {', '.join(lost[:3])}{' …' if len(lost) > 3 else ''}, so it is no "
            f"recogniser (take one that was fine-tuned with CTC)"
        )
    for key in masks:
        mask = model.get_parameter(key)
        drawn = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            mask.copy_(drawn)


def load_failure(name: str | Path, source: str, error: Exception) -> str:
    """The message for a base that transformers can't load."""
    reason = str(error).strip().split("\n")[0]
    if Path(source).is_dir():
        return f"{source} holds no CTC model that transformers can load: {reason}"
    return (
        f"no base {str(name)!r}: it is not mini, there is no folder {Path(source).absolute()}, and the Hub "
        f"does not provide it: {reason}"
    )
