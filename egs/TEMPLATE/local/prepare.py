#!/usr/bin/env python3
"""Prepare a folder of recordings with a CSV file. (Your corpus card goes here.)

    local/prepare.py CORPUS_DIR OUT_DIR [--size full|small]

    What      what is said, where, by how many people, how it was recorded
    Hours     as the preparation prints them
    Licence   who may do what with it

In: a CSV file at the top of CORPUS_DIR, UTF-8, with a first line of column names; between the fields stand
commas, semicolons or TABs.

    file      the recording, relative to CORPUS_DIR; whatever libsndfile reads
    text      what is said in it
    speaker   optional: who says it. Without, each recording counts as a speaker of its own
    split     optional: train, dev or test. Without, a fifth is test: of the speakers, so that none is on both
              sides, or, of fewer than four speakers, of the sentences. Without dev, 15 % of train become dev
    …         any other column is a label (gender, accent, device): results are broken down by it

Out: OUT_DIR/{train,dev,test}. Everything that is wrong with the CSV file is said at once, by line.
"""

import csv
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sets import SOUNDS, Size, held_out, put, sound

from ia3_speech.cli import UserError, command
from ia3_speech.data.huggingface import GENDERS, label_name
from ia3_speech.data.kaldi.table_file import MAX_LISTED, raise_if_any, unprintable_character
from ia3_speech.data.kaldi.utterance_ids import UtteranceIds
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance

PUBLISHED = Path(__file__).with_name("published.txt")
SETS = ("train", "dev", "test")
TEST_SHARE = 0.2
FEWEST_SPEAKERS = 4  # to be split by speaker
NAMED = {",": "comma", ";": "semicolon", "\t": "TAB"}


@dataclass
class Row:
    """A line of the CSV file: where it begins, and its fields by column."""

    line: int
    fields: dict[str, str]


