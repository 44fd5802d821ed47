"""The options of a training run: one dataclass, which is the YAML file and the flags too."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ia3_speech.cli import UserError


class TrainingError(UserError):
    """Training can't start or go on. What was saved before stands."""


@dataclass
class Options:
    """Options of a training run.

    Args:
        train: data directory to learn from
        dev: data directory that decides when to stop and which epoch to keep
        out: experiment folder; a killed run in it goes on
        base: mini, a folder, or a hub id
        init_adapter: start from this adapter (name, folder or sum), with its placements, not from the base
        placements: a list such as [key,value], of key, value, ffn, ffn_output, attention_output, conv
        layers: all, or 0-based inclusive ranges: 0-11, or 0,4-7
        train_head: train the CTC head too
        learning_rate: peak rate of AdamW; IA³ wants 1e-3 to 5e-2, a LoRA rate does not move it
        head_learning_rate: rate of the head, with train_head
        epochs: at most so many
        epoch_minutes: an epoch goes over a smaller train so often that it hears at least so many minutes
        patience: stop after so many epochs in a row without a better dev WER
        warmup: share of all steps in which the rate rises; afterwards it falls linearly to zero
        decay_to_one: decay of l − 1 (never of l) by rate × decay_to_one a step
        clip: largest gradient norm
        batch_seconds: padded seconds of audio in a batch
        speeds: speed perturbation; each epoch draws one for each utterance
        spec_augment: masks as the base's configuration has them, or off
        seed: governs order, speeds, masks and dropout
        normalize: text normalisation of targets and of dev scoring
        drop_chars: leave out characters that the base can't write, instead of stopping
        on_error: fail stops at bad audio or text that is too long; skip leaves it out and names it
        allow_pipes: run shell commands in wav.scp
        cache_gb: memory for what the frozen part computes; 0 is off
        checkpoint_steps: steps between checkpoints; an epoch's end is always one
        precision: bf16 mixed precision, or no
        dtype: of the frozen base: float32, or int8 on a CPU, a quarter of the encoder's memory
        device: a torch device; default CUDA where there is one
        force: delete what `out` holds, and train again
        labels: what the adapter is for, such as {"speaker": "042", "domain": "medical"}
    """

    train: Path
    dev: Path
    out: Path
    base: str = "mini"
    init_adapter: str | None = None
    placements: list[str] = field(default_factory=lambda: ["key", "value", "ffn"])
    layers: str = "all"
    train_head: bool = False
    learning_rate: float = 1e-2
    head_learning_rate: float = 1e-4
    epochs: int = 8
    epoch_minutes: float = 0.0
    patience: int = 3
    warmup: float = 0.06
    decay_to_one: float = 0.0
    clip: float = 1.0
    batch_seconds: float = 40.0
    speeds: list[float] = field(default_factory=lambda: [0.9, 1.0, 1.1])
    spec_augment: Literal["base", "off"] = "base"
    seed: int = 0
    normalize: Literal["ctc", "english", "none"] = "ctc"
    drop_chars: bool = False
    on_error: Literal["fail", "skip"] = "fail"
    allow_pipes: bool = False
    cache_gb: float = 4.0
    checkpoint_steps: int = 100
    precision: Literal["no", "bf16"] = "no"
    dtype: Literal["float32", "int8"] = "float32"
    device: str | None = None
    force: bool = False
    labels: dict[str, str] = field(default_factory=dict)


def check(options: Options) -> None:
    """Raises TrainingError for numbers that can't be meant."""
    wrong = [
        name
        for name, bad in {
            "epochs": options.epochs < 1,
            "patience": options.patience < 1,
            "learning_rate": not options.learning_rate > 0,
            "batch_seconds": not options.batch_seconds > 0,
            "epoch_minutes": not 0 <= options.epoch_minutes < float("inf"),
            "decay_to_one": not 0 <= options.decay_to_one < float("inf"),
            "warmup": not 0 <= options.warmup < 1,
            "clip": not options.clip > 0,
            "speeds": not options.speeds or any(not 0.5 <= s <= 2 for s in options.speeds),
            "checkpoint_steps": options.checkpoint_steps < 1,
        }.items()
        if bad
    ]
    if wrong:
        values = ", ".join(f"{name} is {getattr(options, name)}" for name in wrong)
        raise TrainingError(f"{values}: see --help for what they may be")


# May differ when a run is resumed.
FREE_OPTIONS = {"out", "cache_gb", "checkpoint_steps", "device", "force", "labels"}


def comparable(options: Options) -> dict[str, Any]:
    """The options that decide the result, as plain types."""
    record = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    return {name: value for name, value in record.items() if name not in FREE_OPTIONS}


def to_yaml(options: Options) -> str:
    import yaml

    record = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
