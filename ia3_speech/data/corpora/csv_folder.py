"""Your own corpus: a folder of recordings with a table (CSV or Excel) of the texts, or with text files.

    python -m ia3_speech.data.corpora.csv_folder FOLDER DATA_DIR [--size full|small]

In: a .csv or .tsv file (UTF-8 or UTF-16; commas, semicolons or TABs; Excel's `sep=;` may stand above it) or
an .xlsx file, of which the first sheet is read, at the top of FOLDER. The first row names the columns:

    file      the recording, relative to FOLDER (or filename, path, audio …)
    text      its transcript (or transcription, sentence …)
    speaker   optional: its speaker (or speaker_id …). Without it, each recording counts as a speaker
    split     optional: train, dev or test. Without it, `preparation.divide` divides the recordings
    …         any other column is a label (gender, accent, device): results are broken down by it

Without a table, a text file for each recording, in a folder transcript or txt beside the recordings' own; the
other folders are the speaker's name, as in L2-ARCTIC and VCTK:

    ABA/wav/arctic_a0001.wav                        ABA/transcript/arctic_a0001.txt
    wav48_silence_trimmed/p225/p225_001_mic1.flac   txt/p225/p225_001.txt

Out: DATA_DIR/{train,dev,test}. All faults of the texts are reported at once, by line.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command, pip_install
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import AUDIO_SUFFIXES
from ia3_speech.data.corpora import preparation
from ia3_speech.data.corpora.preparation import Size, find_recording, is_few, recordings_by_stem
from ia3_speech.data.kaldi.directory import UtteranceIds
from ia3_speech.data.kaldi.table_file import raise_if_any, read_utf8, unprintable_character
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance

SUFFIXES = (".csv", ".tsv", ".xlsx")
TEXT_FOLDERS = {"transcript", "transcripts", "txt"}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "TAB"}
EXCEL_SEPARATOR = re.compile(r"\"?sep=(.)\"?\r?\n", re.IGNORECASE)

# Names of columns in published corpora, the most specific first; also of datasets (huggingface.py).
AUDIO_COLUMNS = (
    "audio", "speech", "file", "path", "audio_path", "audio_filepath", "file_name", "wav", "filename",
    "audio_file",
)  # fmt: skip
TEXT_COLUMNS = (
    "text", "transcription", "transcript", "sentence", "normalized_text", "raw_text", "utterance",
)  # fmt: skip
SPEAKER_COLUMNS = (
    "speaker_id", "speaker", "spk_id", "spk", "client_id", "user_id", "user_ids", "reader_id",
)  # fmt: skip
SYNONYMS = {"file": AUDIO_COLUMNS, "text": TEXT_COLUMNS, "speaker": SPEAKER_COLUMNS}
GENDERS = {
    **dict.fromkeys(("male", "man", "male_masculine"), "m"),
    **dict.fromkeys(("female", "woman", "female_feminine"), "f"),
}
# The place of a row, `list.csv:17` (in Excel the number of the row); column → text
PlacedRow = tuple[str, dict[str, str]]
LAYOUTS = "python -m ia3_speech.data.corpora.csv_folder --help shows the layouts of a corpus"


def prepare(corpus: Path, out: Path, size: Size = "full") -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a folder of recordings with one CSV or Excel file at its top, or with a text file for each
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
    """
    rows, problems = read_rows(corpus)
    recordings = check_rows(corpus, rows, problems)
    columns = rows[0][1]
    speakers_known, default_speaker = "speaker" in columns, ""
    if not speakers_known:
        if is_few(Utterance("", "", "", str(recording)) for recording in recordings):
            default_speaker = "one speaker"
        counted_as = default_speaker or "each recording counts as a speaker"
        print(f"{corpus}: no column speaker (the columns are {', '.join(columns)}): {counted_as}")
    ids, utterances, sets, places = UtteranceIds(len(rows)), [], {}, ""
    for number, ((where, fields), recording) in enumerate(zip(rows, recordings, strict=True)):
        speaker, id = ids.assign(fields.get("speaker", default_speaker), fields["file"], number)
        labels = {
            label_name(column): value
            for column, value in fields.items()
            if column not in ("file", "text", "speaker", "split") and value
        }
        if gender := labels.get("gender"):
            labels["gender"] = GENDERS.get(gender.lower(), gender.lower())
        utterances.append(Utterance(id, speaker, id, str(recording), text=fields["text"], labels=labels))
        sets[id] = split_of(fields)
        places += f"{id}\t{where}\n"
    files = {file.resolve(): file for file in corpus.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES}
    if unlisted := files.keys() - {*recordings}:
        such_as = files[min(unlisted)].relative_to(corpus)
        print(f"{corpus}: {len(unlisted)} sound files have no text, such as {such_as}; they are left out")
    sets = sets if any(sets.values()) else None
    divided = preparation.divide(utterances, sets, speakers_known=speakers_known)
    if "dev" not in divided:
        preparation.remove_earlier_dev(out)
    for name, chosen in divided.items():
        preparation.write_set(out / name, chosen, size)
    write_text(out / preparation.PLACES, places)


