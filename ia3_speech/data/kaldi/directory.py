"""Reads Kaldi data directories, always checked, and writes them, always as a whole; assigns ids.

In: a folder with wav.scp, text, utt2spk, spk2utt and perhaps segments, utt2dur, utt2LABEL, spk2LABEL.
Out: a `DataDirectory` of `Utterance`s in the order of their ids; and the reverse.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ia3_speech import atomic
from ia3_speech.data.audio import AUDIO_SUFFIXES
from ia3_speech.data.kaldi.table_file import fix_hint, format_table, spk2utt_of, unprintable_character
from ia3_speech.data.kaldi.validation import check_tables, label_of_table, resolve_source, rule_of
from ia3_speech.data.utterance import Utterance
from ia3_speech.errors import DataError
from ia3_speech.formatting import plural

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
    """Check a data directory and read it.

    Args:
        text: require `text`.
        wav: require `wav.scp` and its files.
        spk_sort: require utt2spk to be sorted by speaker as well.
        allow_pipes: accept shell commands in wav.scp (none is run here).

    Raises:
        DataError: the directory is not valid; the message names file, line and a hint.
    """
    path = Path(path)
    tables = check_tables(path, text=text, wav=wav, spk_sort=spk_sort, allow_pipes=allow_pipes)
    columns = {
        name: {key: collapse_whitespace(row.value) for key, row in table.items()}
        for name, table in tables.items()
    }
    texts, durations, segments = (columns.get(name, {}) for name in ("text", "utt2dur", "segments"))
    sources = {key: resolve_source(r.value, path) or r.value for key, r in tables.get("wav.scp", {}).items()}
    label_tables = {name: label for name in columns if (label := label_of_table(name))}
    utterances = []
    for id, speaker in columns["utt2spk"].items():
        recording, *times = segments.get(id, id).split()
        start, end = map(float, times) if times else (None, None)
        duration = durations.get(id) or (None if segments else columns.get("reco2dur", {}).get(id))
        seconds = float(duration) if duration else end - start if times else None
        labels = {}
        for name, label in label_tables.items():  # sorted, spk2 before utt2, which takes precedence
            if value := columns[name].get(speaker if name.startswith("spk2") else id):
                labels[label] = value
        source, text = sources.get(recording, ""), texts.get(id)
        utterances.append(Utterance(id, speaker, recording, source, start, end, text, seconds, labels))
    speaker_labels = {label for name, label in label_tables.items() if name.startswith("spk2")}
    return DataDirectory(path, utterances, frozenset(speaker_labels or {"gender"}))


def write_data_directory(
    path: Path | str, utterances: Iterable[Utterance], *, speaker_labels: Iterable[str] = ("gender",)
) -> None:
    """Write a data directory as a whole. It replaces an older directory once it is complete and checked.

    wav.scp (absolute paths), utt2spk and spk2utt are always written; text, segments and utt2dur where the
    utterances have them; and a file for each label: spk2LABEL if it is in `speaker_labels` and the same in
    all of a speaker's utterances, else utt2LABEL. Durations have at most five decimals. Raises DataError
    where there is nothing to write, Kaldi could not read the ids, or the folder holds other files.
    """
    path = Path(path)
    if name := atomic.unexpected_file(path, is_table):
        raise DataError(
            f"{path}: holds {name}, so it is not replaced (give another folder, or move the file)"
        )
    with atomic.replacing(path) as new:
        write_tables(new, path, utterances, speaker_labels)


def is_table(file: Path) -> bool:
    """Whether a file is a table of a data directory."""
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
    known: set[str] = set()
    for utterance in utterances:
        for kind in ("id", "speaker", "recording"):
            name = getattr(utterance, kind)
            if name.split() != [name] or unprintable_character(name):
                fault = f"the {kind} {name!r} is empty, or holds a space or an unprintable character"
                raise DataError(f"utterance {utterance.id!r}: {fault} (use letters, digits, - and _)")
        if utterance.id in known:
            raise DataError(f"utterance {utterance.id} appears twice (utterance ids are unique)")
        known.add(utterance.id)
    durations = {u.id: format_seconds(u.duration) for u in utterances if u.duration is not None}
    sources: dict[str, str] = {}  # of recordings: absolute paths, or pipes
    for u in utterances:
        source = str(Path(u.source).absolute()) if u.source and not u.is_piped else u.source
        if unprintable_character(source) or source != source.strip(" \t"):
            raise DataError(f"recording {u.recording}: wav.scp cannot hold the path {source!r} (rename it)")
        if sources.setdefault(u.recording, source) != source:
            raise DataError(f"recording {u.recording} is both {sources[u.recording]} and {source}")
    columns = {
        "text": {u.id: collapse_whitespace(u.text) for u in utterances if u.text is not None},
        "segments": {
            u.id: f"{u.recording} {format_seconds(u.start)} {format_seconds(u.end)}"
            for u in utterances
            if u.start is not None and u.end is not None
        },
        "utt2dur": durations if len(durations) == len(utterances) else {},
        "wav.scp": {recording: source for recording, source in sources.items() if source},
        "utt2spk": {u.id: u.speaker for u in utterances},
        **label_tables(utterances, set(speaker_labels)),
    }
    columns["spk2utt"] = spk2utt_of(columns["utt2spk"])
    return {name: format_table(column.items()) for name, column in columns.items() if column}


def label_tables(utterances: list[Utterance], speaker_labels: set[str]) -> dict[str, dict[str, str]]:
    """`utt2LABEL` or `spk2LABEL` → its lines: utterance or speaker → value."""
    tables, speakers = {}, {u.speaker for u in utterances}
    for label in sorted({name for utterance in utterances for name in utterance.labels}):
        if label_of_table(f"utt2{label}") != label:
            fault = f"utt2{label} is no label file, or another table"
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
        """The ids (speaker, utterance) of utterance `number`, from 1.

        Args:
            speaker: the corpus's name of the speaker; if empty, the utterance becomes a speaker.
            name: an id or a file name; if no character of it can be used, `number` is the id.
        """
        file = name.replace("\\", "/").rpartition("/")[2]
        stem, _, suffix = file.rpartition(".")
        id = sanitize(stem if f".{suffix.lower()}" in AUDIO_SUFFIXES else file)  # S01.U05 has no suffix
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
