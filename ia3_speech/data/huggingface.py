"""A Hugging Face dataset becomes a Kaldi data directory, audio files included.

In: a hub id, or a local folder or file (parquet, audiofolder, csv, jsonl, save_to_disk). Out: a folder with
`audio/SPEAKER/UTTERANCE.wav` (16 kHz, mono, 16 bit) and the tables beside it. `datasets` only finds the rows:
the sound is decoded here, so torchcodec is not needed.

    python -m ia3_speech.datadir from-dataset edinburghcstr/edacc data/edacc --split test --labels accent
"""

import csv
import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ia3_speech import atomic
from ia3_speech.data.audio import SAMPLE_RATE, AudioError, BadAudio, bar, load, named, problem, refuse
from ia3_speech.data.kaldi.directory import (
    DataDir,
    Utterance,
    read,
    refuse_unexpected_files,
    words,
    write_tables,
)
from ia3_speech.data.kaldi.table_file import DataError, unprintable
from ia3_speech.data.kaldi.utterance_ids import Names
from ia3_speech.data.kaldi.validation import label_of

log = logging.getLogger(__name__)

# Column names as published corpora have them, the most specific first.
AUDIO = ["audio", "speech", "file", "path", "audio_path", "file_name", "wav"]
TEXT = ["text", "transcription", "transcript", "sentence", "normalized_text", "raw_text", "utterance"]
SPEAKER = ["speaker_id", "speaker", "spk_id", "spk", "client_id", "user_id", "user_ids", "reader_id"]
ID = ["id", "utterance_id", "utt_id", "utt", "segment_id", "audio_id", "audio_ids", "file", "path"]
LABELS = [
    "accent",
    "accents",
    "native_language",
    "l1",
    "gender",
    "sex",
    "age",
    "age_group",
    "domain",
    "country",
]
GENDERS = {
    "male": "m",
    "man": "m",
    "male_masculine": "m",
    "female": "f",
    "woman": "f",
    "female_feminine": "f",
}


@dataclass(frozen=True)
class Columns:
    """Which column of the dataset holds what; None where nothing does."""

    audio: str
    text: str | None
    speaker: str | None
    id: str | None
    labels: tuple[str, ...]

    def __str__(self) -> str:
        named = {"audio": self.audio, "text": self.text, "speaker": self.speaker, "id": self.id}
        labels = ", ".join(self.labels) or "none"
        return ", ".join(f"{what}: {name or 'none'}" for what, name in named.items()) + f"; labels: {labels}"


def from_dataset(
    name: str,
    out: Path | str,
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
    speaker_column: str | None = None,
    id_column: str | None = None,
    labels: str | None = None,
    format: Literal["wav", "flac"] = "wav",
    on_error: Literal["fail", "skip"] = "fail",
) -> DataDir:
    """Write a dataset as a data directory. Columns are guessed by their usual names unless they are named.

    Args:
        name: a hub id, or a local folder or file.
        out: the folder to write; it is replaced if this command has written it.
        split: the split to take; needed where there are several.
        config: the dataset's configuration (subset), where it has several.
        revision: a branch, tag or commit on the hub.
        audio_column: the column with the sound, or with paths to sound files.
        text_column: the column with the transcript; "none" if there is none.
        speaker_column: the column with the speaker; "none" makes each utterance its own speaker.
        id_column: the column with utterance ids; "none" numbers them.
        labels: columns to keep as utt2LABEL, separated by commas; "none" for no labels.
        format: wav or flac, 16 bit either way.
        on_error: "fail" stops at the end if audio is unusable or without a transcript; "skip" leaves such
            utterances out. Clipped ones are kept, and named.

    Raises:
        DataError: the dataset cannot be loaded, or a column cannot be found; `out` holds something else, or
            what is to be read. AudioError: bad audio.
    """
    out = Path(out)
    refuse_unexpected_files(out, also=["audio"] if audio_is_ours(out) else [])
    rows = load_rows(name, split, config, revision)
    wished = {"audio": audio_column, "text": text_column, "speaker": speaker_column, "id": id_column}
    columns = choose_columns(name, rows.features, wished, labels)
    log.info(f"{name}: {len(rows)} rows; {columns}")
    if columns.speaker is None:
        log.warning("no speaker column: each utterance counts as a speaker (--speaker-column names one)")
    rows = without_decoding(rows, columns.audio)
    bad: list[BadAudio] = []
    with atomic.replacing(out) as new:
        new.mkdir()
        utterances = list(extract(rows, columns, folder_of(name), new, out.absolute(), format, bad))
        if on_error == "fail":
            refuse(bad)
        if bad:
            log.warning("\n".join(named(bad, "bad audio")))
        write_tables(new, utterances, speaker_labels=["gender"], name=out)
    return DataDir(out, sorted(utterances, key=lambda utterance: utterance.id))


