"""Shared by the preparations of corpora: find a recording, divide into train, dev and test, write a set.

If a corpus has no split, a fifth of the speakers is test; a fifth of the sentences, if there are fewer than
four speakers or unknown speakers. Without dev, 15 % of train's speakers (sentences) become dev. A hash of the
names decides, so that the same data are always divided alike. Less than five minutes have no dev, and without
a split train and test are both all of it: training divides it into folds, and an adapter that was not trained
on a fold tests it.
"""

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ia3_speech.common.atomic import unexpected_file
from ia3_speech.common.errors import AudioError, UserError
from ia3_speech.data.audio import AUDIO_SUFFIXES
from ia3_speech.data.kaldi.directory import DEV_SHARE, hold_out, is_table, summarize, write_data_directory
from ia3_speech.data.kaldi.table_file import raise_if_any
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance, with_duration

Size = Literal["full", "small"]
SMALL = {"train": 48, "dev": 12, "test": 24}  # utterances of a set with --size small
SETS = ("train", "dev", "test")
TEST_SHARE = 0.2
MIN_SPEAKERS = 4  # to divide by speaker
FEW_SECONDS = 300.0
PLACES = "text_places"  # beside the sets: a recording and the place of its text, a line each, with a TAB


def find_recording(path: Path) -> Path | None:
    """`path` if it exists, else the file of that name in another audio format (.ogg for .WAV), else None."""
    is_file = os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises for a name that is too long)
    return path if is_file else recordings_by_stem(path.parent).get(path.stem)


@lru_cache
def recordings_by_stem(folder: Path) -> dict[str, Path]:
    """The audio files of one folder by their names without the suffix."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES}


def divide(
    utterances: Sequence[Utterance], sets: dict[str, str] | None = None, *, speakers_known: bool = True
) -> dict[str, list[Utterance]]:
    """The utterances of train, dev and test; prints the sizes of the held-out sets. Less than five minutes
    have no dev.

    Args:
        utterances: in any order.
        sets: utterance id → train, dev or test; dev may be absent. None: divide by speaker or sentence.
        speakers_known: whether the speakers are named. If not, one person may be several of them, and the
            corpus is divided by sentence.

    Raises:
        UserError: some utterances have a set and others have none, or train or test is absent.
    """
    by_speaker = speakers_known and len({u.speaker for u in utterances}) >= MIN_SPEAKERS

    def held_out(name: str, pool: Sequence[Utterance], share: float) -> set[str]:
        """The ids of a share of the speakers or sentences; no speaker or sentence is in two sets."""
        # One speaker may have become test.
        is_many = by_speaker and len({u.speaker for u in pool}) >= MIN_SPEAKERS - 1
        units = {u.id: u.speaker if is_many else normalize(u.text or "") for u in pool}
        chosen = hold_out(units.values(), share)
        ids = {id for id, unit in units.items() if unit in chosen}
        count = f"{len(chosen)} of {len(set(units.values()))} {'speakers' if is_many else 'sentences'}"
        print(f"{name}: {count}, {len(ids) / len(utterances):.0%} of all recordings")
        return ids

    if sets:
        if "" in (names := set(sets.values())) or not {"train", "test"} <= names:
            hint = "train and test must occur, in each row one of train, dev, test"
            raise UserError(f"the column split says {', '.join(map(repr, sorted(names)))} ({hint})")
    elif is_few(utterances):
        print("less than five minutes: train and test hold all of it; cross-validation evaluates the adapter")
        return {"train": [*utterances], "test": [*utterances]}
    else:
        test = held_out("test", utterances, TEST_SHARE)
        sets = {u.id: "test" if u.id in test else "train" for u in utterances}
    divided = {name: [u for u in utterances if sets[u.id] == name] for name in SETS}
    if not divided["dev"] and is_few(divided["train"]):
        print("less than five minutes of train: cross-validation takes the place of dev")
        del divided["dev"]
    elif not divided["dev"]:
        dev = held_out("dev", divided["train"], DEV_SHARE)
        divided["dev"] = [u for u in divided["train"] if u.id in dev]
        divided["train"] = [u for u in divided["train"] if u.id not in dev]
    return divided


def is_few(utterances: Iterable[Utterance]) -> bool:
    """Whether the utterances last less than FEW_SECONDS; False if a length is unknown."""
    seconds = 0.0
    for utterance in utterances:
        with suppress(AudioError):  # write_set reports it
            seconds += with_duration(utterance).duration or math.inf
        if seconds >= FEW_SECONDS:
            return False
    return True


def write_set(
    path: Path,
    utterances: Iterable[Utterance],
    size: Size = "full",
    speaker_labels: Iterable[str] = ("gender",),
) -> None:
    """Write a data directory with durations, and print its size.

    Size "small" keeps evenly spaced utterances, as many as the first word of the set's name decides:
    test_adults is as large as test.

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
            if measured[-1].duration == 0:
                raise AudioError(f"{utterance.source}: empty (no samples)")
        except AudioError as error:
            unreadable.append(str(error))
    raise_if_any(unreadable)
    write_data_directory(path, measured, speaker_labels=speaker_labels)
    print(f"{path}: {summarize(measured)}")


def remove_earlier_dev(out: Path) -> None:
    """Remove OUT/dev of an earlier preparation, of more speech; a folder that holds other files stays."""
    if unexpected_file(out / "dev", is_table) is None:
        shutil.rmtree(out / "dev", ignore_errors=True)


def text_places(data: Path) -> dict[str, str]:
    """Recording → the place of its text, `list.csv:17`; empty if the preparation wrote no such file."""
    file = data.parent / PLACES
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    return dict(line.split("\t", 1) for line in lines)


def evenly_spaced(utterances: Sequence[Utterance], maximum: int) -> list[Utterance]:
    """At most `maximum` utterances, at equal steps through the sequence."""
    count = min(maximum, len(utterances))
    return [utterances[len(utterances) * number // count] for number in range(count)]
