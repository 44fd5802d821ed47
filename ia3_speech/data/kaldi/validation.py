"""The rules of a data directory: Kaldi's validate_data_dir.sh, and further rules.

In: a folder. Out: its tables, checked; or one DataError that lists the faults, by file and line.
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ia3_speech.data.kaldi.table_file import Table, fix_hint, raise_if_any, read_table, spk2utt_of
from ia3_speech.errors import DataError

ILLEGAL = re.compile(r"(?<!\w)(<s>|</s>|#0)(?!\w)", re.ASCII)  # as `grep -w` finds them
IN_ARCHIVE = re.compile(r"\.ark:\d+(\[.*\])?$")  # as wav.ark:42 in Kaldi and ESPnet
LABEL_FILE = re.compile(r"(utt|spk)2([\w-]+)")
NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

# ---- one table ----


def parse_number(text: str) -> float:
    """A plain decimal number without a minus sign; nan for anything else, also for `1_000`."""
    return float(text) if NUMBER.fullmatch(text) else math.nan


def is_field(value: str) -> bool:
    return len(value.split()) == 1


def is_segment(value: str) -> bool:
    times = [parse_number(field) for field in value.split()[1:]]
    return len(times) == 2 and 0 <= times[0] < times[1] < math.inf


CONTENTS: dict[str, Callable[[str], bool]] = {  # the content behind a key → whether a value has it
    "a value": bool,
    "a speaker": is_field,
    "a language": is_field,
    "a text, without <s>, </s> and #0": lambda value: not ILLEGAL.search(value),
    "a positive number": lambda value: 0 < parse_number(value) < math.inf,
    "a recording, its start and end in seconds": is_segment,
    "m or f": lambda value: value in ("m", "f"),
}


@dataclass(frozen=True)
class Rule:
    """The format of the lines of a table."""

    indexed_by: Literal["utterance", "speaker", "recording"]  # the kind of its keys
    content: str = "a value"  # behind a key, of CONTENTS
    # "needed": fix keeps only the utterances that the table names. "whole": a missing key is an error, and
    # fix removes the table. "partial": the table is a label and may name some keys only, in any order
    coverage: Literal["needed", "whole", "partial"] = "whole"

    def find_fault(self, value: str) -> str | None:
        """The fault of the value of a line, as a phrase; None where it is valid."""
        return None if CONTENTS[self.content](value) else f"{value!r} is not {self.content}"


RULES = {
    "utt2spk": Rule("utterance", "a speaker", "needed"),
    "spk2utt": Rule("speaker"),
    "text": Rule("utterance", "a text, without <s>, </s> and #0", "needed"),
    "wav.scp": Rule("recording", coverage="needed"),
    "segments": Rule("utterance", "a recording, its start and end in seconds", "needed"),
    "feats.scp": Rule("utterance", coverage="needed"),
    "utt2lang": Rule("utterance", "a language", "needed"),
    **dict.fromkeys(("utt2dur", "utt2num_frames", "utt2warp"), Rule("utterance", "a positive number")),
    **dict.fromkeys(("utt2uniq", "vad.scp"), Rule("utterance")),
    "spk2gender": Rule("speaker", "m or f"),
    "spk2warp": Rule("speaker", "a positive number"),
    "cmvn.scp": Rule("speaker"),
    "reco2dur": Rule("recording", "a positive number"),
    "reco2file_and_channel": Rule("recording"),
}
# These are no labels: counts that other tools write, and fields that every utterance has.
NO_LABELS = {"num_samples", "max_frames", "utterance", "speaker", "recording", "text"}


def rule_of(name: str) -> Rule | None:
    """The rule for a table; all labels (utt2LABEL, spk2LABEL) share a rule; None for any other file."""
    label = LABEL_FILE.fullmatch(name)
    indexed_by = {"utt": "utterance", "spk": "speaker"}
    return RULES.get(name) or (Rule(indexed_by[label[1]], coverage="partial") if label else None)


def label_of_table(name: str) -> str | None:
    """`accent` for utt2accent and spk2accent; None for a table that is not a label."""
    label = LABEL_FILE.fullmatch(name)
    is_label = label and label[2] not in NO_LABELS and (name not in RULES or label[2] in ("lang", "gender"))
    return label[2] if is_label else None


def table_names(folder: Path) -> list[str]:
    """The tables that `folder` holds, sorted. Raises DataError where there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (a data directory holds wav.scp, text, utt2spk, spk2utt)")
    names = sorted(entry.name for entry in folder.iterdir() if rule_of(entry.name) and entry.is_file())
    if not names:
        hint = "of recordings and a CSV file python -m ia3_speech.data.corpora.csv_folder makes some"
        raise DataError(f"{folder}: no data directory: holds no wav.scp, text, utt2spk, spk2utt ({hint})")
    return names


# ---- the whole directory ----


