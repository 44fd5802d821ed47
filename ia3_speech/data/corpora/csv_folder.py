"""Your own corpus as a folder of recordings with a table (CSV or Excel) that says what is said in each.

    python -m ia3_speech.data.corpora.csv_folder FOLDER DATA_DIR [--size full|small]

In: a .csv, .tsv or .xlsx file at the top of FOLDER (see `spreadsheet`), with a first row of column names.

    file      the recording, relative to FOLDER, as libsndfile reads it (or filename, path, audio …)
    text      what is said in it (or transcript, transcription, sentence …)
    speaker   optional: who says it (or speaker_id …). Without, each recording counts as a speaker of its own
    split     optional: train, dev or test. Without, `splitting` divides the recordings
    …         any other column is a label (gender, accent, device): results are broken down by it

Out: DATA_DIR/{train,dev,test}. All that is wrong with the table is reported at once, by line.
"""

import re
from difflib import get_close_matches
from pathlib import Path

from ia3_speech.cli import UserError, command
from ia3_speech.data.audio import AudioError
from ia3_speech.data.columns import GENDERS, label_name
from ia3_speech.data.corpora.preparation import Size, find_recording, is_recording, write_set
from ia3_speech.data.corpora.splitting import SETS, divide
from ia3_speech.data.corpora.spreadsheet import SUFFIXES, SheetRow, read_spreadsheet
from ia3_speech.data.kaldi.table_file import MAX_LISTED, raise_if_any, unprintable_character
from ia3_speech.data.kaldi.utterance_ids import UtteranceIds
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance, with_duration

LAYOUT = """\
A corpus is a folder of recordings with one table at its top: .csv (comma, semicolon or TAB) or .xlsx:

  file,text,speaker,accent
  monday/001.wav,take two tablets of metformin,anna,scottish
  monday/002.wav,"no fever, no cough",anna,scottish
"""


def prepare(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a folder of recordings with one CSV or Excel file at its top
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    path = find_table(corpus)
    rows, problems = read_spreadsheet(path)
    recordings = check_sheet(path, rows, problems)
    speakers_known = "speaker" in rows[0].fields
    if not speakers_known:
        columns = ", ".join(rows[0].fields)
        print(f"{path}: no column speaker (the columns are {columns}): each recording counts as a speaker")
    ids, utterances, sets, unreadable = UtteranceIds(len(rows)), [], {}, []
    for number, (row, recording) in enumerate(zip(rows, recordings, strict=True)):
        speaker, id = ids.assign(row.fields.get("speaker", ""), row.fields["file"], number)
        text = " ".join(row.fields["text"].split())
        utterance = Utterance(id, speaker, id, str(recording), text=text, labels=row_labels(row.fields))
        try:
            utterances.append(with_duration(utterance))
        except AudioError as error:
            unreadable.append(f"{path}:{row.line}: {error}")
        sets[id] = row.fields.get("split", "").lower()
    raise_if_any(unreadable)
    report_unlisted(path, set(recordings))
    divided = divide(utterances, sets if any(sets.values()) else None, speakers_known=speakers_known)
    for name, chosen in divided.items():
        write_set(out / name, chosen, size)


def find_table(corpus: Path) -> Path:
    """The one CSV or Excel file of a folder. Raises UserError where there is none, or several."""
    if not corpus.is_dir():
        raise UserError(f"{corpus}: there is no such folder (relative paths start at your working directory)")
    files = [path for path in corpus.iterdir() if path.suffix.lower() in SUFFIXES]
    found = sorted(path for path in files if not path.name.startswith(("~$", ".")))  # Excel's lock files
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        what = f"{len(found)} CSV files ({names})" if found else "no CSV file"
        raise UserError(f"{corpus}: holds {what} at its top, and one is expected\n\n{LAYOUT}")
    return found[0]


def check_sheet(path: Path, rows: list[SheetRow], problems: list[str]) -> list[Path]:
    """The audio file of each row, an absolute path.

    Raises:
        DataError: with `problems`, and a message for each line whose file is missing or occurs twice, whose
            text is empty or unprintable, or whose split is none of train, dev and test.
    """
    problems, recordings = list(problems), []
    lines: dict[Path, int] = {}
    available = sorted(recordings_below(path.parent))
    for row in rows:
        where, name, text = f"{path}:{row.line}", row.fields["file"], row.fields["text"]
        found = find_recording(path.parent / name.replace("\\", "/")) if name else None
        recording = found and found.resolve()
        if recording is None:
            wanted = len(problems) < MAX_LISTED  # the search for near names is slow
            hint = missing_file_hint(name, path.parent, available) if wanted else ""
            problems.append(f"{where}: no such file: {name or '(empty)'}{hint}")
        elif recording in lines:
            problems.append(f"{where}: {name} is already in line {lines[recording]} (remove one of them)")
        else:
            lines[recording] = row.line
            recordings.append(recording)
        if not normalize(text):
            problems.append(f"{where}: no text for {name} (write what is said, or remove the line)")
        elif fault := unprintable_character(" ".join(text.split())):
            problems.append(f"{where}: {fault} (in the text of {name}: type it anew)")
        if (split := row.fields.get("split", "").lower()) not in (*SETS, ""):
            problems.append(f"{where}: the split is {split!r} (train, dev or test)")
    raise_if_any(problems)
    return recordings


def missing_file_hint(name: str, folder: Path, available: list[str]) -> str:
    near = get_close_matches(name, available, n=1)
    return f" (is it {near[0]}?)" if near else f" (paths are relative to {folder})"


def report_unlisted(path: Path, listed: set[Path]) -> None:
    """Print how many recordings of the folder the table does not name."""
    folder = path.parent
    unlisted = sorted(name for name in recordings_below(folder) if (folder / name).resolve() not in listed)
    if unlisted:
        print(f"{path}: does not name {len(unlisted)} sound files, such as {unlisted[0]}; they are left out")


def recordings_below(folder: Path) -> set[str]:
    """The audio files at any depth, relative to the folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if is_recording(path)}


def row_labels(fields: dict[str, str]) -> dict[str, str]:
    """The labels of a row: its other columns, with m and f for male and female."""
    labels = {
        label_name(column): re.sub(r"\s+", " ", value)
        for column, value in fields.items()
        if column not in ("file", "text", "speaker", "split") and value
    }
    if gender := labels.get("gender"):
        labels["gender"] = GENDERS.get(gender.lower(), gender.lower())
    return labels


if __name__ == "__main__":
    command(prepare)
