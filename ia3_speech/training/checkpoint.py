"""The checkpoint that an interrupted training run resumes from."""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ia3_speech import atomic
from ia3_speech.cli import UserError


class ResumeError(UserError):
    """A checkpoint that a run cannot resume from."""


@dataclass
class TrainingState:
    """What a trainer has counted, measured and selected so far.

    Attributes:
        selected_tensors: the trained parameters by name, in the selected epoch.
        without_gradient: names of vectors that have had no gradient yet.
        selected_epoch: the epoch whose vectors become the adapter, from 1; 0 is the start.
        selected_wer: its dev WER, a fraction.
        start_wer: dev WER of the start, a fraction.
        best_errors: errors of each dev utterance in the epoch with the fewest, of those from 1.
        epochs_without_improvement: epochs since that one.
        step: batches trained on.
        losses: of the batches of the current epoch.
        seconds: of wall-clock time spent training.
        step_seconds: of it, in steps: without evaluation.
        peak_memory_bytes: what torch has allocated on the GPU at most, or this process.
    """

    selected_tensors: dict[str, torch.Tensor]
    without_gradient: list[str]
    selected_epoch: int = 0
    selected_wer: float = math.inf
    start_wer: float = math.inf
    best_errors: list[int] = field(default_factory=list)
    epochs_without_improvement: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    step_seconds: float = 0.0
    peak_memory_bytes: int = 0


def save_checkpoint(file: Path, checkpoint: dict[str, Any]) -> None:
    """In one step: the older checkpoint stands until the new one is complete.

    Args:
        checkpoint: run: what makes it the same run (the options that decide the result, the number of
            processes, and digests of the base, of the parameters that training starts from, and of the data);
            order: epoch and position within it; optimizer: AdamW's state; tensors: the trained parameters by
            name; state: the fields of TrainingState. Random numbers depend on the seed and the step alone.
    """
    buffer = io.BytesIO()  # torch's own file writer hides the system's error when the disk is full
    torch.save(checkpoint, buffer)
    with atomic.replacing(file) as new:
        new.write_bytes(buffer.getbuffer())


def load_checkpoint(file: Path, out: Path, run: dict[str, Any]) -> dict[str, Any]:
    """What was saved. Raises ResumeError where it is damaged, or `out`, which holds it, belongs to another
    run."""
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, TypeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ResumeError(f"cannot resume from {file}: {error} (delete it to start the run again)") from error
    then = checkpoint["run"]
    differing = sorted(name for name in {*run, *then} if run.get(name) != then.get(name))
    if differing:
        changes = [f"{name} was {then.get(name)!r}, is {run.get(name)!r}" for name in differing]
        raise ResumeError(f"{out} holds another run: {', '.join(changes)} (choose another --out)")
    return checkpoint
