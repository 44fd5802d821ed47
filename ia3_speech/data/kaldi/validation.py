"""The rules of a data directory: those of Kaldi's validate_data_dir.sh, and further ones.

In: a folder. Out: its tables, checked; or one DataError that lists what is wrong, by file and line.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ia3_speech.data.kaldi.table_file import (
    DataError,
    KaldiTable,
    Row,
    fix_hint,
    parse_number,
    raise_if_any,
    read_table,
)

ILLEGAL = re.compile(r"(?<!\w)(<s>|</s>|#0)(?!\w)", re.ASCII)  # as `grep -w` finds them
LABEL_FILE = re.compile(r"(utt|spk)2([A-Za-z0-9_-]+)")


# ---- one line ----


def wrong_number_of_fields(row: Row, expected: int) -> str | None:
    count = 1 + len(row.fields)
    return None if count == expected else f"{count} fields where {expected} are expected"


def one_field(row: Row) -> str | None:
    return wrong_number_of_fields(row, 2)


def any_fields(row: Row) -> str | None:
    return None if row.value else "a key without a value"


def legal_text(row: Row) -> str | None:
    illegal = ILLEGAL.search(f"{row.key} {row.value}")
    return f"the text holds {illegal[1]}, which is a symbol of the decoding graph" if illegal else None


def number(condition: Callable[[float], bool], what: str) -> Callable[[Row], str | None]:
    """A check for one number that meets a condition, which `what` describes."""

    def find_fault(row: Row) -> str | None:
        value = parse_number(row.value)
        is_right = value is not None and condition(value)
        return one_field(row) or (None if is_right else f"{row.value} is not {what}")

    return find_fault


positive = number(lambda value: value > 0, "a positive number")
positive_integer = number(lambda value: value > 0 and value.is_integer(), "a whole number")
warp = number(lambda value: 0.5 < value < 1.5, "between 0.5 and 1.5")


def gender(row: Row) -> str | None:
    return one_field(row) or (None if row.value in ("m", "f") else f"the gender is {row.value}, not m or f")


def channel(row: Row) -> str | None:
    is_channel = row.fields[-1:] in (["A"], ["B"], ["1"])
    return wrong_number_of_fields(row, 3) or (
        None if is_channel else f"the channel is {row.fields[1]}, not A or B"
    )


def segment_problem(row: Row) -> str | None:
    if fault := wrong_number_of_fields(row, 4):
        return fault
    start, end = map(parse_number, row.fields[1:])
    if start is None or end is None:
        return f"{row.fields[1 if start is None else 2]} is not a time in seconds"
    return None if 0 <= start < end else f"the segment runs from {row.fields[1]} to {row.fields[2]}"


def wav_entry(row: Row) -> str | None:
    return "a path that begins with ~ (write it out)" if row.value.startswith("~") else any_fields(row)


# ---- one table ----


@dataclass(frozen=True)
class Rule:
    """What the lines of a table must look like.

    Attributes:
        indexed_by: what its keys are.
        find_fault: what is wrong with a line, or None.
        coverage: "needed": fix keeps only the utterances that the table names. "whole": a missing key is an
            error, and fix removes the table. "partial": the table is a label and may name some keys only, in
            any order.
    """

    indexed_by: Literal["utterance", "speaker", "recording"]
    find_fault: Callable[[Row], str | None]
    coverage: Literal["needed", "whole", "partial"] = "whole"


RULES = {
    "utt2spk": Rule("utterance", one_field, "needed"),
    "spk2utt": Rule("speaker", any_fields),
    "text": Rule("utterance", legal_text, "needed"),
    "wav.scp": Rule("recording", wav_entry, "needed"),
    "segments": Rule("utterance", segment_problem, "needed"),
    "feats.scp": Rule("utterance", any_fields, "needed"),
    "utt2lang": Rule("utterance", one_field, "needed"),
    "utt2dur": Rule("utterance", positive),
    "utt2num_frames": Rule("utterance", positive_integer),
    "utt2uniq": Rule("utterance", any_fields),
    "utt2warp": Rule("utterance", warp),
    "vad.scp": Rule("utterance", any_fields),
    "spk2gender": Rule("speaker", gender),
    "spk2warp": Rule("speaker", warp),
    "cmvn.scp": Rule("speaker", any_fields),
    "reco2dur": Rule("recording", positive),
    "reco2file_and_channel": Rule("recording", channel),
}
LABELS_AMONG_RULES = {"utt2lang", "spk2gender"}
# Counts that other tools write; and names of what an utterance has without a label.
NO_LABELS = {
    *("utt2num_samples", "utt2max_frames"),
    *(f"{by}2{name}" for by in ("utt", "spk") for name in ("utterance", "speaker", "recording", "text")),
}


def rule_of(name: str) -> Rule | None:
    """The rule for a file name; all labels (utt2LABEL, spk2LABEL) share one; None for any other file."""
    if name in RULES:
        return RULES[name]
    label = LABEL_FILE.fullmatch(name)
    indexed_by = {"utt": "utterance", "spk": "speaker"}
    return Rule(indexed_by[label[1]], any_fields, "partial") if label else None


def label_of_table(name: str) -> str | None:
    """`accent` for utt2accent and spk2accent; None for a table that is not a label."""
    label = LABEL_FILE.fullmatch(name)
    is_label = label and name not in NO_LABELS and (name not in RULES or name in LABELS_AMONG_RULES)
    return label[2] if is_label else None


def table_names(folder: Path) -> list[str]:
    """The tables that `folder` holds, sorted.

    Raises:
        DataError: there is no such folder, or something in it has a table's name and is not a file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (a data directory holds wav.scp, text, utt2spk, spk2utt)")
    try:
        tables = sorted(entry for entry in folder.iterdir() if rule_of(entry.name))
        not_files = [table for table in tables if not table.is_file()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None
    if not_files:
        what = "is a broken link" if not_files[0].is_symlink() else "is a folder"
        raise DataError(f"{not_files[0]}: {what}, where a table is expected (remove it)")
    return [table.name for table in tables]


# ---- the whole directory ----


def check_tables(
    folder: Path, *, text: bool = True, wav: bool = True, spk_sort: bool = True, allow_pipes: bool = False
) -> dict[str, KaldiTable]:
    """All tables of `folder` by name, after every rule was checked. No audio is opened.

    The arguments are those of `directory.read_data_directory`.

    Raises:
        DataError: the message lists the first ten problems and the number of the others.
    """
    folder, problems = Path(folder), []
    tables = {
        name: read_table(folder / name, problems, ordered=rule_of(name).coverage != "partial")
        for name in table_names(folder)
    }
    missing = missing_tables(folder, tables, text=text, wav=wav)
    if missing:  # the checks below need these tables
        raise_if_any(missing + problems)
    for name, table in tables.items():
        for row in table:
            if fault := rule_of(name).find_fault(row):
                problems.append(
                    f"{table.path}:{row.line}: {row.key}: {fault} (correct the line, or {fix_hint(folder)})"
                )
    problems += missing_keys(tables)
    if spk_sort and has_one_speaker_per_line(tables["utt2spk"]):
        problems += unsorted_speaker(tables["utt2spk"])
    if wav:
        problems += source_problems(tables["wav.scp"], allow_pipes)
    raise_if_any(problems)
    return tables


def missing_tables(folder: Path, tables: dict[str, KaldiTable], *, text: bool, wav: bool) -> list[str]:
    """A problem for each required table that is missing or empty."""
    hints = {"utt2spk": "write it: one line `utterance speaker` each", "spk2utt": fix_hint(folder)}
    if text:
        hints["text"] = "write it: one line `utterance words` each; datadir validate --no-text does without"
    if wav or "segments" in tables:
        needed = "write it: one line `recording file` each; datadir validate --no-wav does without"
        hints["wav.scp"] = "segments needs it" if "segments" in tables else needed
    absent = [f"{folder / name}: no such file ({hint})" for name, hint in hints.items() if name not in tables]
    empty = [
        f"{folder / name}: the file is empty" for name in hints if name in tables and not len(tables[name])
    ]
    return absent + empty


def missing_keys(tables: dict[str, KaldiTable]) -> list[str]:
    """Problems of tables that do not name the utterances, speakers, recordings of utt2spk and segments."""
    utt2spk, problems = tables["utt2spk"], []
    segments = tables.get("segments")
    speakers: dict[str, int] = {}
    recordings: dict[str, int] = {}
    for row in utt2spk:
        speakers.setdefault(row.value, row.line)
    for row in segments or utt2spk:  # without segments an utterance is a recording
        recordings.setdefault(row.fields[0] if segments and row.fields else row.key, row.line)
    expected = {"utterance": utt2spk.keys, "speaker": speakers, "recording": recordings}
    for name, table in tables.items():
        rule = rule_of(name)
        if rule.indexed_by == "speaker" and not has_one_speaker_per_line(utt2spk):
            continue
        if rule.coverage != "partial" or any(row.key not in expected[rule.indexed_by] for row in table):
            reference = segments if segments and rule.indexed_by == "recording" else utt2spk
            problems += key_difference(rule.indexed_by, table, reference, expected[rule.indexed_by])
    return problems + spk2utt_problem(tables)


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

        data/train/text:17: utterance anna-3 is not in utt2spk (run "ia3-speech datadir fix data/train")
            only in text: 2 (anna-3 … bob-1)
            lengths: text 19, utt2spk 17
    """
    left_keys = left.keys if left_keys is None else left_keys
    only_left = [key for key in left_keys if key not in right_keys]
    only_right = [key for key in right_keys if key not in left_keys]
    if not only_left and not only_right:
        return []
    table, other, keys, only = (
        (left, right, left_keys, only_left) if only_left else (right, left, right_keys, only_right)
    )
    lines = [
        f"{table.path}:{keys[only[0]]}: {noun} {only[0]} is not in {other.path.name} "
        f"({fix_hint(left.path.parent)})"
    ]
    for table, only in ((left, only_left), (right, only_right)):
        if only:
            ends = only[0] if len(only) == 1 else f"{only[0]} … {only[-1]}"
            lines.append(f"    only in {table.path.name}: {len(only)} ({ends})")
    lines.append(f"    lengths: {left.path.name} {len(left_keys)}, {right.path.name} {len(right_keys)}")
    return ["\n".join(lines)]


def has_one_speaker_per_line(utt2spk: KaldiTable) -> bool:
    """Whether each line names one speaker. If not, comparisons by speaker would only repeat that fault."""
    return all(one_field(row) is None for row in utt2spk)


def spk2utt_problem(tables: dict[str, KaldiTable]) -> list[str]:
    """A problem for the first speaker whose line in spk2utt differs from utt2spk, or from its order."""
    if "spk2utt" not in tables or not has_one_speaker_per_line(tables["utt2spk"]):
        return []
    utt2spk, spk2utt = tables["utt2spk"], tables["spk2utt"]
    derived: dict[str, dict[str, int]] = {}
    for row in utt2spk:
        derived.setdefault(row.value, {})[row.key] = row.line
    for row in spk2utt:
        if row.key not in derived or row.fields == list(derived[row.key]):
            continue
        listed = dict.fromkeys(row.fields, row.line)
        problems = key_difference("utterance", spk2utt, utt2spk, derived[row.key], listed)
        where, hint = f"{spk2utt.path}:{row.line}", fix_hint(spk2utt.path.parent)
        return problems or [f"{where}: the utterances of {row.key} are not in utt2spk's order ({hint})"]
    return []


def unsorted_speaker(utt2spk: KaldiTable) -> list[str]:
    """A problem where utt2spk, sorted by utterance, is not sorted by speaker."""
    for before, row in pairwise(utt2spk.rows):
        if (row.value, row.key) < (before.value, before.key) and row.key >= before.key:
            what = f"not sorted by speaker: {row.value} follows {before.value}"
            hint = "make speaker ids prefixes of utterance ids, or pass --no-spk-sort"
            return [f"{utt2spk.path}:{row.line}: {what} ({hint})"]
    return []


# ---- the audio ----


def candidate_paths(value: str, folder: Path) -> list[str]:
    """The absolute paths that an entry of wav.scp can mean: below the working directory (as in Kaldi), below
    the data directory's parent, or below the data directory."""
    if os.path.isabs(value):  # noqa: PTH117
        return [value]
    folder = folder.absolute()
    return list(dict.fromkeys(str(base / value) for base in (Path.cwd(), folder.parent, folder)))


def resolve_source(value: str, folder: Path) -> str | None:
    """The absolute path that an entry of wav.scp means; a pipe unchanged; None if there is no such file."""
    if value.endswith("|"):
        return value
    return next((path for path in candidate_paths(value, folder) if os.path.exists(path)), None)  # noqa: PTH110


def source_problems(wav: KaldiTable, allow_pipes: bool) -> list[str]:
    """Problems of wav.scp: shell commands that are not allowed, and files that do not exist."""
    folder = wav.path.parent
    pipes = [row for row in wav if row.value.endswith("|")]
    missing = [row for row in wav if row.value and resolve_source(row.value, folder) is None]
    problems = []
    if pipes and not allow_pipes:
        what = f"{pipes[0].key} is a shell command, one of {len(pipes)}"
        hint = "pass --allow-pipes if you trust this file: reading the audio runs them"
        problems.append(f"{wav.path}:{pipes[0].line}: {what} ({hint})")
    for row in missing[:1]:
        tried = ", ".join(candidate_paths(row.value, folder))
        what = f"no such file: {row.value}, one of {len(missing)} missing; tried {tried}"
        hint = f"correct wav.scp, or {fix_hint(folder)} to drop them"
        problems.append(f"{wav.path}:{row.line}: {what} ({hint})")
    problems += [f"{wav.path}:{row.line}: no such file: {row.value}" for row in missing[1:]]
    return problems
