"""Names of columns in published corpora and spreadsheets, and of the labels that are made of columns.

`huggingface` chooses a dataset's columns by these lists, `corpora.spreadsheet` those of a CSV file.
"""

import re

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
