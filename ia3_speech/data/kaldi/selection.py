"""Parts of a data directory: Kaldi's subsets, and splits that no speaker or consultation crosses.

In: a data directory. Out: a smaller one, or two that share no speaker (or label, recording, sentence).

    python -m ia3_speech.datadir subset data/train data/train_1k --first 1000
    python -m ia3_speech.datadir split data/all data/train data/dev --by speaker --fraction 0.15
"""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from ia3_speech.data.audio import duration
from ia3_speech.data.kaldi.directory import (
    DataDir,
    Utterance,
    read,
    refuse_same,
    refuse_unexpected_files,
    write,
)
from ia3_speech.data.kaldi.table_file import GAP, DataError, decode
from ia3_speech.data.text import normalize

log = logging.getLogger(__name__)


def subset(
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
) -> DataDir:
    """Write a part of `source` to `target`, chosen as Kaldi's subset_data_dir.sh does, by exactly one of:

    Args:
        source: a data directory.
        target: the data directory to write.
        first: so many utterances from the start.
        last: so many from the end.
        shortest: so many of the shortest (by utt2dur or segments; else by the headers of the audio files).
        per_spk: so many of each speaker, evenly spread; all of a speaker who has fewer.
        speakers: whole speakers, in an order fixed by a hash of their ids, until so many utterances.
        minutes: utterances of all speakers, in an order fixed by a hash of their ids, until so many minutes;
            what fewer minutes would hold is among them.
        spk_list: the speakers named in the first column of this file.
        utt_list: the utterances named in the first column of this file.

    Raises:
        DataError: `source` is not valid, holds too few utterances, or nothing is left.
    """
    wishes = {"first": first, "last": last, "shortest": shortest, "per_spk": per_spk, "speakers": speakers}
    wishes["minutes"] = minutes
    files = {"spk_list": spk_list, "utt_list": utt_list}
    given = {name: value for name, value in {**wishes, **files}.items() if value is not None}
    if len(given) != 1:
        flags = ", ".join("--" + name.replace("_", "-") for name in {**wishes, **files})
        raise DataError(f"a subset is chosen by exactly one of {flags} ({len(given)} given)")
    data = read_any(source)
    refuse_same(source, target)
    ((way, wish),) = given.items()
    if way in files:
        chosen = named(data, Path(wish), "speaker" if way == "spk_list" else "id")
    elif way == "minutes":
        chosen = first_minutes(data, wish)
    else:
        if wish < 1 or (wish > len(data) and way != "per_spk"):
            raise DataError(
                f"{source}: --{way.replace('_', '-')} {wish}: the directory has {len(data)} utterances"
            )
        chosen = SELECTORS[way](data, wish)
    if not chosen:
        raise DataError(f"{source}: nothing is left (does {wish} name {way[:3]} ids of this directory?)")
    write(target, chosen, speaker_labels=data.speaker_labels, spk_sort=False)
    return replace(data, path=Path(target), utterances=chosen)


def read_any(path: Path | str) -> DataDir:
    """Read a directory with or without text, audio and speaker order: what is there is checked."""
    path = Path(path)
    has_audio = (path / "wav.scp").exists() or (path / "segments").exists()
    return read(path, text=(path / "text").exists(), wav=has_audio, spk_sort=False, allow_pipes=True)


def named(data: DataDir, file: Path, what: str) -> list[Utterance]:
    """The utterances whose `what` ("speaker" or "id") stands in the first column of `file`."""
    wanted = {GAP.split(line.strip())[0] for line in decode(file).splitlines() if line.strip()}
    unknown = wanted - {getattr(utterance, what) for utterance in data}
    if unknown:
        log.warning(
            f"{file}: {len(unknown)} of {len(wanted)} ids are not in {data.path} (such as {min(unknown)})"
        )
    return [utterance for utterance in data if getattr(utterance, what) in wanted]


def shortest_of(data: DataDir, number: int) -> list[Utterance]:
    seconds = {u.id: u.duration if u.duration is not None else measured(u) for u in data}
    kept = set(sorted(seconds, key=lambda utterance: (seconds[utterance], utterance))[:number])
    return [utterance for utterance in data if utterance.id in kept]