def read_rows(corpus: Path) -> tuple[list[PlacedRow], list[str]]:
    """The rows of a folder's one CSV or Excel file, or of its text files, and their faults."""
    if not corpus.is_dir():
        raise UserError(f"{corpus}: there is no such folder (relative paths start at your working directory)")
    files = [path for path in corpus.iterdir() if path.suffix.lower() in SUFFIXES]
    tables = sorted(path for path in files if not path.name.startswith(("~$", ".")))  # Excel's lock files
    if not tables and text_files(corpus):
        return read_text_files(corpus), []
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables) or "none"
        raise UserError(f"{corpus}: one CSV file is expected at its top, not {names} ({LAYOUTS})")
    return read_spreadsheet(tables[0])


def check_rows(corpus: Path, rows: list[PlacedRow], problems: list[str]) -> list[Path]:
    """The audio file of each row, an absolute path; one DataError for `problems` and all further ones."""
    places: dict[Path, str] = {}
    for where, fields in rows:
        name, text = fields["file"], fields["text"]
        file = find_recording(corpus / name.replace("\\", "/")) if name else None
        recording = file and file.resolve()
        if recording is None:
            problems.append(f"{where}: no such file: {name or '(empty)'} (paths are relative to {corpus})")
        elif (other := places.setdefault(recording, where)) != where:
            line = other.rpartition(":")[2]
            problems.append(f"{where}: {name} is already in line {line} (remove one of them)")
        if not normalize(text):
            problems.append(f"{where}: no text for {name} (write it, or remove the line)")
        elif fault := unprintable_character(" ".join(text.split())):
            problems.append(f"{where}: {fault} (in the text of {name}: type it anew)")
        if (split := split_of(fields)) not in (*preparation.SETS, ""):
            problems.append(f"{where}: the split is {split!r} (train, dev or test)")
        if fields.get("lang") == "":  # Kaldi requires this label of every utterance
            problems.append(f"{where}: no lang for {name} (write it, or give the column another name)")
    raise_if_any(problems)
    return list(places)


def split_of(fields: dict[str, str]) -> str:
    """train, dev or test, also from Hugging Face's names; any other text as it is."""
    split = fields.get("split", "").lower()
    return "dev" if split in ("validation", "valid", "val") else split


def label_name(column: str) -> str:
    """The label for a column: letters, digits, - and _, since file names hold it."""
    return re.sub(r"[^\w-]", "_", column)


def text_files(corpus: Path) -> list[Path]:
    """The text files below folders of texts, sorted; none where the corpus has another layout."""
    return sorted(file for file in corpus.rglob("*.txt") if TEXT_FOLDERS & {*file.relative_to(corpus).parts})


def read_text_files(corpus: Path) -> list[PlacedRow]:
    """A row for each text file that has a recording; prints how many have none."""
    rows, alone = [], []
    for file in text_files(corpus):
        folder = next(parent for parent in file.parents if parent.name in TEXT_FOLDERS)
        inside = file.relative_to(folder).with_suffix("")
        beside = [recordings_by_stem(sibling / inside.parent) for sibling in sorted(folder.parent.iterdir())]
        names = (inside.name, f"{inside.name}_mic1")  # the first of VCTK's two microphones
        if audio := next((stems[name] for name in names for stems in beside if name in stems), None):
            speaker = "-".join((*folder.parent.relative_to(corpus).parts, *inside.parent.parts))
            row = {"file": audio.relative_to(corpus).as_posix(), "text": read_utf8(file, "save it as UTF-8")}
            rows.append((f"{file}:1", row | {"speaker": speaker}))
        else:
            alone.append(file)
    if alone:
        such_as, count = alone[0].relative_to(corpus), len(rows) + len(alone)
        print(f"{corpus}: {len(alone)} of {count} texts have no recording, such as {such_as}; left out")
    if not rows:
        raise UserError(f"{corpus}: no text has a recording of its name beside its folder ({LAYOUTS})")
    if not any(row["speaker"] for _, row in rows):  # texts at the top: the speakers are unknown
        for _, row in rows:
            del row["speaker"]
    return rows


