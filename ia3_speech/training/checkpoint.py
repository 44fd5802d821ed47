"""What lets a killed training run go on: checkpoint, metrics log, and whether it is the same run."""

import io
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ia3_speech import atomic
from ia3_speech.cli import UserError


class ResumeError(UserError):
    """A checkpoint that can't be gone on from."""


@dataclass
class Checkpoint:
    """All of a run's state between two batches. Random numbers hang on seed and step alone."""

    options: dict[str, Any]  # and what else makes it the same run: processes, the base, the start
    data: str
    order: dict[str, Any]  # epoch and batch position
    optimizer: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    kept_tensors: dict[str, torch.Tensor]
    silent: list[str]
    metrics_bytes: int
    step: int
    best: list[int]  # errors of each dev utterance, in the epoch with fewest
    kept: tuple[int, float]  # epoch and dev WER of kept_tensors
    waited: int  # epochs without a better dev WER
    losses: list[float]  # of the batches of this epoch
    seconds: float

    def save(self, file: Path) -> None:
        """In one step: the older checkpoint stands until the new one is complete."""
        buffer = io.BytesIO()  # torch's own file writer hides the system's error when the disk is full
        torch.save({f.name: getattr(self, f.name) for f in fields(self)}, buffer)
        with atomic.replacing(file) as new:
            new.write_bytes(buffer.getbuffer())

    @classmethod
    def load(cls, file: Path) -> "Checkpoint":
        """Raises ResumeError where the file is damaged or of another version."""
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            return cls(**state)
        except (RuntimeError, TypeError, EOFError, OSError, ValueError, KeyError) as error:
            raise ResumeError(
                f"{file} can't be gone on from: {error} (delete it to start the run again)"
            ) from error


def same_run(out: Path, state: Checkpoint, options: dict[str, Any], data: str) -> None:
    """Raises ResumeError where the checkpoint in `out` belongs to other options or other data."""
    differing = sorted(
        name for name in {*options, *state.options} if options.get(name) != state.options.get(name)
    )
    if differing:
        was = ", ".join(
            f"{name} was {state.options.get(name)!r}, is {options.get(name)!r}" for name in differing
        )
        raise ResumeError(f"{out} holds a run with other options: {was} (choose another --out, or delete it)")
    if data != state.data:
        raise ResumeError(f"{out} holds a run on other data (choose another --out, or delete it)")


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line; cut back to the checkpoint when a run goes on."""

    def __init__(self, file: Path):
        self.file = file

    def append(self, row: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
            log.flush()
            os.fsync(log.fileno())  # before the checkpoint that counts on it

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after the checkpoint. Raises ResumeError where lines are missing."""
        if self.size() < size:
            raise ResumeError(
                f"{self.file} is shorter than its checkpoint says: it was edited (delete the run)"
            )
        if self.file.exists():
            with self.file.open("r+b") as log:
                log.truncate(size)
