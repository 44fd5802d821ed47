"""The learning rate, the random numbers and the progress of training steps, for every trainer.

In: step numbers. Out: factors of the learning rate, seeded generators, a progress bar. Random numbers depend
on the seed and the step alone, so that a resumed run needs no generator's state.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ia3_speech.common.cli import progress_stream


def learning_rate_factor(step: int, total_steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step (from 0): a linear rise in the share `warmup` of all
    steps, 0 ≤ warmup < 1, then a linear fall to zero."""
    rise = warmup * total_steps
    factor = (step + 1) / rise if step < rise else (total_steps - step) / (total_steps - rise)
    return min(1.0, factor)


def seed_step(seed: int, step: int) -> None:
    """Seed the generators of dropout (torch) and of SpecAugment's masks (numpy, in transformers)."""
    torch.manual_seed(seed * 1_000_003 + step)
    np.random.seed((seed * 1_000_003 + step) % 2**32)


def seed_task(seed: int, task: str, step: int, batch: int) -> None:
    """`seed_step` for one of many adapters, and for one batch of its step."""
    numbers = np.random.SeedSequence([seed, zlib.crc32(task.encode()), step, batch]).generate_state(2)
    torch.manual_seed(int(numbers[0]))
    np.random.seed(numbers[1])


def draw_speed(speeds: Sequence[float], *seeds: int) -> tuple[float, np.random.Generator]:
    """One of the speeds, and the generator for further draws for the same utterance."""
    rng = np.random.default_rng(seeds)
    return float(speeds[rng.integers(len(speeds))]), rng


class Progress(tqdm):
    """A progress bar over `total` steps, each a `unit`, of which `done` were made before; drawn if its stream
    is a terminal and it is not `hidden`. It counts in any case."""

    monitor_interval = 0  # no thread of tqdm, which a fork would not copy

    def __init__(self, total: int, unit: str, done: int = 0, hidden: bool = False):
        stream = progress_stream()
        if hidden or not stream.isatty():
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (as long as the bar)
        super().__init__(
            total=total, initial=done, desc="training", unit=unit, dynamic_ncols=True, file=stream
        )

    @property
    def left(self) -> str:
        """A text such as "about 3 min left", by the speed of this run."""
        seconds = self.format_dict["elapsed"] / max(1, self.n - self.initial)
        seconds *= max(0, self.total - self.n)
        return f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} min left"
