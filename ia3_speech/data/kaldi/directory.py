"""Reads Kaldi data directories, always checked, writes them, always as a whole, divides them; assigns ids.

In: a folder with wav.scp, text, utt2spk, spk2utt and perhaps segments, utt2dur, utt2LABEL, spk2LABEL.
Out: a `DataDirectory` of `Utterance`s in the order of their ids; and the reverse. Or two directories that
share no speaker (or recording, sentence, label).

    ia3-speech datadir split data/all data/train data/dev --by speaker --fraction 0.15
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ia3_speech.common import atomic
from ia3_speech.common.errors import DataError
from ia3_speech.common.formatting import plural
from ia3_speech.data.kaldi.table_file import fix_hint, format_table, spk2utt_of, unprintable_character
from ia3_speech.data.kaldi.validation import check_tables, label_of_table, resolve_source, rule_of
from ia3_speech.data.recordings import file_stem
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance

DEV_SHARE = 0.15  # of the speakers of train
MAX_SPEAKER_LENGTH = 40  # characters; longer ids (Common Voice's 128 hex digits) are cut to the first 12


@dataclass
class DataDirectory:
    """A checked data directory."""

    path: Path  # its folder
    utterances: list[Utterance]  # in the order of their ids
    # The labels in spk2LABEL; the others are in utt2LABEL
    speaker_labels: frozenset[str] = frozenset({"gender"})

    def __str__(self) -> str:
        return f"{self.path}: {summarize(self.utterances)}"

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @property
    def speakers(self) -> dict[str, list[Utterance]]:
        """Speaker → utterances, both in order of their ids."""
        grouped: dict[str, list[Utterance]] = {}
        for utterance in self.utterances:
            grouped.setdefault(utterance.speaker, []).append(utterance)
        return dict(sorted(grouped.items()))


def read_data_directory(
    path: Path | str, *, text: bool = True, wav: bool = True, spk_sort: bool = True, allow_pipes: bool = False
) -> DataDirectory:
    """Check a data directory and read it. Raises DataError if it is not valid; the message names file, line
    and a hint.

    Args:
        text: require `text`.
        wav: require `wav.scp` and its files.
        spk_sort: require utt2spk to be sorted by speaker as well.
        allow_pipes: accept shell commands in wav.scp, which loading the audio then runs (none is run here).
    """
    path = Path(path)
    tables = check_tables(path, text=text, wav=wav, spk_sort=spk_sort, allow_pipes=allow_pipes)
    columns = {
        name: {key: collapse_whitespace(row.value) for key, row in table.items()}
        for name, table in tables.items()
    }
    texts, durations, segments = (columns.get(name, {}) for name in ("text", "utt2dur", "segments"))
    durations = durations or ({} if segments else columns.get("reco2dur", {}))
    sources = {key: resolve_source(r.value, path) or r.value for key, r in tables.get("wav.scp", {}).items()}
    labelled = {name: label for name in columns if (label := label_of_table(name))}
    utterances = []
    for id, speaker in columns["utt2spk"].items():
        recording, *times = segments.get(id, id).split()
        start, end = map(float, times) if times else (None, None)
        seconds = float(durations[id]) if durations else end - start if times else None
        # Sorted, spk2LABEL before utt2LABEL, which takes precedence
        values = {name: columns[name].get(speaker if name.startswith("spk2") else id) for name in labelled}
        labels = {labelled[name]: value for name, value in values.items() if value}
        known = {"text": texts.get(id), "duration": seconds, "labels": labels, "allow_pipe": allow_pipes}
        utterances.append(Utterance(id, speaker, recording, sources.get(recording, ""), start, end, **known))
    speaker_labels = {label for name, label in labelled.items() if name.startswith("spk2")}
    return DataDirectory(path, utterances, frozenset(speaker_labels or {"gender"}))


def write_data_directory(
    path: Path | str, utterances: Iterable[Utterance], *, speaker_labels: Iterable[str] = ("gender",)
) -> None:
    """Write a data directory as a whole. It replaces an older directory once it is complete and checked.

    wav.scp (absolute paths), utt2spk and spk2utt are always written; text, segments and utt2dur where the
    utterances have them; and a file for each label: spk2LABEL if it is in `speaker_labels` and the same in
    all of a speaker's utterances, else utt2LABEL. Raises DataError where there is nothing to write, Kaldi
    could not read the ids, or the folder holds other files.
    """
    path = Path(path)
    if name := atomic.unexpected_file(path, is_table):
        raise DataError(f"{path}: holds {name}, so it is not replaced (give another folder)")
    with atomic.replacing(path) as new:
        write_tables(new, path, utterances, speaker_labels)


def is_table(file: Path) -> bool:
    return file.is_file() and bool(rule_of(file.name))


def write_tables(
    folder: Path, name: Path, utterances: Iterable[Utterance], speaker_labels: Iterable[str]
) -> None:
    """Write the tables of `utterances` into `folder` and check them; errors call the folder `name`."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, content in table_contents(list(utterances), speaker_labels).items():
        (folder / table).write_text(content, encoding="utf-8", newline="")
    try:
        check_tables(folder, text=False, wav=False, spk_sort=False)
    except DataError as error:
        fault = str(error).replace(f" ({fix_hint(folder)})", "")  # the utterances are at fault, not the files
        raise DataError(fault.replace(str(folder), str(name))) from None


