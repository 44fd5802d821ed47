"""Parts of a data directory: subsets, and splits that keep a speaker or consultation on one side.

In: a data directory. Out: a smaller one, or two that share no speaker (or recording, sentence, label).

    ia3-speech datadir subset data/train data/train_1k --first 1000
    ia3-speech datadir split data/all data/train data/dev --by speaker --fraction 0.15
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory, write_data_directory
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance, with_duration
from ia3_speech.errors import DataError

DEV_SHARE = 0.15  # of the speakers of train


def subset_data_directory(
    source: Path | str, target: Path | str, *, first: int | None = None, minutes: float | None = None
) -> DataDirectory:
    """Write the first utterances of a data directory, or some minutes of it, as another.

    Args:
        source: a data directory.
        target: the data directory to write.
        first: this number of utterances from the start.
        minutes: utterances of all speakers, ordered by a hash of their ids, until they last this long. A
            smaller subset is a part of a larger one.

    Raises:
        DataError: `source` is not valid, or has too few utterances.
    """
    if (first is None) == (minutes is None):
        raise DataError("a subset needs either `first` or `minutes`")
    data = read_available_tables(source, target)
    if first is None:
        ids = first_minutes(data, minutes)
    elif 1 <= first <= len(data):
        ids = {utterance.id for utterance in data.utterances[:first]}
    else:
        raise DataError(f"{source}: `first={first}`: the directory has {len(data)} utterances")
    return write_part(data, target, [utterance for utterance in data if utterance.id in ids])


def read_available_tables(path: Path | str, *targets: Path | str) -> DataDirectory:
    """Read a directory that may lack text and audio, or be sorted otherwise; its tables are checked. Raises
    DataError also if two of the folders are the same: no directory is written over its source."""
    path, folders = Path(path), {Path(folder).resolve() for folder in (path, *targets)}
    if len(folders) <= len(targets):
        raise DataError(f"{targets[-1]}: source and targets must be different folders (give another name)")
    has_audio = (path / "wav.scp").exists() or (path / "segments").exists()
    return read_data_directory(
        path, text=(path / "text").exists(), wav=has_audio, spk_sort=False, allow_pipes=True
    )


def write_part(data: DataDirectory, target: Path | str, utterances: list[Utterance]) -> DataDirectory:
    """Write some utterances of `data` as the directory `target`."""
    write_data_directory(target, utterances, speaker_labels=data.speaker_labels)
    return replace(data, path=Path(target), utterances=utterances)


def first_minutes(data: DataDirectory, minutes: float) -> set[str]:
    """The ids of utterances in hash order, up to the first at whose end `minutes` are full."""
    seconds = {u.id: (with_duration(u) if u.source else u).duration for u in data}
    if None in seconds.values():
        raise DataError(f"{data.path}: the utterances' lengths are not known (write utt2dur)")
    available = sum(seconds.values())
    if not 0 < 60 * minutes <= available:
        raise DataError(
            f"{data.path}: `minutes={minutes:g}`: the directory holds {available / 60:.1f} minutes"
        )
    ids: set[str] = set()
    total = 0.0
    for id in sorted(seconds, key=hash_order):
        if total < 60 * minutes:
            ids.add(id)
            total += seconds[id]
    return ids


def split_data_directory(
    source: Path | str,
    rest: Path | str,
    part: Path | str,
    *,
    by: str = "speaker",
    fraction: float = DEV_SHARE,
) -> tuple[DataDirectory, DataDirectory]:
    """Divide a data directory so that no speaker (or consultation …) is on both sides.

    Args:
        source: the data directory to divide.
        rest: the data directory that gets the larger side (train).
        part: the data directory that gets the held-out side (dev, test).
        by: speaker, recording, text (the normalised sentence) or a label such as consultation.
        fraction: the share of speakers (groups), at least one, that goes to `part`; a hash of their names
            decides which, so that equal ids give an equal split.

    Raises:
        DataError: `source` is not valid, an utterance lacks the label, or there is only one group.
    """
    if not 0 < fraction < 1:
        raise DataError(f"`fraction` is {fraction}, and has to be between 0 and 1")
    data = read_available_tables(source, rest, part)
    group = {utterance.id: group_of(utterance, by, data) for utterance in data}
    in_part = hold_out(group.values(), fraction)
    if not in_part:
        only = f"only one {by} ({min(group.values())})"
        raise DataError(f"{source}: {only}, so no split (divide by another label)")
    sides = [[u for u in data if (group[u.id] in in_part) == inside] for inside in (False, True)]
    return write_part(data, rest, sides[0]), write_part(data, part, sides[1])


def group_of(utterance: Utterance, by: str, data: DataDirectory) -> str:
    """The speaker, recording, normalised sentence or label of an utterance; DataError where it has none."""
    if by in ("speaker", "recording"):
        return getattr(utterance, by)
    value = normalize(utterance.text or "") if by == "text" else utterance.labels.get(by)
    if value is None:
        labels = sorted({name for utterance in data for name in utterance.labels})
        known = ", ".join(["speaker", "recording", "text", *labels])
        if by not in labels:
            raise DataError(f"{data.path}: `by={by}`: no utterance has such a label (take one of {known})")
        raise DataError(f"{data.path}: utterance {utterance.id} has no {by} (split by one of {known})")
    return value


def hold_out(names: Iterable[str], share: float = DEV_SHARE) -> set[str]:
    """A share of the different names, chosen by a hash: at least one of two or more, and never all."""
    ordered = sorted(set(names), key=hash_order)
    return set(ordered[: min(len(ordered) - 1, max(1, round(share * len(ordered))))])


def hash_order(name: str) -> str:
    """A sorting key that shuffles names, independent of a seed and of other names."""
    return hashlib.sha256(name.encode()).hexdigest()
