"""What the preparations of corpora share: find a recording, read a two-column file, write a set.

In: a corpus as it was published. Out: Kaldi data directories with utt2dur, and on stdout a line for each that
says how much it holds.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ia3_speech.cli import UserError
from ia3_speech.data.audio import AUDIO_SUFFIXES, AudioError
from ia3_speech.data.kaldi.directory import summarize, write_data_directory
from ia3_speech.data.kaldi.table_file import FIELD_SEPARATOR, raise_if_any, read_utf8
from ia3_speech.data.utterance import Utterance, with_duration

Size = Literal["full", "small"]
SMALL = {"train": 48, "dev": 12, "test": 24}  # utterances of a set with --size small


def find_recording(path: Path) -> Path | None:
    """`path` if it exists, else the file of that name in another audio format (.ogg for .WAV), else None."""
    return path if path.is_file() else recordings_by_stem(path.parent).get(path.stem)


@lru_cache
def recordings_by_stem(folder: Path) -> dict[str, Path]:
    """The audio files of one folder by their names without the suffix."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if is_recording(path)}


def is_recording(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES


def read_mapping(path: Path) -> dict[str, str]:
    """Key → value of lines `key value…`, in any order, with spaces or TABs between.

    Raises:
        UserError: the file does not exist or is not UTF-8, a line has no value, or a key occurs twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(read_utf8(path).splitlines(), 1):
        if not line.strip():
            continue
        key, *value = FIELD_SEPARATOR.split(line.strip(), maxsplit=1)
        if not value:
            raise UserError(f"{path}:{number}: {key} has no value (a line is `key value`)")
        if key in found:
            raise UserError(f"{path}:{number}: {key} appears twice (remove one of its lines)")
        found[key] = value[0]
    return found


def write_set(
    path: Path,
    utterances: Iterable[Utterance],
    size: Size = "full",
    speaker_labels: Iterable[str] = ("gender",),
) -> None:
    """Write a data directory with durations, and print how much it holds.

    With size "small" some utterances are kept, evenly spaced; how many is decided by the first word of the
    set's name, so that test_adults is as large as test.

    Raises:
        UserError: there is no utterance, or audio files cannot be opened: the first ten, and how many more.
    """
    chosen = sorted(utterances, key=lambda utterance: utterance.id)
    if not chosen:
        raise UserError(f"{path}: no utterance is left for it")
    if size == "small":
        chosen = evenly_spaced(chosen, SMALL[path.name.split("_")[0]])
    measured, unreadable = [], []
    for utterance in chosen:
        try:
            measured.append(with_duration(utterance))
        except AudioError as error:
            unreadable.append(str(error))
    raise_if_any(unreadable)
    write_data_directory(path, measured, speaker_labels=speaker_labels)
    print(f"{path}: {summarize(measured)}")


def evenly_spaced(utterances: Sequence[Utterance], most: int) -> list[Utterance]:
    """At most `most` utterances, at equal steps through the sequence."""
    most = min(most, len(utterances))
    return [utterances[len(utterances) * number // most] for number in range(most)]