def table_contents(utterances: list[Utterance], speaker_labels: Iterable[str]) -> dict[str, str]:
    """File name → text of each table of `utterances`; `check_tables` finds missing entries."""
    if not utterances:
        raise DataError("no utterances to write (the selection is empty)")
    utt2spk: dict[str, str] = {}
    sources: dict[str, str] = {}  # of recordings: absolute paths, or pipes
    for u in utterances:
        for name in (u.id, u.speaker, u.recording):
            if name.split() != [name] or unprintable_character(name):
                fault = f"the id {name!r} is empty, or holds a space or an unprintable character"
                raise DataError(f"utterance {u.id!r}: {fault} (use letters, digits, - and _)")
        if u.id in utt2spk:
            raise DataError(f"utterance {u.id} appears twice (utterance ids are unique)")
        utt2spk[u.id] = u.speaker
        source = str(Path(u.source).absolute()) if u.source and not u.is_piped else u.source
        if unprintable_character(source) or source != source.strip(" \t"):
            raise DataError(f"recording {u.recording}: wav.scp cannot hold the path {source!r} (rename it)")
        if sources.setdefault(u.recording, source) != source:
            raise DataError(f"recording {u.recording} is both {sources[u.recording]} and {source}")
    durations = {u.id: format_seconds(u.duration) for u in utterances if u.duration is not None}
    columns = {
        "text": {u.id: collapse_whitespace(u.text) for u in utterances if u.text is not None},
        "segments": {
            u.id: f"{u.recording} {format_seconds(u.start)} {format_seconds(u.end)}"
            for u in utterances
            if u.start is not None and u.end is not None
        },
        "utt2dur": durations if len(durations) == len(utterances) else {},
        "wav.scp": {recording: source for recording, source in sources.items() if source},
        "utt2spk": utt2spk,
        "spk2utt": spk2utt_of(utt2spk),
        **label_tables(utterances, set(speaker_labels)),
    }
    return {name: format_table(column.items()) for name, column in columns.items() if column}


def label_tables(utterances: list[Utterance], speaker_labels: set[str]) -> dict[str, dict[str, str]]:
    """`utt2LABEL` or `spk2LABEL` → its lines: utterance or speaker → value."""
    tables, speakers = {}, {u.speaker for u in utterances}
    for label in sorted({name for utterance in utterances for name in utterance.labels}):
        if label_of_table(f"utt2{label}") != label:
            fault = f"utt2{label} is not a label file, or is another table"
            raise DataError(f"{label!r} cannot be the name of a label: {fault}")
        values = {u.id: collapse_whitespace(u.labels.get(label, "")) for u in utterances}
        is_constant = len({(u.speaker, values[u.id]) for u in utterances}) == len(speakers)
        if label == "gender":  # Kaldi's spk2gender names every speaker, and m or f only
            is_constant = is_constant and set(values.values()) <= {"m", "f"}
        by_speaker = label in speaker_labels and is_constant and any(values.values())
        if by_speaker:
            values = {u.speaker: values[u.id] for u in utterances}
        tables[f"{'spk' if by_speaker else 'utt'}2{label}"] = {key: v for key, v in values.items() if v}
    return tables


def summarize(utterances: Sequence[Utterance]) -> str:
    """`454 utterances, 4 speakers, 1.45 hours`; below one hour minutes; no length if one is unknown."""
    speakers = len({utterance.speaker for utterance in utterances})
    parts = [plural(len(utterances), "utterance"), plural(speakers, "speaker")]
    durations = [utterance.duration for utterance in utterances]
    if None not in durations:
        hours = sum(durations) / 3600
        parts.append(f"{hours:.2f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes")
    return ", ".join(parts)


def collapse_whitespace(text: str) -> str:
    """`text` on one line, single spaces between its words."""
    return " ".join(text.split())


