"""The rules of a data directory: those of Kaldi's validate_data_dir.sh, and further ones.

In: a folder. Out: its tables, checked; or one DataError that lists what is wrong, by file and line.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ia3_speech.data.kaldi.table_file import (
    DataError,
    Row,
    Table,
    fix_hint,
    parse_number,
    raise_if_any,
    read_table,
)

ILLEGAL = re.compile(r"(?<!\w)(<s>|</s>|#0)(?!\w)", re.ASCII)  # as `grep -w` finds them
LABEL_FILE = re.compile(r"(utt|spk)2([A-Za-z0-9_-]+)")


# ---- one line ----


def one_field(row: Row) -> str | None:
    count = len(row.fields)
    return None if count == 1 else f"{count + 1} fields where 2 are expected"


def any_fields(row: Row) -> str | None:
    return None if row.value else "a key without a value"


def legal_text(row: Row) -> str | None:
    illegal = ILLEGAL.search(f"{row.key} {row.value}")
    return f"the text holds {illegal[1]}, which is a symbol of the decoding graph" if illegal else None


def positive(row: Row) -> str | None:
    is_positive = (parse_number(row.value) or 0) > 0
    return one_field(row) or (None if is_positive else f"{row.value} is not a positive number")


def gender(row: Row) -> str | None:
    return one_field(row) or (None if row.value in ("m", "f") else f"the gender is {row.value}, not m or f")


def segment_problem(row: Row) -> str | None:
    if len(row.fields) != 3:
        return f"{len(row.fields) + 1} fields where 4 are expected"
    start, end = map(parse_number, row.fields[1:])
    if start is None or end is None:
        return f"{row.fields[1 if start is None else 2]} is not a time in seconds"
    return None if 0 <= start < end else f"the segment runs from {row.fields[1]} to {row.fields[2]}"


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
    "wav.scp": Rule("recording", any_fields, "needed"),
    "segments": Rule("utterance", segment_problem, "needed"),
    "feats.scp": Rule("utterance", any_fields, "needed"),
    "utt2lang": Rule("utterance", one_field, "needed"),
    "utt2dur": Rule("utterance", positive),
    "utt2num_frames": Rule("utterance", positive),
    "utt2uniq": Rule("utterance", any_fields),
    "utt2warp": Rule("utterance", positive),
    "vad.scp": Rule("utterance", any_fields),
    "spk2gender": Rule("speaker", gender),
    "spk2warp": Rule("speaker", positive),
    "cmvn.scp": Rule("speaker", any_fields),
    "reco2dur": Rule("recording", positive),
    "reco2file_and_channel": Rule("recording", any_fields),
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
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (a data directory holds wav.scp, text, utt2spk, spk2utt)")
    return sorted(entry.name for entry in folder.iterdir() if rule_of(entry.name) and entry.is_file())


# ---- the whole directory ----


def check_tables(
    folder: Path, *, text: bool = True, wav: bool = True, spk_sort: bool = True, allow_pipes: bool = False
) -> dict[str, Table]:
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
        for row in table.values():
            if fault := rule_of(name).find_fault(row):
                hint = f"correct the line, or {fix_hint(folder)}"
                problems.append(f"{folder / name}:{row.line}: {row.key}: {fault} ({hint})")
    # Comparisons by speaker would only repeat the fault of a line that names none, or several.
    by_speaker = all(one_field(row) is None for row in tables["utt2spk"].values())
    problems += missing_keys(folder, tables, by_speaker)
    if by_speaker:
        problems += spk2utt_problem(folder, tables["utt2spk"], tables["spk2utt"])
        if spk_sort:
            problems += unsorted_speaker(folder / "utt2spk", tables["utt2spk"].values())
    if wav:
        problems += source_problems(folder / "wav.scp", tables["wav.scp"], allow_pipes)
    raise_if_any(problems)
    return tables


def missing_tables(folder: Path, tables: dict[str, Table], *, text: bool, wav: bool) -> list[str]:
    """A problem for each required table that is missing or empty."""
    hints = {"utt2spk": "write it: one line `utterance speaker` each", "spk2utt": fix_hint(folder)}
    if text:
        hints["text"] = "write it: one line `utterance words` each; datadir validate --no-text does without"
    if wav or "segments" in tables:
        needed = "write it: one line `recording file` each; datadir validate --no-wav does without"
        hints["wav.scp"] = "segments needs it" if "segments" in tables else needed
    absent = [f"{folder / name}: no such file ({hint})" for name, hint in hints.items() if name not in tables]
    return absent + [f"{folder / name}: the file is empty" for name in hints if tables.get(name) == {}]


def missing_keys(folder: Path, tables: dict[str, Table], by_speaker: bool) -> list[str]:
    """Problems of tables that do not name the utterances, speakers, recordings of utt2spk and segments."""
    utt2spk, segments, problems = tables["utt2spk"], tables.get("segments"), []
    expected: dict[str, dict[str, Row]] = {"utterance": utt2spk, "speaker": {}, "recording": {}}
    for row in utt2spk.values():
        expected["speaker"].setdefault(row.value, row)
    for row in (segments or utt2spk).values():  # without segments an utterance is a recording
        expected["recording"].setdefault(row.fields[0] if segments and row.fields else row.key, row)
    for name, table in tables.items():
        noun, coverage = rule_of(name).indexed_by, rule_of(name).coverage
        reference = "segments" if segments and noun == "recording" else "utt2spk"
        if noun != "speaker" or by_speaker:
            problems += keys_missing_in(folder, noun, (name, table), (reference, expected[noun]))
            if coverage != "partial":
                problems += keys_missing_in(folder, noun, (reference, expected[noun]), (name, table))
    return problems


def keys_missing_in(
    folder: Path, noun: str, table: tuple[str, Table], other: tuple[str, Table]
) -> Iterator[str]:
    """A problem that names the first key of a table (its name, its rows) that the other one lacks."""
    if only := [key for key in table[1] if key not in other[1]]:
        more = f", one of {len(only)}" if len(only) > 1 else ""
        where = f"{folder / table[0]}:{table[1][only[0]].line}"
        yield f"{where}: {noun} {only[0]} is not in {other[0]}{more} ({fix_hint(folder)})"


def spk2utt_problem(folder: Path, utt2spk: Table, spk2utt: Table) -> list[str]:
    """A problem for the first speaker whose line in spk2utt differs from utt2spk, or from its order."""
    utterances: dict[str, list[str]] = {}
    for row in utt2spk.values():
        utterances.setdefault(row.value, []).append(row.key)
    for row in spk2utt.values():
        if row.fields != utterances.get(row.key, row.fields):
            fault = f"the utterances of {row.key} are not those of utt2spk, in its order"
            return [f"{folder / 'spk2utt'}:{row.line}: {fault} ({fix_hint(folder)})"]
    return []


def unsorted_speaker(utt2spk: Path, rows: Iterable[Row]) -> list[str]:
    """A problem where utt2spk, sorted by utterance, is not sorted by speaker."""
    for before, row in pairwise(rows):
        if (row.value, row.key) < (before.value, before.key) and row.key >= before.key:
            fault = f"not sorted by speaker: {row.value} follows {before.value}"
            hint = "make speaker ids prefixes of utterance ids, or pass --no-spk-sort"
            return [f"{utt2spk}:{row.line}: {fault} ({hint})"]
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


def source_problems(path: Path, wav: Table, allow_pipes: bool) -> list[str]:
    """Problems of wav.scp: shell commands that are not allowed, and files that do not exist."""
    folder, problems = path.parent, []
    pipes = [row for row in wav.values() if row.value.endswith("|")]
    if pipes and not allow_pipes:
        what = f"{pipes[0].key} is a shell command, one of {len(pipes)}"
        hint = "pass --allow-pipes if you trust this file: reading the audio runs them"
        problems.append(f"{path}:{pipes[0].line}: {what} ({hint})")
    missing = [row for row in wav.values() if row.value and resolve_source(row.value, folder) is None]
    for row in missing[:1]:
        tried = ", ".join(candidate_paths(row.value, folder))
        what = f"no such file: {row.value}, one of {len(missing)} missing; tried {tried}"
        hint = f"correct wav.scp, or {fix_hint(folder)} to drop them"
        problems.append(f"{path}:{row.line}: {what} ({hint})")
    return problems + [f"{path}:{row.line}: no such file: {row.value}" for row in missing[1:]]
