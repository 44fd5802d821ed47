"""The learning rate and the random numbers of training steps, for every trainer.

In: step numbers. Out: factors of the learning rate, seeded generators. Random numbers depend
on the seed and the step alone, so that a resumed run needs no generator's state.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch


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