def audio_is_ours(out: Path) -> bool:
    """Whether all files in `out`/audio are what a data directory there says that this command wrote."""
    try:
        utterances = read(out, text=False, wav=False, spk_sort=False).utterances
    except DataError:
        return False
    written = {out.absolute() / "audio" / u.speaker / f"{u.id}{Path(u.source).suffix}" for u in utterances}
    there = {path.absolute() for path in (out / "audio").rglob("*") if not path.is_dir()}
    return there <= written & {Path(u.source) for u in utterances}


def extract(
    rows: Any, columns: Columns, base: Path, new: Path, out: Path, format: str, bad: list[BadAudio]
) -> Iterator[Utterance]:
    """Decode each row, write its sound below `new`, yield its utterance with the path below `out`.

    Relative paths in the dataset are below `base`. Rows that cannot be used go to `bad`, clipped ones too.
    """
    import soundfile

    names, features = Names(len(rows)), rows.features
    for number, row in enumerate(bar(rows, "writing audio", "utt", wanted=True), 1):
        cell = row[columns.audio]
        given = value_of(row, columns.id, features) or inner_path(cell)
        speaker, utterance = names.take(value_of(row, columns.speaker, features), given, number)
        file = inner_path(cell) or f"row {number}"
        text = row[columns.text] if columns.text else None
        if columns.text and text is None:
            bad.append(BadAudio(utterance, file, f"no transcript in column {columns.text}"))
            continue
        try:
            with sound_of(cell, base) as source:
                if isinstance(source, Path) and out.resolve() in source.resolve().parents:
                    raise DataError(f"{out}: holds {file}, which is to be read (give another folder)")
                wave = load(source)
        except AudioError as error:
            bad.append(BadAudio(utterance, file, str(error).removeprefix(f"{file}: ")))
            continue
        if fault := problem(wave):
            bad.append(BadAudio(utterance, file, fault.reason, left_out=fault.fatal))
            if fault.fatal:
                continue
        place = Path("audio", speaker, f"{utterance}.{format}")
        (new / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(new / place, wave, SAMPLE_RATE, subtype="PCM_16")
        yield Utterance(
            utterance,
            speaker,
            recording=utterance,
            source=str(out / place),
            text=None if text is None else printable_words(str(text)),
            duration=len(wave) / SAMPLE_RATE,
            labels=labels_of(row, columns.labels, features),
        )


# ---- rows ----


def folder_of(name: str) -> Path:
    return Path(name) if Path(name).is_dir() else Path(name).parent


def load_rows(name: str, split: str | None, config: str | None, revision: str | None) -> Any:
    """One split of a dataset, as `datasets.Dataset`.

    Raises:
        DataError: it is not there, cannot be read, or has several splits and none was named.
    """
    import datasets

    path = Path(name)
    try:
        with audio_stored_as_it_is():
            if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
                found = datasets.load_from_disk(name)
            elif path.is_file():
                kind = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}.get(path.suffix, "json")
                extra = as_text(path) if kind == "csv" else {}
                found = datasets.load_dataset(kind, data_files=name, **extra)
            else:
                found = datasets.load_dataset(name, config, revision=revision)
    except Exception as error:  # of any kind: network, hub, script, arrow, pandas
        reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        hint = "is it a folder here, or an id on the hub? --config-name chooses a configuration"
        raise DataError(f"{name}: cannot be loaded as a dataset: {reason[:300]} ({hint})") from error
    if not isinstance(found, dict):
        if split and split != str(found.split):
            own = found.split or "without a name"
            raise DataError(f"{name}: is one split, {own}, and not {split} (leave out --split)")
        return found
    if split is None and len(found) > 1:
        raise DataError(f"{name}: has the splits {', '.join(found)} (choose one with --split)")
    split = split or next(iter(found))
    if split not in found:
        raise DataError(f"{name}: has no split {split} (it has {', '.join(found)})")
    return found[split]


def as_text(path: Path) -> dict[str, Any]:
    """Options of `load_dataset` by which every field of a CSV file is what stands there: 007, NA, null.

    A quotation mark is a mark like any other where TABs part the fields (Common Voice).
    """
    from datasets import Features, Value

    tabs = path.suffix == ".tsv"
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"delimiter": ","}
    with path.open(encoding="utf-8-sig", newline="") as file:
        columns = next(csv.reader(file, **options), [])
    options["sep"] = options.pop("delimiter")
    texts = Features({column: Value("string") for column in columns})
    return options | {"features": texts, "keep_default_na": False, "na_values": [""]}


