"""What every trainer shares: the learning rate, seeds, progress.

In: step numbers. Out: factors of the learning rate, seeded random generators.
"""

import time
import zlib
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ia3_speech.cli import progress_stream


def learning_rate_factor(step: int, total_steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step (from 0): a linear rise in the share `warmup` of all
    steps, 0 ≤ warmup < 1, then a linear fall to zero."""
    rise = warmup * total_steps
    factor = (step + 1) / rise if step < rise else (total_steps - step) / (total_steps - rise)
    return min(1.0, factor)


def seed_step(seed: int, step: int) -> None:
    """Seed the generators of dropout (torch) and of SpecAugment's masks (transformers draws them with numpy).

    They depend on the seed and the step alone, so that a resumed run needs no generator's state.
    """
    torch.manual_seed(seed * 1_000_003 + step)
    np.random.seed((seed * 1_000_003 + step) % 2**32)


def seed_task(seed: int, task: str, step: int, batch: int) -> None:
    """The same for one of many adapters, and for one of the batches that its step is divided into."""
    numbers = np.random.SeedSequence([seed, zlib.crc32(task.encode()), step, batch]).generate_state(2)
    torch.manual_seed(int(numbers[0]))
    np.random.seed(numbers[1])


class Progress:
    """How far training is: a bar, where there is a terminal, and for the lines of the log the time left.

    Args:
        total: steps, of those that `unit` names; `done` of them before
        hidden: no bar
    """

    def __init__(self, total: int, unit: str, done: int = 0, hidden: bool = False):
        self.total, self.done, self.first, self.started = total, done, done, time.monotonic()
        self.bar = tqdm(
            total=total, initial=done, desc="training", unit=unit, dynamic_ncols=True, disable=hidden or None,
            file=progress_stream(),
        )  # fmt: skip

    def advance(self, steps: int, state: str = "") -> None:
        """Count steps as done; `state` stands behind the bar."""
        self.done += steps
        self.bar.set_postfix_str(state, refresh=False)
        self.bar.update(steps)

    def extend(self, steps: int) -> None:
        """There are more steps to do."""
        self.total += steps
        self.bar.total = self.total

    @property
    def left(self) -> str:
        """Such as "about 3 min left", if the others take as long as those that are done."""
        seconds = (time.monotonic() - self.started) / max(1, self.done - self.first)
        seconds *= max(0, self.total - self.done)
        return f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} min left"

    def __enter__(self) -> "Progress":
        self.redirected = logging_redirect_tqdm()
        self.redirected.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.close()
        self.redirected.__exit__(*error)
