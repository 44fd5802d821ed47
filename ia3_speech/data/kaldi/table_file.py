"""One text file of a data directory: lines of `key value…`, sorted by key as `LC_ALL=C sort` does.

In: a file. Out: a `Table` of rows with their line numbers, and a list of everything that is wrong with the
file.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ia3_speech.cli import UserError

FIELD_SEPARATOR = re.compile(r"[ \t]+")  # as awk, and so Kaldi, splits lines: not at other Unicode spaces
JOINERS = "\u200c\u200d"  # not "printable", yet letters of Persian and the Indic scripts need them
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
MAX_LISTED = 10  # problems that one error lists


class DataError(UserError):
    """A data directory that cannot be used as it is. The message names file, line and a hint."""


class NotUTF8(DataError):
    """A file that exists and is not text in UTF-8."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table.

    Attributes:
        key: its first field: the id of an utterance, speaker or recording.
        value: the rest of the line, without the white space around it.
        line: the line number, from 1.
    """

    key: str
    value: str
    line: int

    @property
    def fields(self) -> list[str]:
        """The fields after the key."""
        return FIELD_SEPARATOR.split(self.value) if self.value else []


@dataclass(slots=True)
class KaldiTable:
    """The rows of a file, in its order."""

    path: Path
    rows: list[Row] = field(default_factory=list)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> dict[str, int]:
        """Key → line."""
        return {row.key: row.line for row in self.rows}

    @property
    def values(self) -> dict[str, str]:
        return {row.key: row.value for row in self.rows}


def fix_hint(folder: Path) -> str:
    return f'run "ia3-speech datadir fix {folder}"'


def raise_if_any(problems: list[str]) -> None:
    """One DataError for all `problems`: the first ten, and how many more there are."""
    if problems:
        more = [f"… and {len(problems) - MAX_LISTED} more problems"] if len(problems) > MAX_LISTED else []
        raise DataError("\n".join(problems[:MAX_LISTED] + more))


def read_table(path: Path, problems: list[str], *, ordered: bool = True) -> KaldiTable:
    """Read a table as Kaldi's own programs do; `problems` receives what they or we refuse.

    Refused are: no newline at the end, empty lines, unprintable characters (carriage return, no-break space),
    text that is not UTF-8, keys that are out of order (unless `ordered` is false) or appear twice.
    """
    table, hint = KaldiTable(path), fix_hint(path.parent)
    try:
        lines = read_utf8(path).split("\n")
    except NotUTF8 as error:  # the other problems are reported with it
        problems.append(str(error))
        lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    if lines[-1]:
        problems.append(f"{path}:{len(lines)}: the last line does not end in a newline ({hint})")
    else:
        lines.pop()
    for number, line in enumerate(lines, 1):
        fault = unprintable_character(line)
        if fault:
            problems.append(f"{path}:{number}: {fault} ({hint})")
        if not line.strip(" \t") or line[0] in " \t":
            what = "begins with white space" if line.strip(" \t") else "is empty"
            problems.append(f"{path}:{number}: the line {what} ({hint})")
        else:
            key = FIELD_SEPARATOR.split(line, maxsplit=1)[0]
            table.rows.append(Row(key, line[len(key) :].strip(" \t"), number))
    problems += duplicate_key(table) + (unsorted_key(table) if ordered else [])
    return table


def read_utf8(path: Path, hint: str = "") -> str:
    """The text of a UTF-8 file.

    Args:
        hint: what to do where it cannot be read.

    Raises:
        DataError: the file is missing or cannot be read.
        NotUTF8: the message names the line of the first byte that is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}{hint and f' ({hint})'}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        hint = f"convert it, for example with iconv -f LATIN1 -t UTF-8 {path}"
        raise NotUTF8(f"{path}:{line}: not UTF-8 ({hint})") from None


def unprintable_character(line: str) -> str | None:
    """The first unprintable character of a line, as a phrase; None where all of it prints."""
    line = line.replace("\t", " ")
    if line.isprintable():
        return None
    found = next((c for c in line if not c.isprintable() and c not in JOINERS), None)
    if found is None:
        return None
    if found == "\r":
        return "a carriage return: the file has Windows line ends"
    return f"character U+{ord(found):04X} {unicodedata.name(found, '')}".strip() + " does not print"


def duplicate_key(table: KaldiTable) -> list[str]:
    """A problem for the first key that appears a second time."""
    seen: dict[str, int] = {}
    for row in table:
        if row.key in seen:
            hint = f"first in line {seen[row.key]}; {fix_hint(table.path.parent)}"
            return [f"{table.path}:{row.line}: {row.key} appears twice ({hint})"]
        seen[row.key] = row.line
    return []


def unsorted_key(table: KaldiTable) -> list[str]:
    """A problem for the first key that is out of order."""
    for before, row in pairwise(table.rows):
        if row.key < before.key:  # code points sort as the bytes of their UTF-8 do
            hint = fix_hint(table.path.parent)
            where = f"{table.path}:{row.line}"
            return [f"{where}: not sorted as LC_ALL=C sort does: {row.key} follows {before.key} ({hint})"]
    return []


def key_difference(
    noun: str,
    left: KaldiTable,
    right: KaldiTable,
    right_keys: dict[str, int],
    left_keys: dict[str, int] | None = None,
) -> list[str]:
    """A problem where two tables do not name the same utterances (speakers, recordings), else nothing.

    Args:
        noun: what the keys are, such as "utterance".
        right_keys: key → line in `right`.
        left_keys: key → line in `left`; its first column if None.

    The problem names the first key that one of them lacks, and how many there are:

        data/train/text:17: utterance anna-3 is not in utt2spk (run "ia3-speech datadir fix
        data/train")
            only in text: 2 (anna-3 … bob-1)
            lengths: text 19, utt2spk 17
    """
    left_keys = left.keys if left_keys is None else left_keys
    only_left = [key for key in left_keys if key not in right_keys]
    only_right = [key for key in right_keys if key not in left_keys]
    if not only_left and not only_right:
        return []
    if only_left:
        head = f"{left.path}:{left_keys[only_left[0]]}: {noun} {only_left[0]} is not in {right.path.name}"
    else:
        head = f"{right.path}:{right_keys[only_right[0]]}: {noun} {only_right[0]} is not in {left.path.name}"
    lines = [f"{head} ({fix_hint(left.path.parent)})"]
    for table, only in ((left, only_left), (right, only_right)):
        if only:
            ends = only[0] if len(only) == 1 else f"{only[0]} … {only[-1]}"
            lines.append(f"    only in {table.path.name}: {len(only)} ({ends})")
    lines.append(f"    lengths: {left.path.name} {len(left_keys)}, {right.path.name} {len(right_keys)}")
    return ["\n".join(lines)]


def parse_number(text: str) -> float | None:
    """A plain decimal number, or None: neither `nan` nor `inf` nor `1_000`."""
    return float(text) if NUMBER.fullmatch(text) and abs(float(text)) < float("inf") else None


def format_table(rows: Iterable[tuple[str, str]]) -> str:
    """The text of a table: sorted, one space after the key, nothing but the key where the value is empty."""
    return "".join(f"{key} {value}".rstrip() + "\n" for key, value in sorted(rows))
