"""Batches: complete, within the limit, deterministic, resumable."""

from itertools import chain, islice, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.data.batches import BatchOrder, make_batches

DURATIONS = st.lists(st.floats(0, 60, allow_nan=False), max_size=80)
SECONDS = [1.0 + (37 * number % 101) / 10 for number in range(101)]


@given(DURATIONS, st.floats(0.5, 100), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_every_index_once_and_within_the_limit(seconds, limit, seed, epoch, shuffle):
    batches = make_batches(seconds, limit, seed=seed, epoch=epoch, shuffle=shuffle)
    assert sorted(index for batch in batches for index in batch) == list(range(len(seconds)))
    for batch in batches:
        assert len(batch) == 1 or max(seconds[index] for index in batch) * len(batch) <= limit


def test_the_frozen_order():
    """Frozen: a new version must not change a run that is resumed."""
    seconds = [3, 1, 2, 1.5, 9, 2.5]
    assert make_batches(seconds, 6, seed=0, epoch=0) == [[4], [1, 3, 2], [5, 0]]
    assert make_batches([3, 1, 2, 9], 4, seed=0, epoch=0, shuffle=False) == [[1, 2], [0], [3]]
    assert make_batches(SECONDS, 40, seed=1, epoch=0) != make_batches(SECONDS, 40, seed=1, epoch=1)
    assert make_batches(SECONDS, 40, seed=1, epoch=0) != make_batches(SECONDS, 40, seed=2, epoch=0)


def take(order: BatchOrder, number: int) -> list[list[int]]:
    """`number` batches across epochs."""
    return [*islice(chain.from_iterable(repeat(order)), number)]


@pytest.mark.parametrize("stop", [0, 1, 7, 12, 13, 14, 30])
def test_resumes_in_the_middle_of_an_epoch(stop):
    whole = take(BatchOrder(SECONDS, 60, seed=3), 45)
    order = BatchOrder(SECONDS, 60, seed=3)
    before = take(order, stop)
    resumed = BatchOrder(SECONDS, 60, seed=3, epoch=order.epoch, position=order.position)
    assert before + take(resumed, 45 - stop) == whole
