"""The rules of a data directory: all that Kaldi's validate_data_dir.sh refuses, and what it overlooks.

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
    Row,
    Table,
    difference,
    fix_hint,
    load,
    number,
    raise_if_any,
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
    found = ILLEGAL.search(f"{row.key} {row.value}")
    return f"the text holds {found[1]}, which is a symbol of the decoding graph" if found else None


def positive(row: Row) -> str | None:
    value = number(row.value)
    return one_field(row) or (
        None if value is not None and value > 0 else f"{row.value} is not a positive number"
    )


def positive_integer(row: Row) -> str | None:
    return positive(row) or (None if number(row.value).is_integer() else f"{row.value} is not a whole number")


def warp(row: Row) -> str | None:
    value = number(row.value)
    return one_field(row) or (
        None if value and 0.5 < value < 1.5 else f"{row.value} is not between 0.5 and 1.5"
    )


def gender(row: Row) -> str | None:
    return one_field(row) or (None if row.value in ("m", "f") else f"the gender is {row.value}, not m or f")


def channel(row: Row) -> str | None:
    if len(row.fields) != 2:
        return f"{len(row.fields) + 1} fields where 3 are expected"
    return None if row.fields[1] in ("A", "B", "1") else f"the channel is {row.fields[1]}, not A or B"


def segment(row: Row) -> str | None:
    if len(row.fields) != 3:
        return f"{len(row.fields) + 1} fields where 4 are expected"
    start, end = map(number, row.fields[1:])
    if start is None or end is None:
        return f"{row.fields[1 if start is None else 2]} is not a time in seconds"
    return None if 0 <= start < end else f"the segment runs from {row.fields[1]} to {row.fields[2]}"


def wav_entry(row: Row) -> str | None:
    if row.value.startswith("~"):
        return "a path that begins with ~ (write it out)"
    return any_fields(row)


# ---- one table ----


@dataclass(frozen=True)
class Rule:
    """What a table is indexed by, what a line must look like, and what happens if it misses a key.

    coverage: "needed" (fix keeps the utterances that it names), "whole" (an error if it misses one; fix sets
    the table aside) or "partial" (a label: it may name some only, in any order).
    """

    by: Literal["utterance", "speaker", "recording"]
    check: Callable[[Row], str | None]
    coverage: Literal["needed", "whole", "partial"] = "whole"


RULES = {
    "utt2spk": Rule("utterance", one_field, "needed"),
    "spk2utt": Rule("speaker", any_fields),
    "text": Rule("utterance", legal_text, "needed"),
    "wav.scp": Rule("recording", wav_entry, "needed"),
    "segments": Rule("utterance", segment, "needed"),
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
# Other people's counts; and what an utterance has without a label, under that name.
NO_LABELS = {
    *("utt2num_samples", "utt2max_frames"),
    *(f"{by}2{own}" for by in ("utt", "spk") for own in ("utterance", "speaker", "recording", "text")),
}


def rule_of(name: str) -> Rule | None:
    """The rule for a file name; utt2LABEL and spk2LABEL follow one of their own; None for any other file."""
    if name in RULES:
        return RULES[name]
    found = LABEL_FILE.fullmatch(name)
    by = {"utt": "utterance", "spk": "speaker"}
    return Rule(by[found[1]], any_fields, "partial") if found else None


def label_of(name: str) -> str | None:
    """`accent` for utt2accent and spk2accent; None for a table that is no label."""
    found = LABEL_FILE.fullmatch(name)
    is_label = found and name not in NO_LABELS and (name not in RULES or name in LABELS_AMONG_RULES)
    return found[2] if is_label else None


def table_names(folder: Path) -> list[str]:
    """The tables that `folder` holds, sorted.

    Raises:
        DataError: there is no such folder, or something that is no file has a table's name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (a data directory holds wav.scp, text, utt2spk, spk2utt)")
    try:
        tables = sorted(entry for entry in folder.iterdir() if rule_of(entry.name))
        odd = [table for table in tables if not table.is_file()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None
    if odd:
        what = "is a link to nothing" if odd[0].is_symlink() else "is a folder"
        raise DataError(f"{odd[0]}: {what}, where a table is expected (remove it)")
    return [table.name for table in tables]


# ---- the whole directory ----


def check(
    folder: Path, *, text: bool = True, wav: bool = True, spk_sort: bool = True, allow_pipes: bool = False
) -> dict[str, Table]:
    """All tables of `folder` by name, after every rule was checked. No audio is opened.

    Args:
        text: require `text`.
        wav: require `wav.scp`, and that the files it names exist.
        spk_sort: require utt2spk to be sorted by speaker as well.
        allow_pipes: let wav.scp hold shell commands (none is run here).

    Raises:
        DataError: with every problem found, the first ten in words.
    """
    folder, problems = Path(folder), []
    tables = {
        name: load(folder / name, problems, ordered=rule_of(name).coverage != "partial")
        for name in table_names(folder)
    }
    missing = missing_tables(folder, tables, text=text, wav=wav)
    if missing:  # nothing below makes sense without them
        raise_if_any(missing + problems)
    for name, table in tables.items():
        for row in table:
            fault = rule_of(name).check(row)
            if fault:
                problems.append(
                    f"{table.path}:{row.line}: {row.key}: {fault} (correct the line, or {fix_hint(folder)})"
                )
    problems += mismatches(tables)
    if spk_sort and speakers_known(tables["utt2spk"]):
        problems += speaker_order(tables["utt2spk"])
    if wav:
        problems += unusable_sources(tables["wav.scp"], allow_pipes)
    raise_if_any(problems)
    return tables


def missing_tables(folder: Path, tables: dict[str, Table], *, text: bool, wav: bool) -> list[str]:
    cures = {"utt2spk": "write it: one line `utterance speaker` each", "spk2utt": fix_hint(folder)}
    if text:
        cures["text"] = "if that is meant, pass --no-text"
    if wav or "segments" in tables:
        cures["wav.scp"] = "segments needs it" if "segments" in tables else "if that is meant, pass --no-wav"
    absent = [f"{folder / name}: no such file ({hint})" for name, hint in cures.items() if name not in tables]
    empty = [
        f"{folder / name}: the file is empty" for name in cures if name in tables and not len(tables[name])
    ]
    return absent + empty


def mismatches(tables: dict[str, Table]) -> list[str]:
    """Tables that do not name the utterances, speakers or recordings that they should."""
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
        if rule.by == "speaker" and not speakers_known(utt2spk):
            continue
        if rule.coverage != "partial" or any(row.key not in expected[rule.by] for row in table):
            leader = segments if segments and rule.by == "recording" else utt2spk
            problems += difference(rule.by, table, leader, expected[rule.by])
    return problems + spk2utt_mismatch(tables)


def speakers_known(utt2spk: Table) -> bool:
    """Whether each line names one speaker: those that do not would look like other faults too."""
    return all(one_field(row) is None for row in utt2spk)


def spk2utt_mismatch(tables: dict[str, Table]) -> list[str]:
    """The first speaker whose line in spk2utt is not what utt2spk says, in its order."""
    if "spk2utt" not in tables or not speakers_known(tables["utt2spk"]):
        return []
    utt2spk, spk2utt = tables["utt2spk"], tables["spk2utt"]
    derived: dict[str, dict[str, int]] = {}
    for row in utt2spk:
        derived.setdefault(row.value, {})[row.key] = row.line
    for row in spk2utt:
        listed = row.fields
        if row.key not in derived or listed == list(derived[row.key]):
            continue
        found = difference("utterance", spk2utt, utt2spk, derived[row.key], dict.fromkeys(listed, row.line))
        where, hint = f"{spk2utt.path}:{row.line}", fix_hint(spk2utt.path.parent)
        return found or [f"{where}: the utterances of {row.key} are not in utt2spk's order ({hint})"]
    return []


def speaker_order(utt2spk: Table) -> list[str]:
    """A problem where utt2spk, sorted by utterance, is not sorted by speaker."""
    for before, row in pairwise(utt2spk.rows):
        if (row.value, row.key) < (before.value, before.key) and row.key >= before.key:
            what = f"not sorted by speaker: {row.value} follows {before.value}"
            hint = "make speaker ids prefixes of utterance ids, or pass --no-spk-sort"
            return [f"{utt2spk.path}:{row.line}: {what} ({hint})"]
    return []


# ---- where the sound is ----


def candidates(value: str, folder: Path) -> list[str]:
    """The absolute paths that an entry of wav.scp can mean: against the working directory (Kaldi), the data
    directory's parent, the data directory."""
    if os.path.isabs(value):  # noqa: PTH117
        return [value]
    folder = folder.absolute()
    return [str(base / value) for base in (Path.cwd(), folder.parent, folder)]


def resolve(value: str, folder: Path) -> str | None:
    """The file that an entry of wav.scp means; a pipe as it is; None where there is no such file."""
    if value.endswith("|"):
        return value
    return next((path for path in candidates(value, folder) if os.path.exists(path)), None)  # noqa: PTH110


def unusable_sources(wav: Table, allow_pipes: bool) -> list[str]:
    folder = wav.path.parent
    pipes = [row for row in wav if row.value.endswith("|")]
    lost = [row for row in wav if row.value and resolve(row.value, folder) is None]
    problems = []
    if pipes and not allow_pipes:
        what = f"{pipes[0].key} is a shell command, one of {len(pipes)}"
        hint = "pass --allow-pipes if you trust this file: reading the audio runs them"
        problems.append(f"{wav.path}:{pipes[0].line}: {what} ({hint})")
    for row in lost[:1]:
        tried = ", ".join(candidates(row.value, folder))
        what = f"no such file: {row.value}, one of {len(lost)} missing; tried {tried}"
        hint = f"correct wav.scp, or {fix_hint(folder)} to drop them"
        problems.append(f"{wav.path}:{row.line}: {what} ({hint})")
    problems += [f"{wav.path}:{row.line}: no such file: {row.value}" for row in lost[1:]]
    return problems