@contextmanager
def audio_stored_as_it_is() -> Iterator[None]:
    """While an audiofolder is indexed, `datasets` asks for torchcodec, though it only notes paths and bytes.

    Within this context its `Audio.encode_example` does just that.
    """
    from datasets import Audio

    def encode_example(self, value):
        if isinstance(value, dict):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        return (
            {"bytes": value, "path": None}
            if isinstance(value, bytes)
            else {"bytes": None, "path": str(value)}
        )

    original, Audio.encode_example = Audio.encode_example, encode_example
    try:
        yield
    finally:
        Audio.encode_example = original


def without_decoding(rows: Any, column: str) -> Any:
    """`rows` whose audio cells are `{"bytes", "path"}`, or the paths that they were."""
    import datasets

    if isinstance(rows.features[column], datasets.Audio):
        return rows.cast_column(column, datasets.Audio(decode=False))
    return rows


def choose_columns(name: str, there: Any, wished: dict[str, str | None], labels: str | None) -> Columns:
    """The columns that were named, and guesses for the others, out of the features `there`.

    Raises:
        DataError: a named column is not there, or no column looks like audio or text.
    """
    import datasets

    having = f"it has {', '.join(there)}"
    sounds = [column for column, feature in there.items() if isinstance(feature, datasets.Audio)]
    chosen: dict[str, str | None] = {}
    for what, guesses in (("audio", [*sounds, *AUDIO]), ("text", TEXT), ("speaker", SPEAKER), ("id", ID)):
        wish = wished[what]
        if wish not in (None, "none") and wish not in there:
            raise DataError(f"{name}: no column {wish} ({having})")
        chosen[what] = next((guess for guess in guesses if guess in there), None) if wish is None else wish
        chosen[what] = None if wish == "none" else chosen[what]
        if chosen[what] is None and (what == "audio" or (what == "text" and wish != "none")):
            none = ", or pass --text-column none" if what == "text" else ""
            raise DataError(
                f"{name}: which column is the {what}? {having} (name it with --{what}-column{none})"
            )
    if labels is None:
        scalar = (datasets.Value, datasets.ClassLabel)
        kept = [c for c in LABELS if isinstance(there.get(c), scalar) and c not in chosen.values()]
    else:
        kept = [column.strip() for column in labels.split(",") if column.strip() not in ("", "none")]
        if lacking := [column for column in kept if column not in there]:
            raise DataError(f"{name}: no column {lacking[0]} ({having})")
        if taken := [column for column in kept if label_of(f"utt2{label_name(column)}") is None]:
            raise DataError(
                f"{name}: {taken[0]} cannot be a label: utt2{taken[0]} is another table (rename it)"
            )
    return Columns(**chosen, labels=tuple(kept))


# ---- cells ----


@contextmanager
def sound_of(cell: Any, base: Path) -> Iterator[Any]:
    """What `audio.load` takes for an audio cell: a stream of its bytes, or a path (below `base`)."""
    if isinstance(cell, dict) and cell.get("bytes") is not None:
        stream = io.BytesIO(cell["bytes"])
        stream.name = cell.get("path") or "(bytes)"
        yield stream
    elif not inner_path(cell):
        raise AudioError("the audio cell is empty")
    else:
        yield base / inner_path(cell)


def inner_path(cell: Any) -> str:
    path = cell.get("path") if isinstance(cell, dict) else cell
    return path if isinstance(path, str) else ""


def value_of(row: dict, column: str | None, features: Any) -> str:
    """A cell as text; the name of a class rather than its number; empty for None."""
    value = row[column] if column else None
    if value is None or isinstance(value, dict | list):
        return ""
    if hasattr(features[column], "int2str") and isinstance(value, int):
        value = features[column].int2str(value)
    return str(value).strip()


def labels_of(row: dict, columns: tuple[str, ...], features: Any) -> dict[str, str]:
    """The labels of a row, each one word (`United States` → `United_States`), male and female as m and f."""
    labels = {}
    for column in columns:
        value = re.sub(r"\s+", "_", printable_words(value_of(row, column, features)))
        if value and column in ("gender", "sex"):
            labels["gender"] = GENDERS.get(value.lower(), value)
        elif value:
            labels[label_name(column)] = value
    return labels


def label_name(column: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", column)


def printable_words(text: str) -> str:
    return words("".join(c for c in words(text) if unprintable(c) is None))
