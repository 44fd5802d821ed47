"""Which column holds what: usual names in published corpora and spreadsheets, and the labels made of columns.

In: the columns of a dataset, and those that the user named. Out: its `Columns`, for `huggingface`;
`corpora.spreadsheet` uses the same names for a CSV file.
"""

import re
from dataclasses import dataclass
from typing import Any

from ia3_speech.data.kaldi.table_file import DataError
from ia3_speech.data.kaldi.validation import label_of_table

# The most specific name first.
AUDIO_COLUMNS = (
    *("audio", "speech", "file", "path", "audio_path", "file_name", "wav"),
    *("filename", "audio_file"),
)
TEXT_COLUMNS = (
    *("text", "transcription", "transcript", "sentence"),
    *("normalized_text", "raw_text", "utterance"),
)
SPEAKER_COLUMNS = (
    *("speaker_id", "speaker", "spk_id", "spk"),
    *("client_id", "user_id", "user_ids", "reader_id"),
)
ID_COLUMNS = (
    *("id", "utterance_id", "utt_id", "utt"),
    *("segment_id", "audio_id", "audio_ids", "file", "path"),
)
LABEL_COLUMNS = (
    *("accent", "accents", "native_language", "l1"),
    *("gender", "sex", "age", "age_group", "domain", "country"),
)

GENDERS = {
    "male": "m",
    "man": "m",
    "male_masculine": "m",
    "female": "f",
    "woman": "f",
    "female_feminine": "f",
}


def label_name(column: str) -> str:
    """The label made of a column: letters, digits, - and _, since it becomes part of a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", column)


@dataclass(frozen=True)
class Columns:
    """Which column of the dataset holds what; None where there is none."""

    audio: str
    text: str | None
    speaker: str | None
    id: str | None
    labels: tuple[str, ...]

    def __str__(self) -> str:
        columns = {"audio": self.audio, "text": self.text, "speaker": self.speaker, "id": self.id}
        labels = ", ".join(self.labels) or "none"
        return (
            ", ".join(f"{role}: {name or 'none'}" for role, name in columns.items()) + f"; labels: {labels}"
        )


def choose_columns(name: str, features: Any, given: dict[str, str | None], labels: str | None) -> Columns:
    """The columns that the user gave, and for the others those of the usual names.

    Raises:
        DataError: a given column does not exist, or no column has a usual name of audio or text.
    """
    import datasets

    available = f"it has {', '.join(features)}"
    decodable = [column for column, feature in features.items() if isinstance(feature, datasets.Audio)]
    usual = {
        "audio": [*decodable, *AUDIO_COLUMNS],
        "text": TEXT_COLUMNS,
        "speaker": SPEAKER_COLUMNS,
        "id": ID_COLUMNS,
    }
    chosen: dict[str, str | None] = {}
    for role, candidates in usual.items():
        wanted = given[role]
        if wanted not in (None, "none") and wanted not in features:
            raise DataError(f"{name}: no column {wanted} ({available})")
        found = (
            next((column for column in candidates if column in features), None) if wanted is None else wanted
        )
        chosen[role] = None if wanted == "none" else found
        if chosen[role] is None and (role == "audio" or (role == "text" and wanted != "none")):
            none = ", or pass --text-column none" if role == "text" else ""
            raise DataError(
                f"{name}: which column is the {role}? {available} (name it with --{role}-column{none})"
            )
    if labels is None:
        scalar = (datasets.Value, datasets.ClassLabel)
        kept = [c for c in LABEL_COLUMNS if isinstance(features.get(c), scalar) and c not in chosen.values()]
    else:
        kept = [column.strip() for column in labels.split(",") if column.strip() not in ("", "none")]
        if missing := [column for column in kept if column not in features]:
            raise DataError(f"{name}: no column {missing[0]} ({available})")
        if reserved := [column for column in kept if label_of_table(f"utt2{label_name(column)}") is None]:
            raise DataError(
                f"{name}: {reserved[0]} cannot be a label: utt2{reserved[0]} is another table (rename it)"
            )
    return Columns(**chosen, labels=tuple(kept))
