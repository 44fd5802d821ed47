"""One text table of a data directory: lines of `key value…`, sorted by key as `LC_ALL=C sort` does.

In: a file. Out: a `Table` of rows that know their line, and a list of everything that is wrong with the file.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ia3_speech.cli import UserError

GAP = re.compile(r"[ \t]+")  # what awk, and so Kaldi, splits fields at: never at other Unicode spaces
JOINERS = "\u200c\u200d"  # not "printable", yet letters of Persian and the Indic scripts need them
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
SHOWN = 10  # problems that one error lists


class DataError(UserError):
    """A data directory that cannot be used as it is. The message names file, line and cure."""


class NotUTF8(DataError):
    """A file that is there, and holds other bytes than text in UTF-8."""


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    value: str  # the rest of the line, without the white space around it
    line: int

    @property
    def fields(self) -> list[str]:
        """The fields after the key."""
        return GAP.split(self.value) if self.value else []


@dataclass(slots=True)
class Table:
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
    return f'run "python -m ia3_speech.datadir fix {folder}"'


def raise_if_any(problems: list[str]) -> None:
    """One DataError for all `problems`: the first ten, and how many more there are."""
    if problems:
        more = [f"… and {len(problems) - SHOWN} more problems"] if len(problems) > SHOWN else []
        raise DataError("\n".join(problems[:SHOWN] + more))


def load(path: Path, problems: list[str], *, ordered: bool = True) -> Table:
    """Read a table as Kaldi's own programs do; what they or we refuse goes to `problems`.

    Refused: no newline at the end, empty lines, characters that do not print (carriage return, no-break
    space), text that is not UTF-8, keys that are out of order (unless `ordered` is false) or appear twice.
    """
    table, hint = Table(path), fix_hint(path.parent)
    try:
        lines = decode(path).split("\n")
    except NotUTF8 as error:  # what else is wrong is said with it
        problems.append(str(error))
        lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    if lines[-1]:
        problems.append(f"{path}:{len(lines)}: the last line does not end in a newline ({hint})")
    else:
        lines.pop()
    for number, line in enumerate(lines, 1):
        fault = unprintable(line)
        if fault:
            problems.append(f"{path}:{number}: {fault} ({hint})")
        if not line.strip(" \t") or line[0] in " \t":
            what = "begins with white space" if line.strip(" \t") else "is empty"
            problems.append(f"{path}:{number}: the line {what} ({hint})")
        else:
            key = GAP.split(line, maxsplit=1)[0]
            table.rows.append(Row(key, line[len(key) :].strip(" \t"), number))
    problems += twice(table) + (disorder(table) if ordered else [])
    return table


def decode(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        DataError: it is missing or cannot be read.
        NotUTF8: naming the line of the first such byte.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        hint = f"convert it, for example with iconv -f LATIN1 -t UTF-8 {path}"
        raise NotUTF8(f"{path}:{line}: not UTF-8 ({hint})") from None


def unprintable(line: str) -> str | None:
    """What is wrong with a line that does not print, or None."""
    line = line.replace("\t", " ")
    if line.isprintable():
        return None
    bad = next((c for c in line if not c.isprintable() and c not in JOINERS), None)
    if bad is None:
        return None
    if bad == "\r":
        return "a carriage return: the file has Windows line ends"
    return f"character U+{ord(bad):04X} {unicodedata.name(bad, '')}".strip() + " does not print"


def twice(table: Table) -> list[str]:
    """A problem for the first key that appears a second time."""
    seen: dict[str, int] = {}
    for row in table:
        if row.key in seen:
            hint = f"first in line {seen[row.key]}; {fix_hint(table.path.parent)}"
            return [f"{table.path}:{row.line}: {row.key} appears twice ({hint})"]
        seen[row.key] = row.line
    return []


def disorder(table: Table) -> list[str]:
    """A problem for the first key that is out of order."""
    for before, row in pairwise(table.rows):
        if row.key < before.key:  # code points sort as the bytes of their UTF-8 do
            hint = fix_hint(table.path.parent)
            where = f"{table.path}:{row.line}"
            return [f"{where}: not sorted as LC_ALL=C sort does: {row.key} follows {before.key} ({hint})"]
    return []


def difference(
    noun: str, left: Table, right: Table, theirs: dict[str, int], ours: dict[str, int] | None = None
) -> list[str]:
    """A problem where `left` and `right` do not name the same things: the first one, both ends, both lengths.

    `ours` and `theirs` (key → line) are what they name: the first column of `left` if not given.
    """
    ours = left.keys if ours is None else ours
    only_ours = [key for key in ours if key not in theirs]
    only_theirs = [key for key in theirs if key not in ours]
    if not only_ours and not only_theirs:
        return []
    if only_ours:
        head = f"{left.path}:{ours[only_ours[0]]}: {noun} {only_ours[0]} is not in {right.path.name}"
    else:
        head = f"{right.path}:{theirs[only_theirs[0]]}: {noun} {only_theirs[0]} is not in {left.path.name}"
    lines = [f"{head} ({fix_hint(left.path.parent)})"]
    for table, only in ((left, only_ours), (right, only_theirs)):
        if only:
            ends = only[0] if len(only) == 1 else f"{only[0]} … {only[-1]}"
            lines.append(f"    only in {table.path.name}: {len(only)} ({ends})")
    lines.append(f"    lengths: {left.path.name} {len(ours)}, {right.path.name} {len(theirs)}")
    return ["\n".join(lines)]


def number(text: str) -> float | None:
    """A plain decimal number, or None: neither `nan` nor `inf` nor `1_000`."""
    return float(text) if NUMBER.fullmatch(text) and abs(float(text)) < float("inf") else None


def render(rows: Iterable[tuple[str, str]]) -> str:
    """The text of a table: sorted, one space after the key, nothing but the key where the value is empty."""
    return "".join(f"{key} {value}".rstrip() + "\n" for key, value in sorted(rows))
