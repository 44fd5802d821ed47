"""A Kaldi data directory as objects: read it (always checked), write it (always whole).

In: a folder with wav.scp, text, utt2spk, spk2utt and perhaps segments, utt2dur, utt2LABEL, spk2LABEL.
Out: a `DataDir` of `Utterance`s in the order of their ids; and the way back.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ia3_speech import atomic
from ia3_speech.data.audio import BadAudio, load_all, named
from ia3_speech.data.kaldi.table_file import DataError, number, render, unprintable
from ia3_speech.data.kaldi.validation import check, label_of, resolve, rule_of, table_names

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One line of a data directory, with all that its tables say about it.

    Attributes:
        recording: the key of wav.scp; the utterance's own id where there are no segments.
        source: an absolute path, or a shell command that ends in `|`; empty where there is no wav.scp.
        start, end: seconds in the recording, from segments; None for all of it.
        text: the transcript, None where there is no `text`.
        duration: seconds, from utt2dur, segments or reco2dur; None where none of them says it.
        labels: `{"accent": "scottish", "gender": "f"}`, from utt2LABEL and spk2LABEL (the former counts).
    """

    id: str
    speaker: str
    recording: str
    source: str
    start: float | None = None
    end: float | None = None
    text: str | None = None
    duration: float | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class DataDir:
    """A checked data directory. `speaker_labels` names the labels that belong to speakers (spk2LABEL)."""

    path: Path
    utterances: list[Utterance]
    speaker_labels: frozenset[str] = frozenset({"gender"})

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

    @property
    def label_names(self) -> list[str]:
        return sorted({name for utterance in self.utterances for name in utterance.labels})


def read(
    path: Path | str, *, text: bool = True, wav: bool = True, spk_sort: bool = True, allow_pipes: bool = False
) -> DataDir:
    """Check a data directory and read it. The flags are those of `validation.check`.

    With `wav` false wav.scp may be missing, and the files it names are not looked for.

    Raises:
        DataError: the directory is not valid; the message names file, line and cure.
    """
    path = Path(path)
    tables = check(path, text=text, wav=wav, spk_sort=spk_sort, allow_pipes=allow_pipes)

    def values(name: str) -> dict[str, str]:
        return tables[name].values if name in tables else {}

    texts, durations, recording_durations = values("text"), values("utt2dur"), values("reco2dur")
    segments = {row.key: row.fields for row in tables.get("segments", ())}
    sources = {key: resolve(value, path) or value for key, value in values("wav.scp").items()}
    labels = {name: (label_of(name), rule_of(name).by, values(name)) for name in tables if label_of(name)}

    def utterance(row) -> Utterance:
        recording, start, end = segments.get(row.key, (row.key, None, None))
        start, end = (number(start), number(end)) if start else (None, None)
        duration = durations.get(row.key) or (None if segments else recording_durations.get(recording))
        seconds = number(duration) if duration else end - start if end is not None else None
        own = {
            label: table[key]
            for label, by, table in sorted(labels.values(), key=lambda entry: entry[1])  # speaker, utterance
            if (key := row.key if by == "utterance" else row.value) in table
        }
        source = sources.get(recording, "")
        return Utterance(row.key, row.value, recording, source, start, end, texts.get(row.key), seconds, own)

    of_speakers = {label for label, by, _ in labels.values() if by == "speaker"} or {"gender"}
    return DataDir(path, [utterance(row) for row in tables["utt2spk"]], frozenset(of_speakers))


def write(
    path: Path | str,
    utterances: Iterable[Utterance],
    *,
    speaker_labels: Iterable[str] = ("gender",),
    spk_sort: bool = True,
) -> None:
    """Write a data directory as a whole: it replaces an older one only when all of it stands.

    wav.scp (absolute paths), utt2spk and spk2utt always; text, segments and utt2dur where the utterances have
    them; a file for each label, spk2LABEL for `speaker_labels` that are the same in all of a speaker's
    utterances, else utt2LABEL. Durations have five decimals at most.

    Raises:
        DataError: nothing to write, ids that Kaldi could not read, or a folder that holds other things too.
    """
    path = Path(path)
    refuse_unexpected_files(path)
    with atomic.replacing(path) as new:
        write_tables(new, utterances, speaker_labels=speaker_labels, spk_sort=spk_sort, name=path)