def format_seconds(seconds: float) -> str:
    """`3.7`, `0.01`, `12`: a decimal number without an exponent, to ten microseconds."""
    return f"{seconds:.5f}".rstrip("0").rstrip(".")


@dataclass
class UtteranceIds:
    """Assigns unique ids `SPEAKER-ID` of letters, digits and `_ . -`.

    A speaker's id has no `-`, which sorts before all the other characters: so utterances that are sorted by
    id are sorted by speaker too.
    """

    total: int  # the number of utterances, which decides how many digits numbered ids have
    _speakers: dict[str, str] = field(default_factory=dict, init=False)  # the corpus's name → id
    _suffixes: dict[str, int] = field(default_factory=dict, init=False)  # id → the last number appended to it

    def assign(self, speaker: str, name: str, number: int) -> tuple[str, str]:
        """The ids (speaker, utterance) of utterance `number`, from 1. `speaker` is the corpus's name; if it
        is empty, the utterance becomes a speaker. `name` is an id or a file name; if no character of it can
        be used, `number` is the id."""
        id = sanitize(file_stem(Path(name.replace("\\", "/"))))  # S01.U05 has no suffix
        id = id or f"{number:0{len(str(self.total))}d}"
        if not speaker:
            alone = self.make_unique(id.replace("-", "_"))
            return alone, alone
        if speaker not in self._speakers:
            short = sanitize(speaker).replace("-", "_") or "speaker"
            short = short[:12] if len(short) > MAX_SPEAKER_LENGTH else short
            self._speakers[speaker] = self.make_unique(short)
        short = self._speakers[speaker]
        return short, self.make_unique(id if id.startswith(f"{short}-") else f"{short}-{id}")

    def make_unique(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, … if it is assigned already."""
        unique = name
        while unique in self._suffixes:
            self._suffixes[name] += 1
            unique = f"{name}_{self._suffixes[name]}"
        self._suffixes[unique] = 1
        return unique


def sanitize(name: str) -> str:
    """`name` in ASCII letters, digits, `_`, `.` and `-`: `Zoë Müller` → `Zoe_Muller`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")


def read_available_tables(path: Path | str, *targets: Path | str) -> DataDirectory:
    """Read a directory that may lack text and audio. Raises DataError if two of the folders are the same."""
    path, folders = Path(path), {Path(folder).resolve() for folder in (path, *targets)}
    if len(folders) <= len(targets):
        raise DataError(f"{targets[-1]}: source and targets must be different folders (give another name)")
    has_audio = (path / "wav.scp").exists() or (path / "segments").exists()
    has_text = (path / "text").exists()
    data = read_data_directory(path, text=has_text, wav=has_audio, spk_sort=False, allow_pipes=True)
    return replace(data, utterances=[replace(u, allow_pipe=False) for u in data])  # none is run


def write_part(data: DataDirectory, target: Path | str, utterances: list[Utterance]) -> DataDirectory:
    write_data_directory(target, utterances, speaker_labels=data.speaker_labels)
    return replace(data, path=Path(target), utterances=utterances)


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
        raise DataError(f"`fraction` is {fraction}, and must be between 0 and 1")
    data = read_available_tables(source, rest, part)
    group = {utterance.id: group_of(utterance, by, data) for utterance in data}
    in_part = hold_out(group.values(), fraction)
    if not in_part:
        raise DataError(f"{source}: only one {by}, so no split (divide by another label)")
    sides = [[u for u in data if (group[u.id] in in_part) == inside] for inside in (False, True)]
    return write_part(data, rest, sides[0]), write_part(data, part, sides[1])


def group_of(utterance: Utterance, by: str, data: DataDirectory) -> str:
    """The speaker, recording, normalised sentence or label of an utterance; DataError where it has none."""
    if by in ("speaker", "recording"):
        return getattr(utterance, by)
    value = normalize(utterance.text or "") if by == "text" else utterance.labels.get(by)
    if value is None:
        known = ", ".join(["speaker", "recording", "text", *utterance.labels])
        raise DataError(f"{data.path}: utterance {utterance.id} has no label {by} (`by` is one of {known})")
    return value


def hold_out(names: Iterable[str], share: float = DEV_SHARE) -> set[str]:
    """A share of the different names, chosen by a hash: at least one of two or more, and never all."""
    ordered = sorted(set(names), key=hash_order)
    return set(ordered[: min(len(ordered) - 1, max(1, round(share * len(ordered))))])


def hash_order(name: str) -> str:
    """A sorting key that shuffles names, independent of a seed and of other names."""
    return hashlib.sha256(name.encode()).hexdigest()