def main(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a folder of recordings with one CSV file at its top
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    path = table_of(corpus)
    rows, problems = read_rows(path)
    places = check(path, rows, problems)
    if "speaker" not in rows[0].fields:
        columns = ", ".join(rows[0].fields)
        print(f"{path}: no column speaker (the columns are {columns}): each recording counts as a speaker")
    names, utterances, sides = UtteranceIds(len(rows)), [], {}
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        speaker, id = names.take(row.fields.get("speaker", ""), row.fields["file"], number)
        text = " ".join(row.fields["text"].split())
        labels = labels_of(row.fields)
        utterances.append(Utterance(id, speaker, id, str(place), text=text, labels=labels))
        sides[id] = row.fields.get("split", "").lower()
    named = set(places)
    unnamed = sorted(name for name in files_below(corpus) if (corpus / name).resolve() not in named)
    if unnamed:
        print(f"{path}: does not name {len(unnamed)} sound files, such as {unnamed[0]}; they are left out")
    for name, chosen in divide(utterances, sides, named="speaker" in rows[0].fields).items():
        put(out / name, chosen, size)


def table_of(corpus: Path) -> Path:
    """The one CSV file of a folder."""
    if not corpus.is_dir():
        raise UserError(f"{corpus}: there is no such folder (--corpus is meant from where you stand)")
    found = sorted(path for path in corpus.glob("*") if path.suffix.lower() in (".csv", ".tsv"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        what = f"{len(found)} CSV files ({names})" if found else "no CSV file"
        layout = PUBLISHED.read_text(encoding="utf-8").partition("\n\n")[2]
        raise UserError(f"{corpus}: holds {what} at its top, and one is expected:\n\n{layout}")
    return found[0]


def read_rows(path: Path) -> tuple[list[Row], list[str]]:
    """The lines of a CSV file by column, in lower case, without the white space around a field; and what is
    wrong with other lines: they lack fields, have too many, or open a quotation mark.

    Raises:
        UserError: it is not UTF-8, has no good first line, or no other.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        cure = "save it as UTF-8; in Excel: Save as, CSV UTF-8"
        raise UserError(f"{path}:{line}: not UTF-8, byte 0x{content[error.start]:02x} ({cure})") from None
    head = text.partition("\n")[0]
    delimiter = max(NAMED, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    problems: list[str] = []
    columns: list[str] = []
    line = 1
    try:
        for fields in reader:
            start, line = line, reader.line_num + 1
            fields = [field.strip() for field in fields]
            if not columns:
                columns = check_columns(path, [field.lower() for field in fields])
            elif len(fields) == len(columns):
                rows.append(Row(start, dict(zip(columns, fields, strict=True))))
            elif any(fields):
                cure = f'a text with a {NAMED[delimiter]} in it stands in quotation marks: "…"'
                problems.append(f"{path}:{start}: {len(fields)} fields for {len(columns)} columns ({cure})")
    except csv.Error as error:
        problems.append(f"{path}:{line}: {error} (a quotation mark in a text is written twice)")
    if not rows:
        raise_if_any(problems)
        raise UserError(f"{path}: holds no recording (one a line, below the line with the column names)")
    return rows, problems


def check_columns(path: Path, columns: list[str]) -> list[str]:
    for name in ("file", "text"):
        if name not in columns:
            raise UserError(f"{path}:1: no column {name} (the columns are {', '.join(columns)})")
    for name in columns:
        if columns.count(name) > 1 or not name:
            what = f"two columns {name}" if name else "a column without a name"
            raise UserError(f"{path}:1: {what} (give each column a name of its own)")
    return columns


def check(path: Path, rows: list[Row], problems: list[str]) -> list[Path]:
    """The sound file of each row, an absolute path.

    Raises:
        DataError: with `problems`, and naming the lines whose file is missing or named before, whose text is
            empty or does not print, or whose split is none.
    """
    problems, places = list(problems), []
    lines: dict[Path, int] = {}
    there = sorted(files_below(path.parent))
    for row in rows:
        where, name, text = f"{path}:{row.line}", row.fields["file"], row.fields["text"]
        found = sound(path.parent / name.replace("\\", "/")) if name else None
        place = found and found.resolve()
        if place is None:
            cure = hint(name, path.parent, there) if len(problems) < MAX_LISTED else ""  # it takes a while
            problems.append(f"{where}: no such file: {name or '(empty)'}{cure}")
        elif place in lines:
            problems.append(f"{where}: {name} stands in line {lines[place]} already (remove one of them)")
        else:
            lines[place] = row.line
            places.append(place)
        if not normalize(text):
            problems.append(f"{where}: no text for {name} (write what is said, or remove the line)")
        elif fault := unprintable_character(" ".join(text.split())):
            problems.append(f"{where}: {fault} (in the text of {name}: type it anew)")
        if (side := row.fields.get("split", "").lower()) not in (*SETS, ""):
            problems.append(f"{where}: the split is {side!r} (train, dev or test)")
    raise_if_any(problems)
    return places


def hint(name: str, folder: Path, there: list[str]) -> str:
    """What else the file may be called, in brackets."""
    near = get_close_matches(name, there, n=1)
    return f" (is it {near[0]}?)" if near else f" (paths are relative to {folder})"


def files_below(folder: Path) -> set[str]:
    """The sound files at any depth, relative."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
    return {str(path.relative_to(folder)) for path in found}


def labels_of(fields: dict[str, str]) -> dict[str, str]:
    """The columns of one's own; male and female are m and f."""
    labels = {
        label_name(column): re.sub(r"\s+", " ", value)
        for column, value in fields.items()
        if column not in ("file", "text", "speaker", "split") and value
    }
    if gender := labels.get("gender"):
        labels["gender"] = GENDERS.get(gender.lower(), gender.lower())
    return labels


def unit_of(utterances: list[Utterance], fewest: float) -> tuple[Callable[[Utterance], str], str]:
    """What is dealt out whole, and its name: a speaker, or, of fewer than `fewest` of them, a sentence."""
    if len({one.speaker for one in utterances}) >= fewest:
        return (lambda one: one.speaker), "speakers"
    return (lambda one: normalize(one.text or "")), "sentences"


def divide(utterances: list[Utterance], sides: dict[str, str], named: bool) -> dict[str, list[Utterance]]:
    """train, dev and test, as the column `split` says; else by speaker or by sentence.

    Raises:
        UserError: some rows have a split and others not, or there is too little for three sets.
    """
    unit, what = unit_of(utterances, FEWEST_SPEAKERS if named else math.inf)
    given = set(sides.values())
    if given == {""}:
        units = set(map(unit, utterances))
        test = held_out(units, TEST_SHARE)
        sides = {one.id: "test" if unit(one) in test else "train" for one in utterances}
        print(f"test: {len(test)} of {len(units)} {what}, {share_of('test', sides)}")
    elif "" in given or not {"train", "test"} <= given:
        raise UserError(
            f"the column split says {', '.join(map(repr, sorted(given)))} (each row needs train, dev or "
            f"test, and train and test must occur; or leave the column out)"
        )
    if "dev" not in sides.values():
        train = [one for one in utterances if sides[one.id] == "train"]
        if what == "speakers":
            unit, what = unit_of(train, FEWEST_SPEAKERS - 1)  # one may have become test
        units = set(map(unit, train))
        dev = held_out(units)
        sides = sides | {one.id: "dev" for one in train if unit(one) in dev}
        print(f"dev: {len(dev)} of the {len(units)} {what} left, {share_of('dev', sides)}")
    return {name: [one for one in utterances if sides[one.id] == name] for name in SETS}


def share_of(name: str, sides: dict[str, str]) -> str:
    return f"{list(sides.values()).count(name) / len(sides):.0%} of all recordings"


if __name__ == "__main__":
    command(main)