def write_tables(
    folder: Path,
    utterances: Iterable[Utterance],
    *,
    speaker_labels: Iterable[str] = (),
    spk_sort: bool = True,
    name: Path | None = None,
) -> None:
    """The tables of `utterances` in `folder`, then checked as `read` does; errors call the folder `name`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents(list(utterances), speaker_labels).items():
        (folder / file).write_text(content, encoding="utf-8", newline="")
    try:
        check(folder, text=False, wav=False, spk_sort=spk_sort)
    except DataError as error:
        raise DataError(str(error).replace(str(folder), str(name or folder))) from None


def refuse_same(*paths: Path | str) -> None:
    """A directory must not be written over the one it is made of."""
    real = [Path(path).resolve() for path in paths]
    if len(set(real)) < len(real):
        raise DataError(f"{paths[-1]}: source and targets must be different folders (give another name)")


def refuse_unexpected_files(path: Path, also: Iterable[str] = ()) -> None:
    """Raise DataError if `path` holds anything but tables, which replacing the folder would delete."""
    if path.is_dir():
        ours = {*table_names(path), ".backup", *also}
        strangers = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
        if strangers:
            raise DataError(
                f"{path}: holds {strangers[0]} and is to be replaced (give another folder, or move it)"
            )
    elif path.exists():
        raise DataError(f"{path}: is a file (give another folder)")


def contents(utterances: list[Utterance], speaker_labels: Iterable[str] = ()) -> dict[str, str]:
    """File name → text of every table that `utterances` make."""
    if not utterances:
        raise DataError("no utterances to write (the selection is empty)")
    for utterance in utterances:
        for what, name in (
            ("id", utterance.id),
            ("speaker", utterance.speaker),
            ("recording", utterance.recording),
        ):
            if not name or name.split() != [name] or unprintable(name):
                fault = f"the {what} {name!r} is empty, or holds a space or an unprintable character"
                raise DataError(f"utterance {utterance.id!r}: {fault} (use letters, digits, - and _)")
    if len({utterance.id for utterance in utterances}) < len(utterances):
        seen: set[str] = set()
        twice = next(u.id for u in utterances if u.id in seen or seen.add(u.id))
        raise DataError(f"utterance {twice} appears twice (utterance ids are unique)")
    cut = [u for u in utterances if u.start is not None and u.end is not None]
    columns = {
        "text": {u.id: words(u.text) for u in utterances if u.text is not None},
        "segments": {u.id: f"{u.recording} {plain(u.start)} {plain(u.end)}" for u in cut},
        "utt2dur": {u.id: plain(u.duration) for u in utterances if u.duration is not None},
    }
    for name in ("text", "segments"):
        if 0 < len(columns[name]) < len(utterances):
            odd = next(u.id for u in utterances if u.id not in columns[name])
            raise DataError(f"utterance {odd} has no {name}, and others have (give all of them one, or none)")
    if len(columns["utt2dur"]) < len(utterances):
        columns["utt2dur"] = {}
    columns["wav.scp"] = recordings(utterances)
    columns |= label_columns(utterances, set(speaker_labels))
    files = {name: render(column.items()) for name, column in columns.items() if column}
    files["utt2spk"] = render((u.id, u.speaker) for u in utterances)
    by_speaker = DataDir(Path(), sorted(utterances, key=lambda u: u.id)).speakers
    files["spk2utt"] = render((speaker, " ".join(u.id for u in own)) for speaker, own in by_speaker.items())
    return files


def recordings(utterances: list[Utterance]) -> dict[str, str]:
    """Recording → absolute path or pipe."""
    found: dict[str, str] = {}
    for utterance in utterances:
        source = utterance.source
        if source and not source.endswith("|"):
            source = str(Path(source).absolute())
        if unprintable(source) or source != source.strip(" \t"):
            raise DataError(
                f"recording {utterance.recording}: wav.scp cannot hold the path {source!r} (rename it)"
            )
        if found.setdefault(utterance.recording, source) != source:
            raise DataError(
                f"recording {utterance.recording} is both {found[utterance.recording]} and {source}"
            )
    if not any(found.values()):
        return {}
    empty = [recording for recording, source in found.items() if not source]
    if empty:
        raise DataError(f"recording {empty[0]} has no audio file, and others have")
    return found


def label_columns(utterances: list[Utterance], speaker_labels: set[str]) -> dict[str, dict[str, str]]:
    """`utt2LABEL` or `spk2LABEL` → its lines."""
    columns = {}
    for label in sorted({name for utterance in utterances for name in utterance.labels}):
        if label_of(f"utt2{label}") != label:
            raise DataError(
                f"{label!r} cannot be the name of a label: utt2{label} is no label file, or another table"
            )
        own = {u.id: words(u.labels[label]) for u in utterances if words(u.labels.get(label, ""))}
        of_speaker: dict[str, set[str]] = {}
        for utterance in utterances:
            of_speaker.setdefault(utterance.speaker, set()).add(own.get(utterance.id, ""))
        constant = all(len(values) == 1 for values in of_speaker.values())
        lines = {speaker: value for speaker, (value,) in of_speaker.items() if value} if constant else {}
        if label == "gender" and not (len(lines) == len(of_speaker) and set(lines.values()) <= {"m", "f"}):
            lines = {}  # Kaldi's spk2gender names every speaker, and m or f only
        if label in speaker_labels and lines:
            columns[f"spk2{label}"] = lines
        else:
            columns[f"utt2{label}"] = own
    return columns


def validate(
    path: Path | str,
    *,
    text: bool = True,
    wav: bool = True,
    spk_sort: bool = True,
    allow_pipes: bool = False,
    check_audio: bool = False,
) -> DataDir:
    """Refuse what Kaldi's validate_data_dir.sh refuses, and more; with `check_audio` decode all of it too.

    Raises:
        DataError: naming file, line and cure. AudioError: naming each utterance and file.
    """
    data = read(path, text=text, wav=wav, spk_sort=spk_sort, allow_pipes=allow_pipes)
    if len(data.speakers) == 1:
        log.warning(f"{path}: only one speaker (fine for speaker adaptation; otherwise probably a mistake)")
    if check_audio:
        bad: list[BadAudio] = []
        for _ in load_all(data, bad=bad, allow_pipes=allow_pipes):
            pass
        if bad:
            what = "clipped audio, which is taken all the same"  # anything else has stopped it
            log.warning(f"{path}: " + "\n".join(named(bad, what)))
    return data


def words(text: str) -> str:
    """`text` on one line, single spaces between its words."""
    return " ".join(text.split())


def plain(seconds: float) -> str:
    """`3.7`, `0.01`, `12`: a decimal number without an exponent, to ten microseconds."""
    return f"{seconds:.5f}".rstrip("0").rstrip(".")