def check_tables(
    folder: Path, *, text: bool = True, wav: bool = True, spk_sort: bool = True, allow_pipes: bool = False
) -> dict[str, Table]:
    """All tables of `folder` by name, after every rule was checked. No audio is opened.

    The arguments are as for `directory.read_data_directory`. Raises DataError, whose message lists the first
    ten problems and the number of the others.
    """
    folder, problems = Path(folder), []
    tables = {
        name: read_table(folder / name, problems, ordered=rule_of(name).coverage != "partial")
        for name in table_names(folder)
    }
    hints = {"utt2spk": "write it: one line `utterance speaker` each", "spk2utt": fix_hint(folder)}
    if text:
        hints["text"] = "write it: one line `utterance words` each; datadir validate --no-text does without"
    if wav or "segments" in tables:
        needed = "write it: one line `recording file` each; datadir validate --no-wav does without"
        hints["wav.scp"] = "segments needs it" if "segments" in tables else needed
    missing = [f"{folder / n}: no such file ({hint})" for n, hint in hints.items() if n not in tables]
    missing += [f"{folder / name}: the file is empty" for name in hints if tables.get(name) == {}]
    if missing:  # the checks below need these tables
        raise_if_any(missing + problems)
    for name, table in tables.items():
        for row in table.values():
            if fault := rule_of(name).find_fault(row.value):
                hint = f"correct the line, or {fix_hint(folder)}"
                problems.append(f"{folder / name}:{row.line}: {row.key}: {fault} ({hint})")
    raise_if_any(problems)  # the checks below need sound lines
    raise_if_any(
        missing_keys(folder, tables)
        + order_problems(folder, tables, spk_sort)
        + (source_problems(folder / "wav.scp", tables["wav.scp"], allow_pipes) if wav else [])
    )
    return tables


def missing_keys(folder: Path, tables: dict[str, Table]) -> list[str]:
    """Problems of tables that do not name the utterances, speakers, recordings of utt2spk and segments."""
    utt2spk, segments, problems = tables["utt2spk"], tables.get("segments"), []
    speakers, recordings = {}, {}
    for row in utt2spk.values():
        speakers.setdefault(row.value, row)
    for row in (segments or utt2spk).values():  # without segments an utterance is a recording
        recordings.setdefault(row.value.split()[0] if segments else row.key, row)
    references = {
        "utterance": ("utt2spk", utt2spk),
        "speaker": ("utt2spk", speakers),
        "recording": ("segments" if segments else "utt2spk", recordings),
    }
    for name, table in tables.items():
        rule = rule_of(name)
        reference = references[rule.indexed_by]
        pairs = [((name, table), reference), (reference, (name, table))]
        for (here, rows), (there, others) in pairs[:1] if rule.coverage == "partial" else pairs:
            if only := [key for key in rows if key not in others]:
                more = f", one of {len(only)}" if len(only) > 1 else ""
                fault = f"{rule.indexed_by} {only[0]} is not in {there}{more}"
                problems.append(f"{folder / here}:{rows[only[0]].line}: {fault} ({fix_hint(folder)})")
    return problems


def order_problems(folder: Path, tables: dict[str, Table], spk_sort: bool) -> list[str]:
    """A problem for the first speaker whose line in spk2utt differs from utt2spk, or from its order; with
    `spk_sort` also where utt2spk, sorted by utterance, is not sorted by speaker."""
    problems, expected = [], spk2utt_of({key: row.value for key, row in tables["utt2spk"].items()})
    for row in tables["spk2utt"].values():
        utterances = " ".join(row.value.split())
        if utterances != expected.get(row.key, utterances):
            fault = f"the utterances of {row.key} differ from utt2spk, or from its order"
            problems.append(f"{folder / 'spk2utt'}:{row.line}: {fault} ({fix_hint(folder)})")
            break
    for before, row in pairwise(tables["utt2spk"].values()) if spk_sort else ():
        if row.value < before.value:
            fault = f"not sorted by speaker: {row.value} follows {before.value}"
            hint = "make speaker ids prefixes of utterance ids, or use datadir validate --no-spk-sort"
            problems.append(f"{folder / 'utt2spk'}:{row.line}: {fault} ({hint})")
            break
    return problems


# ---- the audio ----


def candidate_paths(value: str, folder: Path) -> list[str]:
    """The absolute paths that an entry of wav.scp can mean: below the working directory (as in Kaldi), below
    the data directory's parent, or below the data directory."""
    bases = (Path.cwd(), folder.absolute().parent, folder.absolute())
    return list(dict.fromkeys(os.path.join(base, value) for base in bases))  # noqa: PTH118


def resolve_source(value: str, folder: Path) -> str | None:
    """The absolute path for an entry of wav.scp; a pipe unchanged; None if there is no such file."""
    if value.endswith("|"):
        return value
    return next((path for path in candidate_paths(value, folder) if os.path.exists(path)), None)  # noqa: PTH110


def source_problems(path: Path, wav: Table, allow_pipes: bool) -> list[str]:
    """Problems of wav.scp: shell commands that are not allowed, and files that do not exist."""
    problems = []
    pipes = [row for row in wav.values() if row.value.endswith("|")]
    if pipes and not allow_pipes:
        fault = f"{pipes[0].key} is a shell command, one of {len(pipes)}"
        hint = "pass `allow_pipes` if you trust this file: reading the audio runs them"
        problems.append(f"{path}:{pipes[0].line}: {fault} ({hint})")
    missing = [row for row in wav.values() if resolve_source(row.value, path.parent) is None]
    if missing:
        tried = ", ".join(candidate_paths(missing[0].value, path.parent))
        fault = f"no such file: {missing[0].value}, one of {len(missing)} missing; tried {tried}"
        hint = f"correct wav.scp, or {fix_hint(path.parent)} to drop them"
        if IN_ARCHIVE.search(missing[0].value):
            hint = "audio inside a Kaldi archive is not read: write it as files"
        problems.append(f"{path}:{missing[0].line}: {fault} ({hint})")
    return problems
