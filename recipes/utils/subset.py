#!/usr/bin/env python3
"""Write a part of a data directory as another, as Kaldi's utils/subset_data_dir.sh.

subset.py data/train data/train_1k --first 1000
subset.py data/train data/train_30 --minutes 30
"""

from itertools import accumulate
from pathlib import Path

from ia3_speech.common.cli import command
from ia3_speech.common.errors import DataError
from ia3_speech.data.kaldi.directory import (
    DataDirectory,
    hash_order,
    read_available_tables,
    write_part,
)
from ia3_speech.data.utterance import Utterance, with_duration


def subset(source: Path, target: Path, *, first: int | None = None, minutes: float | None = None) -> None:
    """Write the first utterances of a data directory, or some minutes of it.

    Args:
        source: a data directory.
        target: the data directory to write.
        first: this number of utterances from the start.
        minutes: utterances of all speakers, ordered by a hash of their ids, until they last this long. A
            smaller subset is a part of a larger one.
    """
    if (first is None) == (minutes is None):
        raise DataError("a subset needs either `first` or `minutes`")
    data = read_available_tables(source, target)
    if minutes is None and not 1 <= first <= len(data):
        raise DataError(f"{source}: `first={first}`: the directory has {len(data)} utterances")
    chosen = data.utterances[:first] if minutes is None else first_minutes(data, minutes)
    print(write_part(data, target, chosen))


def first_minutes(data: DataDirectory, minutes: float) -> list[Utterance]:
    """The utterances that are first in hash order, up to the first at whose end `minutes` are full."""
    seconds = {u.id: (with_duration(u) if u.source else u).duration for u in data}
    if None in seconds.values():
        raise DataError(f"{data.path}: the utterances' lengths are not known (write utt2dur)")
    available = sum(seconds.values())
    if not 0 < 60 * minutes <= available:
        raise DataError(f"{data.path}: `minutes={minutes:g}`, but it holds {available / 60:.1f} minutes")
    ids = sorted(seconds, key=hash_order)
    starts = dict(zip(ids, accumulate((seconds[id] for id in ids), initial=0.0), strict=False))
    return [utterance for utterance in data if starts[utterance.id] < 60 * minutes]


if __name__ == "__main__":
    command(subset)