def first_minutes(data: DataDir, minutes: float) -> list[Utterance]:
    """The utterance that crosses the line is the last one taken."""
    seconds = {u.id: u.duration if u.duration is not None else measured(u) for u in data}
    held = sum(seconds.values())
    if not 0 < 60 * minutes <= held:
        raise DataError(f"{data.path}: --minutes {minutes:g}: the directory holds {held / 60:.1f} minutes")
    kept: set[str] = set()
    total = 0.0
    for id in sorted(seconds, key=fixed_order):
        if total < 60 * minutes:
            kept.add(id)
            total += seconds[id]
    return [utterance for utterance in data if utterance.id in kept]


def measured(utterance: Utterance) -> float:
    if not utterance.source or utterance.source.endswith("|"):
        raise DataError(f"utterance {utterance.id}: its length is not known (write utt2dur)")
    return duration(utterance.source)


def evenly(data: DataDir, number: int) -> list[Utterance]:
    """`number` of each speaker, at equal steps through the speaker's list (subset_data_dir.sh --per-spk)."""
    kept = set()
    for own in data.speakers.values():
        step = max(1, len(own) // number)
        kept |= {utterance.id for utterance in own[: number * step : step]}
    return [utterance for utterance in data if utterance.id in kept]


def whole_speakers(data: DataDir, number: int) -> list[Utterance]:
    kept: set[str] = set()
    count = 0
    for speaker in sorted(data.speakers, key=fixed_order):
        if count < number:
            kept.add(speaker)
            count += len(data.speakers[speaker])
    return [utterance for utterance in data if utterance.speaker in kept]


SELECTORS = {
    "first": lambda data, number: data.utterances[:number],
    "last": lambda data, number: data.utterances[-number:],
    "shortest": shortest_of,
    "per_spk": evenly,
    "speakers": whole_speakers,
}


def split(
    source: Path | str, rest: Path | str, part: Path | str, *, by: str = "speaker", fraction: float = 0.15
) -> tuple[DataDir, DataDir]:
    """Divide `source` so that no speaker (or other group) is on both sides; the same ids always fall alike.

    Args:
        source: a data directory.
        rest: the data directory that gets the larger side (train).
        part: the data directory that gets `fraction` of the groups (dev, test), at least one.
        by: "speaker", "recording", "text" (the normalised sentence) or the name of a label (consultation).
        fraction: the share of groups, between 0 and 1. Which ones is decided by a hash of their names.

    Raises:
        DataError: `source` is not valid, an utterance lacks the label, or there is only one group.
    """
    if not 0 < fraction < 1:
        raise DataError(f"--fraction {fraction}: not between 0 and 1")
    refuse_same(source, rest, part)
    data = read_any(source)
    group = {utterance.id: group_of(utterance, by, data) for utterance in data}
    groups = sorted(set(group.values()), key=fixed_order)
    if len(groups) < 2:
        raise DataError(f"{source}: only one {by} ({groups[0]}), so no split (divide by another label)")
    taken = set(groups[: min(len(groups) - 1, max(1, round(fraction * len(groups))))])
    for path in (rest, part):  # before either is replaced
        refuse_unexpected_files(Path(path))
    sides = []
    for path, inside in ((rest, False), (part, True)):
        chosen = [utterance for utterance in data if (group[utterance.id] in taken) == inside]
        write(path, chosen, speaker_labels=data.speaker_labels, spk_sort=False)
        sides.append(replace(data, path=Path(path), utterances=chosen))
    return sides[0], sides[1]


def group_of(utterance: Utterance, by: str, data: DataDir) -> str:
    if by in ("speaker", "recording"):
        return getattr(utterance, by)
    value = normalize(utterance.text or "") if by == "text" else utterance.labels.get(by)
    if value is None:
        known = ", ".join(["speaker", "recording", "text", *data.label_names])
        raise DataError(f"{data.path}: utterance {utterance.id} has no {by} (split by one of {known})")
    return value


def fixed_order(name: str) -> str:
    """A place in a shuffled order that depends on the name alone, not on a seed or the other names."""
    return hashlib.sha256(name.encode()).hexdigest()
