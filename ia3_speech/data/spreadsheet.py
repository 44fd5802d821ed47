"""A list of recordings: CSV in UTF-8 or UTF-16, or an Excel workbook; and the usual names of columns.

In: a .csv or .tsv file, with commas, semicolons or TABs between the fields, or an .xlsx file, whose first
sheet is read. The first row holds the names of the columns; Excel's `sep=;` may stand above it. Out: the rows
by column, and a message for each faulty row. The usual names of columns are from published corpora, and hold
for datasets too (`huggingface`).
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ia3_speech.cli import pip_install
from ia3_speech.data.kaldi.table_file import raise_if_any
from ia3_speech.errors import UserError

SUFFIXES = (".csv", ".tsv", ".xlsx")
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "TAB"}
EXCEL_SEPARATOR = re.compile(r"\"?sep=(.)\"?\r?\n", re.IGNORECASE)

# Names of columns, the most specific first.
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
REQUIRED = ("file", "text")
GENDERS = {
    **dict.fromkeys(("male", "man", "male_masculine"), "m"),
    **dict.fromkeys(("female", "woman", "female_feminine"), "f"),
}

# The line where a row begins (in Excel the number of the row); column → text without white space around it
SheetRow = tuple[int, dict[str, str]]


def read_spreadsheet(path: Path) -> tuple[list[SheetRow], list[str]]:
    """The rows, columns by their usual names, and a message for each row with too few or too many fields.

    Raises:
        UserError: the file cannot be read as text or as a workbook, a column has no name or the name of
            another, a required column is missing, or there is no row.
    """
    problems: list[str] = []
    if path.suffix.lower() == ".xlsx":
        lines, hint = excel_lines(path), "remove the cells beside the table"
    else:
        text = read_any_utf(path)
        separator = EXCEL_SEPARATOR.match(text)
        delimiter = separator[1] if separator else max(DELIMITERS, key=text.lstrip().partition("\n")[0].count)
        lines = csv_lines(path, text, delimiter, problems)
        if separator:
            next(lines, None)
        hint = f'a text with a {DELIMITERS.get(delimiter, delimiter)} in it stands in quotation marks: "…"'
    columns: list[str] = []
    rows: list[SheetRow] = []
    for line, fields in lines:
        fields = [field.strip() for field in fields]
        if not any(fields):  # Excel writes empty rows above and below a table
            continue
        if not columns:
            columns = usual_names(fields, f"{path}:{line}")
        elif len(fields) == len(columns):
            rows.append((line, dict(zip(columns, fields, strict=True))))
        else:
            problems.append(f"{path}:{line}: {len(fields)} fields for {len(columns)} columns ({hint})")
    if not rows:
        raise_if_any(problems)
        raise UserError(f"{path}: holds no recording (one a line, below the line with the column names)")
    return rows, problems


def read_any_utf(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark, as Excel writes it."""
    content = path.read_bytes()
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}:{line}: not {'UTF-16' if is_utf16 else 'UTF-8'}, byte 0x{content[error.start]:02x} "
            f"(save it as UTF-8; in Excel: Save as, CSV UTF-8)"
        ) from None


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
        hint = f"{pip_install('openpyxl')}; or save it as CSV UTF-8"
        raise UserError(f"{path}: reading Excel files needs openpyxl ({hint})") from None
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


# ---- columns ----


def usual_names(columns: list[str], place: str) -> list[str]:
    """The columns in lower case, with `file`, `text` and `speaker` in place of their synonyms. Raises
    UserError as `read_spreadsheet`, and where two columns have the same meaning."""
    columns = [column.lower() for column in columns]
    for name in columns:
        if columns.count(name) > 1 or not name:
            fault = f"two columns {name}" if name else "a column without a name"
            raise UserError(f"{place}: {fault} (give each column a different name)")
    for name, synonyms in SYNONYMS.items():
        if name in columns:
            continue
        meant = [column for column in columns if re.sub(r"[\s-]+", "_", column) in synonyms]
        if len(meant) > 1:
            hint = f"rename one of them to {name}"
            raise UserError(f"{place}: which column is the {name}, {' or '.join(meant)}? ({hint})")
        if meant:
            columns[columns.index(meant[0])] = name
        elif name in REQUIRED:
            hint = f"call it {', '.join(dict.fromkeys([name, *synonyms]))}"
            raise UserError(f"{place}: no column {name} (the columns are {', '.join(columns)}; {hint})")
    return columns


def label_name(column: str) -> str:
    """The label for a column: letters, digits, - and _, since file names hold it."""
    return re.sub(r"[^\w-]", "_", column)
