"""Convert a Hugging Face dataset to a Kaldi data directory with its audio files.

In: a hub id, or a local folder (parquet, audiofolder, save_to_disk; wav/ and transcript/; a manifest of NeMo
alone, whose `offset` and `duration` in seconds select a part of a file). Out: a folder with
`audio/SPEAKER/UTTERANCE.wav` (16 kHz, mono, 16 bit) and the tables beside it. `datasets` reads the rows; the
audio is decoded here, so that torchcodec is not needed.

    ia3-speech datadir from-dataset edinburghcstr/edacc data/edacc --split test --labels accent
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.common import atomic
from ia3_speech.common.errors import AudioError, DataError
from ia3_speech.common.progress import Progress
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.data.corpora import csv_folder
from ia3_speech.data.corpora.csv_folder import label_name
from ia3_speech.data.kaldi.directory import DataDirectory, UtteranceIds, collapse_whitespace, write_tables
from ia3_speech.data.kaldi.table_file import printable_text
from ia3_speech.data.kaldi.validation import label_of_table
from ia3_speech.data.recordings import to_waveform
from ia3_speech.data.utterance import (
    BadAudio,
    Utterance,
    bad_audio_report,
    load_checked,
    raise_if_unusable,
)

log = logging.getLogger(__name__)

# The most specific name first.
ID_COLUMNS = (
    "id", "utterance_id", "utt_id", "utt", "segment_id", "audio_id", "audio_ids", "file", "path",
)  # fmt: skip
SPAN = ("offset", "duration")  # in seconds; NeMo's manifests may have the second alone
NEMO_AUDIO = "audio_filepath"
MAX_SECONDS = 1e9  # of an offset or a duration
LABEL_COLUMNS = (
    "accent", "accents", "native_language", "l1", "gender", "sex", "age", "age_group", "domain", "country",
)  # fmt: skip


def convert_dataset(
    name: str,
    out: Path | str,
    *,
    split: str | None = None,
    config_name: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
    speaker_column: str | None = None,
    id_column: str | None = None,
    labels: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
) -> DataDirectory:
    """Write a Hugging Face dataset as a data directory with its audio.

    Args:
        name: a hub id, or a local folder (parquet, audiofolder, save_to_disk; one with a manifest of NeMo and
            no audio; or recordings in wav/ and their texts in transcript/, as in L2-ARCTIC and VCTK).
        out: the folder to write.
        split: the split to convert, where there are several.
        config_name: the dataset's configuration, where it has several.
        audio_column: the column with the audio or the path of an audio file [found by its usual names].
        text_column: the column with the transcript, none if there is none [found by its usual names].
        speaker_column: the column with the speaker; none makes each utterance its own speaker [found by its
            usual names].
        id_column: the column with utterance ids; none numbers them [found by its usual names].
        labels: columns to keep as utt2LABEL, separated by commas, none for no labels [accent, gender, age …].
        on_error: fail stops at unusable audio and missing transcripts, skip leaves them out; clipped audio is
            converted, and listed in a warning.

    Raises:
        DataError: the dataset cannot be loaded, or has several splits and `split` is None; a column cannot be
            found; `out` exists.
        AudioError: on_error is "fail" and audio is unusable.
    """
    import datasets

    out = Path(out)
    if out.exists():
        raise DataError(f"{out}: exists already (give another folder, or remove it)")
    rows = load_rows(name, split, config_name)
    roles = {"audio": audio_column, "text": text_column, "speaker": speaker_column, "id": id_column}
    columns, label_columns = choose_columns(name, rows.features, roles, labels)
    chosen = ", ".join(f"{role}: {column or 'none'}" for role, column in columns.items())
    log.info(f"{name}: {len(rows)} rows; {chosen}; labels: {', '.join(label_columns) or 'none'}")
    if columns["speaker"] is None:
        log.warning("no speaker column: each utterance counts as a speaker (if there is a column, name it)")
    # Other columns, such as a second recording, would be decoded too.
    span = [column for column in SPAN if column in rows.features]
    span = span if len(span) == len(SPAN) or columns["audio"] == NEMO_AUDIO else []
    rows = rows.select_columns([*dict.fromkeys([*filter(None, columns.values()), *label_columns, *span])])
    if isinstance(rows.features[columns["audio"]], datasets.Audio):
        rows = rows.cast_column(columns["audio"], datasets.Audio(decode=False))
    bad: list[BadAudio] = []
    with atomic.replacing(out) as new:
        new.mkdir()
        utterances = [*extract(rows, columns, label_columns, Path(name), new, out.absolute(), bad)]
        if on_error == "fail":
            raise_if_unusable(bad, "no transcript or unusable audio", "Leave them out with `on_error=skip`.")
        if bad:
            log.warning(bad_audio_report(bad, "no transcript or bad audio"))
        write_tables(new, out, utterances, ["gender"])
    return DataDirectory(out, sorted(utterances, key=lambda utterance: utterance.id))


def extract(
    rows: Any,
    columns: dict[str, str | None],
    label_columns: list[str],
    base: Path,
    new: Path,
    out: Path,
    bad: list[BadAudio],
) -> Iterator[Utterance]:
    """Write the audio of each row below `new`, and yield its utterance with the path below `out`. Paths in
    the dataset may be relative to `base`. `bad` receives unusable and clipped rows."""
    import soundfile

    ids, features = UtteranceIds(len(rows)), rows.features
    for number, row in enumerate(Progress(rows, "writing audio"), 1):
        cell = row[columns["audio"]]
        path = cell.get("path") if isinstance(cell, dict) else cell
        path = path if isinstance(path, str) else ""
        name = feature_text(row, columns["id"], features) or path
        speaker, utterance = ids.assign(feature_text(row, columns["speaker"], features), name, number)
        source = path or f"row {number}"
        text = row[columns["text"]] if columns["text"] else None
        if columns["text"] and text is None:
            bad.append(BadAudio(utterance, source, f"no transcript in column {columns['text']}"))
            continue
        wave, problem = load_checked(partial(wave_of_cell, cell, path and base / path, row, number), source)
        if problem:
            bad.append(BadAudio(utterance, source, problem.reason, left_out=problem.fatal))
            if problem.fatal:
                continue
        file = Path("audio", speaker, f"{utterance}.wav")
        (new / file).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(new / file, wave, SAMPLE_RATE, subtype="PCM_16")
        text = None if text is None else collapse_whitespace(printable_text(str(text)))
        labels = {}  # without spaces: `United States` → `United_States`
        for column in label_columns:
            value = re.sub(" +", "_", printable_text(feature_text(row, column, features)))
            if value and column in ("gender", "sex"):
                labels["gender"] = csv_folder.GENDERS.get(value.lower(), value)
            elif value:
                labels[label_name(column)] = value
        seconds = len(wave) / SAMPLE_RATE
        yield Utterance(
            utterance, speaker, utterance, str(out / file), text=text, duration=seconds, labels=labels
        )


def load_rows(name: str, split: str | None, config: str | None) -> Any:
    """One split of a dataset, as `datasets.Dataset`."""
    import datasets

    path = Path(name)
    if path.is_dir() and csv_folder.text_files(path):
        if split or config:
            raise DataError(f"{name}: recordings beside text files (leave out `split` and `config_name`)")
        rows = csv_folder.read_text_files(path)
        return datasets.Dataset.from_list([r | {"file": str(path.absolute() / r["file"])} for _, r in rows])
    try:
        with audio_not_encoded():
            if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
                splits = datasets.load_from_disk(name)
            else:
                splits = datasets.load_dataset(name, config)
    except Exception as error:  # network, hub, script, arrow …
        reason = collapse_whitespace(str(error.__cause__ or error)) or type(error).__name__
        raise DataError(f"{name}: cannot be loaded as a dataset: {reason[:300]}") from error
    if not isinstance(splits, dict):
        splits = {str(splits.split): splits}
    if split is None and len(splits) > 1:
        raise DataError(f"{name}: has the splits {', '.join(splits)} (choose one with `split`)")
    split = split or next(iter(splits))
    if split not in splits:
        raise DataError(f"{name}: has no split {split} (it has {', '.join(splits)})")
    return splits[split]


@contextmanager
def audio_not_encoded() -> Iterator[None]:
    """A context in which `datasets` stores the paths and bytes of an audiofolder without torchcodec."""
    from datasets import Audio

    def encode_example(self, value):
        if isinstance(value, dict):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        is_bytes = isinstance(value, bytes)
        return {"bytes": value if is_bytes else None, "path": None if is_bytes else str(value)}

    original, Audio.encode_example = Audio.encode_example, encode_example
    try:
        yield
    finally:
        Audio.encode_example = original


USUAL_COLUMNS = {
    "audio": csv_folder.AUDIO_COLUMNS,
    "text": csv_folder.TEXT_COLUMNS,
    "speaker": csv_folder.SPEAKER_COLUMNS,
    "id": ID_COLUMNS,
}


def choose_columns(
    name: str, features: Any, roles: dict[str, str | None], labels: str | None
) -> tuple[dict[str, str | None], list[str]]:
    """The columns of the roles audio, text, speaker and id (None searches the usual names), and of labels."""
    import datasets

    available = f"it has {', '.join(features)}"
    decodable = tuple(column for column, feature in features.items() if isinstance(feature, datasets.Audio))
    chosen: dict[str, str | None] = {}
    for role, usual in USUAL_COLUMNS.items():
        wanted = roles[role]
        candidates = (wanted,) if wanted else decodable + usual if role == "audio" else usual
        chosen[role] = next((column for column in candidates if column in features), None)
        is_needed = role == "audio" or (wanted != "none" and (wanted or role == "text"))
        if is_needed and chosen[role] is None:
            none = ", or `none`" if role == "text" else ""
            raise DataError(f"{name}: no column {wanted or role} ({available}; give `{role}_column`{none})")
    if labels is None:
        scalar = (datasets.Value, datasets.ClassLabel)
        usual = [c for c in LABEL_COLUMNS if isinstance(features.get(c), scalar)]
        return chosen, [column for column in usual if column not in chosen.values()]
    label_columns = [column.strip() for column in labels.split(",") if column.strip() not in ("", "none")]
    for column in label_columns:
        if column not in features or label_of_table(f"utt2{label_name(column)}") is None:
            raise DataError(f"{name}: {column} is no column, or cannot be a label ({available})")
    return chosen, label_columns


def wave_of_cell(cell: Any, file: Path | str, row: dict, number: int) -> np.ndarray:
    """The waveform of a cell, or of its file, perhaps a part of it. Raises AudioError."""
    content = {key for key in cell if cell[key] is not None} if isinstance(cell, dict) else set()
    if cell is None or cell == "" or (isinstance(cell, dict) and not content):
        raise AudioError("the audio cell is empty")
    if isinstance(cell, str):  # clips in other cells are cut already
        start, seconds = (seconds_in_cell(row.get(column), f"row {number}, {column}") for column in SPAN)
        return load_audio(file, start=start, end=None if seconds is None else (start or 0.0) + seconds)
    return to_waveform(file if file and not content & {"bytes", "array"} else cell)


def seconds_in_cell(cell: Any, where: str) -> float | None:
    with suppress(TypeError, ValueError):
        if cell is None or 0 <= float(cell) < MAX_SECONDS:
            return None if cell is None else float(cell)
    raise AudioError(f"{where}: {cell!r} is not a duration in seconds, such as 1.5")


def feature_text(row: dict, column: str | None, features: Any) -> str:
    """A cell as text; a class by its name; empty for None, and for the class -1, which means unknown."""
    value = row[column] if column else None
    if value is None or isinstance(value, dict | list):
        return ""
    if hasattr(features[column], "int2str") and isinstance(value, int):
        value = features[column].int2str(value) if value >= 0 else ""
    return str(value).strip()
