"""Batches of utterances of similar length, in an order that depends on (durations, max_seconds, seed, epoch)
alone, so that a run that was killed in the middle of an epoch resumes with the next batch.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

JITTER = 0.1  # durations vary by up to ±10 % before sorting, so that batches differ from epoch to epoch


def make_batches(
    seconds: Sequence[float], max_seconds: float, *, seed: int, epoch: int, shuffle: bool = True
) -> list[list[int]]:
    """Group the indices of `seconds` so that longest × number is at most `max_seconds` in every batch.

    Each index is in exactly one batch; an utterance longer than `max_seconds` is alone in its batch. With
    `shuffle` the batches and their order differ from epoch to epoch; without it batches go from short to
    long, and `seed` and `epoch` have no effect.
    """
    rng = random.Random(f"batches {seed} {epoch}")  # SHA-512 of the string: equal on all machines
    jittered = [second * (rng.uniform(1 - JITTER, 1 + JITTER) if shuffle else 1) for second in seconds]
    batches: list[list[int]] = []
    longest = 0.0
    for index in sorted(range(len(seconds)), key=lambda i: (jittered[i], i)):
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
    """The batches of one epoch after another; iterating yields the remaining batches of the current epoch.

    To resume, save `epoch` and `position` after a training step and before the next batch is requested.
    """

    seconds: Sequence[float]  # as in `make_batches`, like `max_seconds` and `seed`
    max_seconds: float
    seed: int = 0
    epoch: int = 0  # the current epoch, from 0
    position: int = 0  # batches of this epoch that were yielded; the last sets it to 0 and increases `epoch`

    def __iter__(self) -> Iterator[list[int]]:
        batches = make_batches(self.seconds, self.max_seconds, seed=self.seed, epoch=self.epoch)
        for position in range(self.position, len(batches)):
            self.position = position + 1
            if self.position == len(batches):
                self.epoch, self.position = self.epoch + 1, 0
            yield batches[position]
