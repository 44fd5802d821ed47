"""Your own corpus: a folder of recordings with a table (CSV or Excel) of the texts, or with text files.

    python -m ia3_speech.data.corpora.csv_folder FOLDER DATA_DIR [--size full|small]

In: a .csv, .tsv or .xlsx file at the top of FOLDER (see `spreadsheet`), with a first row of column names.

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

from pathlib import Path

from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.data.corpora.preparation import (
    PLACES,
    SETS,
    Size,
    divide,
    find_recording,
    is_few,
    is_recording,
    recordings_by_stem,
    remove_earlier_dev,
    write_set,
)
from ia3_speech.data.kaldi.directory import UtteranceIds
from ia3_speech.data.kaldi.table_file import raise_if_any, read_utf8, unprintable_character
from ia3_speech.data.spreadsheet import GENDERS, SUFFIXES, label_name, read_spreadsheet
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance
from ia3_speech.errors import UserError

TEXT_FOLDERS = ("transcript", "transcripts", "txt")
PlacedRow = tuple[str, dict[str, str]]  # the place of a row, `list.csv:17`; its columns
LAYOUT = """\
A corpus is a folder of recordings with one table at its top: .csv (comma, semicolon or TAB) or .xlsx:

  file,text,speaker,accent
  monday/001.wav,take two tablets of metformin,anna,scottish
  monday/002.wav,"no fever, no cough",anna,scottish

or a folder SPEAKER/wav of recordings beside SPEAKER/transcript of text files of the same names.
"""


def prepare(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a folder of recordings with one CSV or Excel file at its top, or with a text file for each
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    rows, problems = read_rows(corpus)
    recordings = check_rows(corpus, rows, problems)
    columns = rows[0][1]
    speakers_known, speaker_of_all = "speaker" in columns, ""
    if not speakers_known:
        counted_as = "each recording counts as a speaker"
        if is_few(Utterance("", "", "", str(recording)) for recording in recordings):
            speaker_of_all = counted_as = "one speaker"
        print(f"{corpus}: no column speaker (the columns are {', '.join(columns)}): {counted_as}")
    ids, utterances, sets, places = UtteranceIds(len(rows)), [], {}, ""
    for number, ((where, fields), recording) in enumerate(zip(rows, recordings, strict=True)):
        speaker, id = ids.assign(fields.get("speaker", speaker_of_all), fields["file"], number)
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
    listed = set(recordings)
    unlisted = [file for file in corpus.rglob("*") if is_recording(file) and file.resolve() not in listed]
    if unlisted:
        such_as = min(unlisted).relative_to(corpus)
        print(f"{corpus}: {len(unlisted)} sound files have no text, such as {such_as}; they are left out")
    divided = divide(utterances, sets if any(sets.values()) else None, speakers_known=speakers_known)
    if "dev" not in divided:
        remove_earlier_dev(out)
    for name, chosen in divided.items():
        write_set(out / name, chosen, size)
    write_text(out / PLACES, places)


def read_rows(corpus: Path) -> tuple[list[PlacedRow], list[str]]:
    """The rows of a folder's one CSV or Excel file, or of its text files, and their faults. Raises
    UserError without both, and where there are several tables."""
    if not corpus.is_dir():
        raise UserError(f"{corpus}: there is no such folder (relative paths start at your working directory)")
    files = [path for path in corpus.iterdir() if path.suffix.lower() in SUFFIXES]
    tables = sorted(path for path in files if not path.name.startswith(("~$", ".")))  # Excel's lock files
    if not tables and text_files(corpus):
        return read_text_files(corpus), []
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables)
        number = f"{len(tables)} CSV files ({names})" if tables else "no CSV file"
        raise UserError(f"{corpus}: holds {number} at its top, and one is expected\n\n{LAYOUT}")
    lines, problems = read_spreadsheet(tables[0])
    return [(f"{tables[0]}:{line}", fields) for line, fields in lines], problems


def text_files(corpus: Path) -> list[Path]:
    """The text files below folders of texts, sorted; none where the corpus has another layout."""
    folders = {*TEXT_FOLDERS}
    return sorted(file for file in corpus.rglob("*.txt") if folders & {*file.relative_to(corpus).parts})


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
        raise UserError(f"{corpus}: no text has a recording of its name beside its folder\n\n{LAYOUT}")
    if not any(row["speaker"] for _, row in rows):  # texts at the top: the speakers are unknown
        for _, row in rows:
            del row["speaker"]
    return rows


def check_rows(corpus: Path, rows: list[PlacedRow], problems: list[str]) -> list[Path]:
    """The audio file of each row, an absolute path; one DataError for `problems` and all further ones."""
    places: dict[Path, str] = {}
    for where, fields in rows:
        name, text = fields["file"], fields["text"]
        file = find_recording(corpus / name.replace("\\", "/")) if name else None
        recording = file and file.resolve()
        if recording is None:
            hint = f"paths are relative to {corpus}"
            problems.append(f"{where}: no such file: {name or '(empty)'} ({hint})")
        elif (other := places.setdefault(recording, where)) != where:
            line = other.rpartition(":")[2]
            problems.append(f"{where}: {name} is already in line {line} (remove one of them)")
        if not normalize(text):
            problems.append(f"{where}: no text for {name} (write it, or remove the line)")
        elif fault := unprintable_character(" ".join(text.split())):
            problems.append(f"{where}: {fault} (in the text of {name}: type it anew)")
        if (split := split_of(fields)) not in (*SETS, ""):
            problems.append(f"{where}: the split is {split!r} (train, dev or test)")
        if fields.get("lang") == "":  # Kaldi requires this label of every utterance
            problems.append(f"{where}: no lang for {name} (write it, or give the column another name)")
    raise_if_any(problems)
    return list(places)


def split_of(fields: dict[str, str]) -> str:
    """train, dev or test, also from Hugging Face's names; any other text as it is."""
    split = fields.get("split", "").lower()
    return "dev" if split in ("validation", "valid", "val") else split


if __name__ == "__main__":
    command(prepare)
