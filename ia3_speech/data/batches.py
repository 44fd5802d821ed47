"""Batches: utterances of similar length, filled up to so many seconds, in an order that a seed decides.

In: durations in seconds. Out: lists of indices. The order depends on nothing but (durations, max_seconds,
seed, epoch), so a run that was killed goes on in the middle of an epoch as if nothing had happened.
"""

import hashlib
import math
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

JITTER = 0.1  # lengths are blurred by up to ±10 % before sorting, so that each epoch has other neighbours


def make_batches(
    seconds: Sequence[float], max_seconds: float, *, seed: int, epoch: int, shuffle: bool = True
) -> list[list[int]]:
    """Group the indices of `seconds` so that longest × number stays within `max_seconds` in every batch.

    Each index stands in exactly one batch; an utterance longer than `max_seconds` gets a batch to itself.
    With `shuffle` the neighbours and the order of the batches differ from epoch to epoch; without it batches
    go from short to long, and `seed` and `epoch` have no effect.
    """
    if not max_seconds > 0:
        raise ValueError(f"max_seconds is a positive number of seconds, not {max_seconds}")
    if not all(math.isfinite(second) and second >= 0 for second in seconds):
        raise ValueError("durations are finite, not negative, and in seconds")
    rng = random.Random(f"batches {seed} {epoch}")  # a string seed goes through SHA-512: alike everywhere
    blurred = [second * (rng.uniform(1 - JITTER, 1 + JITTER) if shuffle else 1) for second in seconds]
    batches: list[list[int]] = []
    longest = 0.0
    for index in sorted(range(len(seconds)), key=lambda i: (blurred[i], i)):
        longest = max(longest, seconds[index])
        if batches and longest * (len(batches[-1]) + 1) <= max_seconds:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = seconds[index]
    if shuffle:
        rng.shuffle(batches)
    return batches


@dataclass
class BatchOrder:
    """All batches of one epoch after another; iterating gives what is left of the current epoch.

    `position` counts the batches of this epoch that were handed out; after the last one it is 0 again and
    `epoch` one higher. Save `state_dict()` once a batch has been learnt from, before the next is taken.
    """

    seconds: Sequence[float]
    max_seconds: float
    seed: int = 0
    shuffle: bool = True
    epoch: int = 0
    position: int = 0
    _made: tuple[int, list[list[int]]] | None = field(default=None, init=False, repr=False, compare=False)

    def batches(self) -> list[list[int]]:
        """All batches of the current epoch, those already handed out too."""
        if self._made is None or self._made[0] != self.epoch:
            made = make_batches(
                self.seconds, self.max_seconds, seed=self.seed, epoch=self.epoch, shuffle=self.shuffle
            )
            self._made = (self.epoch, made)
        return self._made[1]

    def __len__(self) -> int:
        """Batches in the current epoch."""
        return len(self.batches())

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.batches()
        while self.position < len(batches):
            batch = batches[self.position]
            self.position += 1
            if self.position == len(batches):
                self.epoch, self.position = self.epoch + 1, 0
                yield list(batch)
                return
            yield list(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position, "fingerprint": self.fingerprint()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was saved.

        Raises:
            ValueError: the state belongs to other durations, another batch size, seed or shuffling.
        """
        if state["fingerprint"] != self.fingerprint():
            raise ValueError("this batch order was saved for other data, or another seed or batch size")
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def fingerprint(self) -> str:
        """What decides the order, as a digest."""
        numbers = struct.pack(f"<{len(self.seconds)}d", *self.seconds)
        return hashlib.sha256(
            numbers + repr((self.max_seconds, self.seed, self.shuffle)).encode()
        ).hexdigest()[:16]
