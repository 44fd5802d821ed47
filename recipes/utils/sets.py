"""What the preparations share: find the sound, read two columns, hold something out, write a set.

In: a corpus as it was published. Out: Kaldi directories with lengths (utt2dur; not those of pipes), each with
a line on stdout that says how much it holds.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from kaldi_corpus import DEV_SHARE, SMALL, evenly

from ia3_speech.cli import UserError
from ia3_speech.data.audio import audio_duration
from ia3_speech.data.kaldi import DataDirectory, write_data_directory
from ia3_speech.data.kaldi.selection import hash_order
from ia3_speech.data.kaldi.table_file import FIELD_SEPARATOR, read_utf8
from ia3_speech.data.utterance import Utterance

SOUNDS = {".wav", ".flac", ".ogg", ".opus", ".mp3"}  # in any case; what libsndfile reads

Size = Literal["full", "small"]


def sound(path: Path) -> Path | None:
    """The file; else one of the same name in another format (.ogg for .WAV); None where there is neither."""
    return path if path.is_file() else sounds(path.parent).get(path.stem)


@lru_cache
def sounds(folder: Path) -> dict[str, Path]:
    """The sound files of one folder, by their names without the suffix."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SOUNDS}


def table(path: Path) -> dict[str, str]:
    """Lines of `key value…`, with spaces or TABs between, in any order.

    Raises:
        UserError: there is no such file, it is not UTF-8, a line has one field, or a key comes twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(read_utf8(path).splitlines(), 1):
        if not line.strip():
            continue
        key, *value = FIELD_SEPARATOR.split(line.strip(), maxsplit=1)
        if not value:
            raise UserError(f"{path}:{number}: {key} stands alone (a line is `key value`)")
        if key in found:
            raise UserError(f"{path}:{number}: {key} stands here again (remove one of its lines)")
        found[key] = value[0]
    return found


def held_out(names: Iterable[str], share: float = DEV_SHARE) -> set[str]:
    """A share of the names, at least one of two or more; which ones hangs on the names alone (a hash)."""
    ordered = sorted(set(names), key=hash_order)
    return set(ordered[: max(1, round(share * len(ordered)))]) if len(ordered) > 1 else set()


def put(
    path: Path,
    utterances: Iterable[Utterance],
    size: Size = "full",
    speaker_labels: Iterable[str] = ("gender",),
) -> None:
    """Write a set and say what it holds. `small` keeps some utterances, evenly spread.

    How many `small` keeps hangs on the first word of the set's name: test_adults is a test.

    Raises:
        UserError: there is none, or a sound file can't be opened.
    """
    chosen = sorted(utterances, key=lambda one: one.id)
    if not chosen:
        raise UserError(f"{path}: no utterance is left for it")
    if size == "small":
        chosen = evenly(DataDirectory(path, chosen), SMALL[path.name.split("_")[0]])
    measured = [with_length(one) for one in chosen]
    write_data_directory(path, measured, speaker_labels=speaker_labels)
    print(f"{path}: {amount(measured)}")


def with_length(utterance: Utterance) -> Utterance:
    """With its duration, where nobody has said it: the segment's, or what the file's header says. A pipe's
    is not known."""
    if utterance.duration is not None or (utterance.source.endswith("|") and utterance.end is None):
        return utterance
    end = audio_duration(utterance.source) if utterance.end is None else utterance.end
    return replace(utterance, duration=end - (utterance.start or 0.0))


def amount(utterances: list[Utterance]) -> str:
    """`2120 utterances, 106 speakers, 2.41 hours`."""
    speakers = len({one.speaker for one in utterances})
    hours = sum(one.duration or 0.0 for one in utterances) / 3600
    length = f"{hours:.2f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
    return f"{len(utterances)} utterances, {speakers} speaker{'s' * (speakers != 1)}, {length}"
