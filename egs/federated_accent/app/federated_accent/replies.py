"""Which clients' replies the server uses, and how much each counts. Nothing here knows of Flower.

In: a client's reply, which is not trusted. Out: a fault, or a weight.
"""

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

import numpy as np

MAX_WEIGHT = 2  # times the median of a round's clients: a client says itself how many utterances it has


def fault_of(
    arrays: Mapping[str, np.ndarray],
    metrics: Mapping[str, Any],
    base: Mapping[str, Any],
    start: Mapping[str, np.ndarray],
    sha256: str,
) -> str:
    """Why a reply to the vectors `start` of the base `sha256` can't be used; empty if it can."""
    if base.get("sha256") != sha256:
        return "its vectors are of another base"
    if kinds_of(arrays) != kinds_of(start):
        return "its vectors have other names, sizes or types"
    if not all(np.isfinite(array).all() for array in arrays.values()):
        return "its vectors hold NaN or infinite values"
    count = metrics.get("num-examples")
    if type(count) is not int or count < 1:
        return f"it claims {count!r:.50} utterances"
    return ""


def kinds_of(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def weights_of(counts: Sequence[int]) -> list[int]:
    """How much each client counts in the mean: its utterances, at most twice the (lower) median of all."""
    return [min(count, MAX_WEIGHT * median_low(counts)) for count in counts]