def read_spreadsheet(path: Path) -> tuple[list[PlacedRow], list[str]]:
    """The rows, columns by their usual names, and a message for each row with too few or too many fields.

    Raises:
        UserError: the file cannot be read as text or as a workbook, a column has no name or the name of
            another, a required column is missing, or there is no row.
    """
    problems: list[str] = []
    if path.suffix.lower() == ".xlsx":
        lines, hint = excel_lines(path), "remove the cells beside the table"
    else:
        text = read_utf8(path)
        separator = EXCEL_SEPARATOR.match(text)
        delimiter = separator[1] if separator else max(DELIMITERS, key=text.lstrip().partition("\n")[0].count)
        lines = csv_lines(path, text, delimiter, problems)
        if separator:
            next(lines, None)
        hint = f'a text with a {DELIMITERS.get(delimiter, delimiter)} in it stands in quotation marks: "…"'
    columns: list[str] = []
    rows: list[PlacedRow] = []
    for line, fields in lines:
        fields = [field.strip() for field in fields]
        if not any(fields):  # Excel writes empty rows above and below a table
            continue
        if not columns:
            columns = usual_names(fields, f"{path}:{line}")
        elif len(fields) == len(columns):
            rows.append((f"{path}:{line}", dict(zip(columns, fields, strict=True))))
        else:
            problems.append(f"{path}:{line}: {len(fields)} fields for {len(columns)} columns ({hint})")
    if not rows:
        raise_if_any(problems)
        raise UserError(f"{path}: holds no recording (one a line, below the line with the column names)")
    return rows, problems


def csv_lines(path: Path, text: str, delimiter: str, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row; `problems` receives a quotation mark that is not closed."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            start, line = line, reader.line_num + 1
            yield start, fields
    except csv.Error as error:
        problems.append(f"{path}:{line}: {error} (a quotation mark in a text is written twice)")


def excel_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Row number and fields of the first sheet's rows. Empty cells beside the table are dropped."""
    try:
        import openpyxl
    except ImportError:
        raise UserError(f"{path}: Excel files need openpyxl ({pip_install('openpyxl')})") from None
    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zipfile, XML, openpyxl …
        raise UserError(f"{path}: not an Excel workbook: {error} (save it again, or as CSV UTF-8)") from None
    width = 0
    for number, cells in enumerate(workbook.worksheets[0].iter_rows(values_only=True), 1):
        fields = [excel_text(cell) for cell in cells]
        while len(fields) > width and not fields[-1].strip():
            fields.pop()
        width = width or len(fields)  # of the row with the column names
        yield number, fields + [""] * (width - len(fields))


def excel_text(value: Any) -> str:
    """A cell as Excel shows it by default: 7 and not 7.0, TRUE and not True."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def usual_names(columns: list[str], place: str) -> list[str]:
    """The columns in lower case, with `file`, `text` and `speaker` in place of their synonyms."""
    columns = [column.lower() for column in columns]
    for name in columns:
        if columns.count(name) > 1 or not name:
            fault = f"two columns {name}" if name else "a column without a name"
            raise UserError(f"{place}: {fault} (give each column a different name)")
    for name, synonyms in SYNONYMS.items():
        candidates = [column for column in columns if re.sub(r"[\s-]+", "_", column) in synonyms]
        if name in columns or (name == "speaker" and not candidates):
            continue
        if len(candidates) != 1:
            named = " or ".join(candidates or columns)
            raise UserError(f"{place}: no column {name} (give this name to {named})")
        columns[columns.index(candidates[0])] = name
    return columns


if __name__ == "__main__":
    command(prepare)
