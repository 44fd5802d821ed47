"""Parts of a data directory: Kaldi's subsets, and splits that keep a speaker or consultation on one side.

In: a data directory. Out: a smaller one, or two that share no speaker (or recording, sentence, label).

    ia3-speech datadir subset data/train data/train_1k --first 1000
    ia3-speech datadir split data/all data/train data/dev --by speaker --fraction 0.15
"""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from ia3_speech.data.audio import audio_duration
from ia3_speech.data.kaldi.directory import (
    DataDirectory,
    read_data_directory,
    refuse_same_folder,
    refuse_unexpected_files,
    write_data_directory,
)
from ia3_speech.data.kaldi.table_file import FIELD_SEPARATOR, DataError, read_utf8
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance

log = logging.getLogger(__name__)


def subset_data_directory(
    source: Path | str,
    target: Path | str,
    *,
    first: int | None = None,
    last: int | None = None,
    shortest: int | None = None,
    per_spk: int | None = None,
    speakers: int | None = None,
    minutes: float | None = None,
    spk_list: Path | str | None = None,
    utt_list: Path | str | None = None,
) -> DataDirectory:
    """Write a part of `source` to `target`, chosen by exactly one option, as in Kaldi's subset_data_dir.sh.

    Args:
        source: a data directory.
        target: the data directory to write.
        first: this number of utterances from the start.
        last: this number of utterances from the end.
        shortest: this number of the shortest utterances (by utt2dur or segments, else by the headers of the
            audio files).
        per_spk: this number of each speaker's utterances, evenly spaced; all of a speaker who has fewer.
        speakers: whole speakers, ordered by a hash of their ids, until they have this number of utterances.
        minutes: utterances of all speakers, ordered by a hash of their ids, until they last this long. A
            smaller subset is a part of a larger one.
        spk_list: the speakers in the first column of this file.
        utt_list: the utterances in the first column of this file.

    Raises:
        DataError: `source` is not valid, has too few utterances, or nothing is left.
    """
    options = {"first": first, "last": last, "shortest": shortest, "per_spk": per_spk, "speakers": speakers}
    options |= {"minutes": minutes, "spk_list": spk_list, "utt_list": utt_list}
    given = {name: value for name, value in options.items() if value is not None}
    if len(given) != 1:
        flags = ", ".join(map(flag_of, options))
        raise DataError(f"a subset is chosen by exactly one of {flags} ({len(given)} given)")
    data = read_available_tables(source)
    refuse_same_folder(source, target)
    ((option, value),) = given.items()
    if option in ("spk_list", "utt_list"):
        chosen = utterances_listed_in(data, Path(value), "speaker" if option == "spk_list" else "id")
    elif option == "minutes":
        chosen = first_minutes(data, value)
    else:
        if value < 1 or (value > len(data) and option != "per_spk"):
            raise DataError(f"{source}: {flag_of(option)} {value}: the directory has {len(data)} utterances")
        chosen = SELECTORS[option](data, value)
    if not chosen:
        raise DataError(f"{source}: nothing is left (does {value} name {option[:3]} ids of this directory?)")
    write_data_directory(target, chosen, speaker_labels=data.speaker_labels, spk_sort=False)
    return replace(data, path=Path(target), utterances=chosen)


def flag_of(option: str) -> str:
    return "--" + option.replace("_", "-")


def read_available_tables(path: Path | str) -> DataDirectory:
    """Read a directory that may lack text and audio, or be sorted otherwise; its tables are checked."""
    path = Path(path)
    has_audio = (path / "wav.scp").exists() or (path / "segments").exists()
    return read_data_directory(
        path, text=(path / "text").exists(), wav=has_audio, spk_sort=False, allow_pipes=True
    )


def utterances_listed_in(data: DataDirectory, file: Path, field: str) -> list[Utterance]:
    """The utterances whose `field` ("speaker" or "id") is in the first column of `file`."""
    wanted = {FIELD_SEPARATOR.split(line.strip())[0] for line in read_utf8(file).splitlines() if line.strip()}
    unknown = wanted - {getattr(utterance, field) for utterance in data}
    if unknown:
        log.warning(
            f"{file}: {len(unknown)} of {len(wanted)} ids are not in {data.path} (such as {min(unknown)})"
        )
    return [utterance for utterance in data if getattr(utterance, field) in wanted]


def shortest_utterances(data: DataDirectory, number: int) -> list[Utterance]:
    seconds = {utterance.id: known_duration(utterance) for utterance in data}
    kept = set(sorted(seconds, key=lambda utterance: (seconds[utterance], utterance))[:number])
    return [utterance for utterance in data if utterance.id in kept]


