"""Text files: any in UTF-8, lines of `key value…`, and a table of a data directory as Kaldi reads it."""

import re
import shlex
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ia3_speech.common.errors import DataError
from ia3_speech.common.formatting import plural, shorten

FIELD_SEPARATOR = re.compile(r"[ \t]+")  # as awk, and so Kaldi, splits lines: not at other Unicode spaces
JOINERS = "\u200c\u200d"  # not "printable", yet letters of Persian and the Indic scripts need them
BYTE_ORDER_MARK = "\ufeff"  # which Windows programs write in front of UTF-8


def raise_if_any(problems: list[str]) -> None:
    """Raise one DataError for all `problems`: the first ten, a line each, and how many more there are."""
    if problems:
        raise DataError(shorten(problems, "\n"))


def read_utf8(path: Path, hint: str = "", *, keep_mark: bool = False) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark, as Excel writes it. `keep_mark`: read
    UTF-8 alone, and leave its byte-order mark in the text. Raises DataError if the file cannot be read
    (`hint` is the remedy), or is not UTF-8; the message names the line of the first fault."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}{hint and f' ({hint})'}") from None
    is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff")) and not keep_mark
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8" if keep_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        hint = f"convert it, for example with iconv -f LATIN1 -t UTF-8 {shlex.quote(str(path))}"
        raise DataError(f"{path}:{line}: not UTF-8 ({hint}; in Excel: Save as, CSV UTF-8)") from None


def read_kaldi_text(path: Path, hint: str = "ia3-speech decode writes it") -> dict[str, str]:
    """Key → value of the lines of a Kaldi file, `utterance-id words…`; the words may be missing. Raises
    DataError for a missing file, text that is not UTF-8, an empty line, or a key that occurs twice."""
    content = read_utf8(path, hint)
    texts: dict[str, str] = {}
    for number, line in enumerate(content.removesuffix("\n").split("\n") if content else (), start=1):
        key, *value = line.split(maxsplit=1) or [""]
        if not key:
            raise DataError(f"{path}:{number}: an empty line (expected an id, and words or a value)")
        if key in texts:
            raise DataError(f"{path}:{number}: {key} occurs twice (remove one of the lines)")
        texts[key] = "".join(value).strip()
    return texts


class Row(NamedTuple):
    """The part of a table's line behind its key, without the white space around it."""

    value: str
    line: int  # from 1


Table = dict[str, Row]  # the id of an utterance, speaker or recording → its row, in the order of the file


def read_table(path: Path, problems: list[str], *, ordered: bool = True) -> Table:
    """Read a table as Kaldi's programs do. `problems` receives its faults: no newline at the end, empty
    lines, unprintable characters, keys that appear twice (the first counts) or, if `ordered`, out of order.
    """
    hint = fix_hint(path.parent)
    lines = read_utf8(path, keep_mark=True).split("\n")
    if lines[-1]:
        problems.append(f"{path}:{len(lines)}: the last line does not end in a newline ({hint})")
    else:
        lines.pop()
    table: Table = {}
    unprintable: dict[str, list[int]] = {}  # a fault → its lines; all lines of a Windows file have the same
    for number, line in enumerate(lines, 1):
        if fault := unprintable_character(line):
            unprintable.setdefault(fault, []).append(number)
        line = line.removeprefix(BYTE_ORDER_MARK)
        if not line or line[0] in " \t":
            problems.append(f"{path}:{number}: the line is empty, or begins with white space ({hint})")
            continue
        key = FIELD_SEPARATOR.split(line, maxsplit=1)[0]
        first = table.setdefault(key, Row(line[len(key) :].strip(" \t"), number)).line
        if first != number:
            problems.append(f"{path}:{number}: {key} appears twice (first in line {first}; {hint})")
    for fault, (number, *others) in unprintable.items():
        more = f", also in {plural(len(others), 'more line')}" if others else ""
        problems.append(f"{path}:{number}: {fault}{more} ({hint})")
    for before, key in pairwise(table) if ordered else ():
        if key < before:  # code points sort as the bytes of their UTF-8 do
            fault = f"not sorted as LC_ALL=C sort does: {key} follows {before}"
            problems.append(f"{path}:{table[key].line}: {fault} ({hint})")
            break
    return table


def format_table(rows: Iterable[tuple[str, str]]) -> str:
    """The text of a table: sorted, one space after the key, nothing but the key where the value is empty."""
    return "".join(f"{key} {value}".rstrip() + "\n" for key, value in sorted(rows))


def spk2utt_of(utt2spk: dict[str, str]) -> dict[str, str]:
    """Speaker → utterances in the order of their ids, separated by spaces."""
    utterances: dict[str, list[str]] = {}
    for utterance, speaker in sorted(utt2spk.items()):
        utterances.setdefault(speaker, []).append(utterance)
    return {speaker: " ".join(ids) for speaker, ids in utterances.items()}


def unprintable_character(line: str) -> str | None:
    """The first unprintable character of a line, as a phrase; None where the whole line prints."""
    if line.isprintable():
        return None
    for character in line:
        if character == "\r":
            return "a carriage return: the file has Windows line ends"
        if not character.isprintable() and character != "\t" and character not in JOINERS:
            name = f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()
            return f"character {name} does not print"
    return None


def printable_text(text: str) -> str:
    """`text` with all white space as plain spaces, without unprintable characters, trimmed."""
    characters = (" " if c.isspace() else c for c in text if c.isspace() or c.isprintable() or c in JOINERS)
    return "".join(characters).strip(" ")


def fix_hint(folder: Path) -> str:
    """The command that repairs a folder, for messages."""
    return f'run "ia3-speech datadir fix {shlex.quote(str(folder))}"'
