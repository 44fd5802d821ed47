"""What an interrupted training run resumes from: its checkpoint and its metrics log."""

import io
import json
import math
import os
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
        peak_memory_bytes: see `trainer.peak_memory_bytes`.
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


@dataclass
class Checkpoint:
    """All that a run needs to go on; random numbers depend on the seed and the step alone.

    Attributes:
        run: what makes it the same run: the options that decide the result, the number of processes, and
            digests of the base, of the parameters that training starts from, and of the data.
        order: epoch and position within it.
        optimizer: AdamW's state.
        tensors: the trained parameters by name.
        metrics_bytes: length of metrics.jsonl.
        state: the fields of TrainingState.
    """

    run: dict[str, Any]
    order: dict[str, Any]
    optimizer: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    metrics_bytes: int
    state: dict[str, Any]

    def save(self, file: Path) -> None:
        """In one step: the older checkpoint stands until the new one is complete."""
        buffer = io.BytesIO()  # torch's own file writer hides the system's error when the disk is full
        torch.save(vars(self), buffer)
        with atomic.replacing(file) as new:
            new.write_bytes(buffer.getbuffer())

    @classmethod
    def load(cls, file: Path) -> "Checkpoint":
        """Read a checkpoint. Raises ResumeError where it is damaged."""
        try:
            return cls(**torch.load(file, map_location="cpu", weights_only=True))
        except (RuntimeError, TypeError, EOFError, OSError, ValueError, KeyError) as error:
            raise ResumeError(
                f"cannot resume from {file}: {error} (delete it to start the run again)"
            ) from error

    def check_run(self, out: Path, run: dict[str, Any]) -> None:
        """Raises ResumeError where the checkpoint, which is in `out`, belongs to another run."""
        differing = sorted(name for name in {*run, *self.run} if run.get(name) != self.run.get(name))
        if differing:
            changes = [f"{name} was {self.run.get(name)!r}, is {run.get(name)!r}" for name in differing]
            raise ResumeError(f"{out} holds another run: {', '.join(changes)} (choose another --out)")


class MetricsLog:
    """`metrics.jsonl`: a JSON object for each epoch; a resumed run cuts it back to its checkpoint."""

    def __init__(self, file: Path):
        self.file = file

    def append(self, row: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
            log.flush()
            os.fsync(log.fileno())  # before the checkpoint that holds its length

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def truncate(self, size: int) -> None:
        """Remove what was written after the checkpoint. Raises ResumeError where lines are missing."""
        if self.size() < size:
            raise ResumeError(
                f"{self.file} is shorter than its checkpoint says: it was edited (delete the run)"
            )
        if self.file.exists():
            with self.file.open("r+b") as log:
                log.truncate(size)