def first_minutes(data: DataDirectory, minutes: float) -> list[Utterance]:
    """Utterances in hash order until they last `minutes`: the one that exceeds it is the last."""
    seconds = {utterance.id: known_duration(utterance) for utterance in data}
    available = sum(seconds.values())
    if not 0 < 60 * minutes <= available:
        raise DataError(
            f"{data.path}: --minutes {minutes:g}: the directory holds {available / 60:.1f} minutes"
        )
    kept: set[str] = set()
    total = 0.0
    for id in sorted(seconds, key=hash_order):
        if total < 60 * minutes:
            kept.add(id)
            total += seconds[id]
    return [utterance for utterance in data if utterance.id in kept]


def known_duration(utterance: Utterance) -> float:
    """Seconds, from the tables or the header of the audio file. Raises DataError if neither states it."""
    if utterance.duration is not None:
        return utterance.duration
    if not utterance.source or utterance.is_piped:
        raise DataError(f"utterance {utterance.id}: its length is not known (write utt2dur)")
    return audio_duration(utterance.source)


def of_each_speaker(data: DataDirectory, number: int) -> list[Utterance]:
    """`number` of each speaker, at equal steps through the speaker's list (subset_data_dir.sh --per-spk)."""
    kept = set()
    for own in data.speakers.values():
        step = max(1, len(own) // number)
        kept |= {utterance.id for utterance in own[: number * step : step]}
    return [utterance for utterance in data if utterance.id in kept]


def whole_speakers(data: DataDirectory, number: int) -> list[Utterance]:
    """Speakers in hash order until they have `number` utterances."""
    kept: set[str] = set()
    count = 0
    for speaker in sorted(data.speakers, key=hash_order):
        if count < number:
            kept.add(speaker)
            count += len(data.speakers[speaker])
    return [utterance for utterance in data if utterance.speaker in kept]


SELECTORS = {
    "first": lambda data, number: data.utterances[:number],
    "last": lambda data, number: data.utterances[-number:],
    "shortest": shortest_utterances,
    "per_spk": of_each_speaker,
    "speakers": whole_speakers,
}


def split_data_directory(
    source: Path | str, rest: Path | str, part: Path | str, *, by: str = "speaker", fraction: float = 0.15
) -> tuple[DataDirectory, DataDirectory]:
    """Divide `source` so that no speaker (or other group) is on both sides. Equal ids give an equal split.

    Args:
        source: a data directory.
        rest: the data directory that gets the larger side (train).
        part: the data directory that gets `fraction` of the groups, at least one (dev, test).
        by: "speaker", "recording", "text" (the normalised sentence) or the name of a label (consultation).
        fraction: the share of groups, between 0 and 1; a hash of their names decides which.

    Raises:
        DataError: `source` is not valid, an utterance lacks the label, or there is only one group.
    """
    if not 0 < fraction < 1:
        raise DataError(f"--fraction {fraction}: not between 0 and 1")
    refuse_same_folder(source, rest, part)
    data = read_available_tables(source)
    group = {utterance.id: group_of(utterance, by, data) for utterance in data}
    groups = sorted(set(group.values()), key=hash_order)
    if len(groups) < 2:
        raise DataError(f"{source}: only one {by} ({groups[0]}), so no split (divide by another label)")
    in_part = set(groups[: min(len(groups) - 1, max(1, round(fraction * len(groups))))])
    for path in (rest, part):  # before either is replaced
        refuse_unexpected_files(Path(path))
    sides = []
    for path, inside in ((rest, False), (part, True)):
        chosen = [utterance for utterance in data if (group[utterance.id] in in_part) == inside]
        write_data_directory(path, chosen, speaker_labels=data.speaker_labels, spk_sort=False)
        sides.append(replace(data, path=Path(path), utterances=chosen))
    return sides[0], sides[1]


def group_of(utterance: Utterance, by: str, data: DataDirectory) -> str:
    """The speaker, recording, normalised sentence or label of an utterance.

    Raises:
        DataError: the utterance has no such label.
    """
    if by in ("speaker", "recording"):
        return getattr(utterance, by)
    value = normalize(utterance.text or "") if by == "text" else utterance.labels.get(by)
    if value is None:
        known = ", ".join(["speaker", "recording", "text", *data.label_names])
        raise DataError(f"{data.path}: utterance {utterance.id} has no {by} (split by one of {known})")
    return value


def hash_order(name: str) -> str:
    """A sorting key that shuffles names. It depends on the name alone, not on a seed or other names."""
    return hashlib.sha256(name.encode()).hexdigest()
