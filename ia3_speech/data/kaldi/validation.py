"""The rules of a data directory: Kaldi's validate_data_dir.sh, and further rules; its repair.

In: a folder. Out: its tables, checked, or one DataError that lists the faults, by file and line. Or the same
folder, repaired, the originals in `.backup/`.

    ia3-speech datadir fix data/train
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ia3_speech.common import atomic
from ia3_speech.common.errors import DataError
from ia3_speech.common.formatting import plural, shorten
from ia3_speech.data.kaldi import table_file
from ia3_speech.data.kaldi.table_file import Table, fix_hint, raise_if_any, spk2utt_of, unprintable_character

ILLEGAL = re.compile(r"(?<!\w)(<s>|</s>|#0)(?!\w)", re.ASCII)  # as `grep -w` finds them
IN_ARCHIVE = re.compile(r"\.ark:\d+(\[.*\])?$")  # as wav.ark:42 in Kaldi and ESPnet
LABEL_FILE = re.compile(r"(utt|spk)2([\w-]+)")
MAX_NAMED = 3  # missing recordings in a message
NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse_number(text: str) -> float:
    """A plain decimal number without a minus sign; nan for anything else, also for `1_000`."""
    return float(text) if NUMBER.fullmatch(text) else math.nan


def is_segment(value: str) -> bool:
    times = [parse_number(field) for field in value.split()[1:]]
    return len(times) == 2 and 0 <= times[0] < times[1] < math.inf


CONTENTS: dict[str, Callable[[str], bool]] = {  # the content behind a key → whether a value has it
    "a value": bool,
    "a speaker": lambda value: len(value.split()) == 1,
    "a language": lambda value: len(value.split()) == 1,
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


def check_tables(
    folder: Path, *, text: bool = True, wav: bool = True, spk_sort: bool = True, allow_pipes: bool = False
) -> dict[str, Table]:
    """All tables of `folder` by name, after every rule was checked. No audio is opened.

    The arguments are as for `directory.read_data_directory`. Raises DataError, whose message lists the first
    ten problems and the number of the others.
    """
    folder, problems = Path(folder), []
    tables = {
        name: table_file.read_table(folder / name, problems, ordered=rule_of(name).coverage != "partial")
        for name in table_names(folder)
    }
    hints = {"utt2spk": "write it: one line `utterance speaker` each", "spk2utt": fix_hint(folder)}
    if text:
        hints["text"] = "write it: one line `utterance words` each; datadir validate --no-text does without"
    if wav or "segments" in tables:  # which names recordings
        hints["wav.scp"] = "write it: one line `recording file` each; datadir validate --no-wav does without"
    missing = [f"{folder / n}: missing or empty ({hint})" for n, hint in hints.items() if not tables.get(n)]
    if missing:  # the checks below need these tables
        raise_if_any(missing + problems)
    for name, table in tables.items():
        for key, row in table.items():
            if fault := rule_of(name).find_fault(row.value):
                hint = f"correct the line, or {fix_hint(folder)}"
                problems.append(f"{folder / name}:{row.line}: {key}: {fault} ({hint})")
    raise_if_any(problems)  # the checks below need sound lines
    problems = missing_keys(folder, tables) + order_problems(folder, tables, spk_sort)
    problems += source_problems(folder / "wav.scp", tables["wav.scp"], allow_pipes) if wav else []
    raise_if_any(problems)
    return tables


def missing_keys(folder: Path, tables: dict[str, Table]) -> list[str]:
    """Problems of tables that do not name the utterances, speakers, recordings of utt2spk and segments."""
    utt2spk, segments, problems = tables["utt2spk"], tables.get("segments"), []
    speakers, recordings = {}, {}  # each with the first row that names it
    for row in utt2spk.values():
        speakers.setdefault(row.value, row)
    for key, row in (segments or utt2spk).items():  # without segments an utterance is a recording
        recordings.setdefault(row.value.split()[0] if segments else key, row)
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
    """Problems of the order of utterances in spk2utt and, with `spk_sort`, of speakers in utt2spk."""
    problems, expected = [], spk2utt_of({key: row.value for key, row in tables["utt2spk"].items()})
    for speaker, row in tables["spk2utt"].items():
        utterances = " ".join(row.value.split())
        if utterances != expected.get(speaker, utterances):
            fault = f"the utterances of {speaker} differ from utt2spk, or from its order"
            problems.append(f"{folder / 'spk2utt'}:{row.line}: {fault} ({fix_hint(folder)})")
            break
    for before, row in pairwise(tables["utt2spk"].values()) if spk_sort else ():
        if row.value < before.value:
            fault = f"not sorted by speaker: {row.value} follows {before.value}"
            hint = "make speaker ids prefixes of utterance ids, or use datadir validate --no-spk-sort"
            problems.append(f"{folder / 'utt2spk'}:{row.line}: {fault} ({hint})")
            break
    return problems


def candidate_paths(value: str, folder: Path) -> list[str]:
    """The absolute paths that an entry of wav.scp can mean; in Kaldi only the first."""
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
    pipes = [key for key, row in wav.items() if row.value.endswith("|")]
    if pipes and not allow_pipes:
        fault = f"{pipes[0]} is a shell command, one of {len(pipes)}"
        hint = "pass `allow_pipes` if you trust this file: reading the audio runs them"
        problems.append(f"{path}:{wav[pipes[0]].line}: {fault} ({hint})")
    missing = [row for row in wav.values() if resolve_source(row.value, path.parent) is None]
    if missing:
        tried = ", ".join(candidate_paths(missing[0].value, path.parent))
        count = plural(len(missing), "recording is", "recordings are")
        named = shorten([row.value for row in missing], most=MAX_NAMED)
        fault = f"{count} missing: {named}; tried {tried}"
        hint = f"correct wav.scp, or {fix_hint(path.parent)} to drop them"
        if IN_ARCHIVE.search(missing[0].value):
            hint = "audio inside a Kaldi archive is not read: write it as files"
        problems.append(f"{path}:{missing[0].line}: {fault} ({hint})")
    return problems


def fix_data_directory(path: Path | str) -> tuple[str, ...]:
    """Make a data directory valid by dropping faulty lines, as Kaldi's fix_data_dir.sh does.

    Lines are sorted; of two lines with one key the first is kept; malformed lines are dropped; white space
    and line ends are corrected. An utterance is kept if utt2spk, text, wav.scp (with segments, if that
    exists), feats.scp and utt2lang all name it and its audio file exists. The other tables are reduced to the
    utterances kept; a table that then lacks a key is removed. spk2utt is derived from utt2spk. wav.scp gets
    absolute paths. Files that change are first copied to `.backup/` in the directory.

    Args:
        path: the data directory.

    Returns:
        A message for each dropped line, one for the originals, and the number of utterances.

    Raises:
        DataError: utt2spk is missing, a file is not UTF-8, or no utterance would be left. Nothing is changed.
    """
    path, notes = Path(path), []
    names = table_names(path)
    if "utt2spk" not in names:
        raise DataError(
            f"{path}/utt2spk: missing (write it: one line `utterance speaker` for each utterance)"
        )
    if "segments" in names and "wav.scp" not in names:
        raise DataError(f"{path}/wav.scp: missing (segments needs it: write it, or remove segments)")
    originals = {name: table_file.read_utf8(path / name, keep_mark=True) for name in names}
    tables = {n: usable_lines(path / n, text, notes) for n, text in originals.items() if n != "spk2utt"}
    reduce_tables(path, tables, notes)
    if not tables["utt2spk"]:
        hint = "do the tables use the same ids, and is the audio there?"
        notes.append(f"{path}: no utterance would be left, so nothing was changed ({hint})")
        raise DataError("\n".join(notes))
    tables["spk2utt"] = spk2utt_of(tables["utt2spk"])
    repaired = {name: table_file.format_table(lines.items()) for name, lines in tables.items()}
    changed = sorted(name for name in {*repaired, *names} if repaired.get(name) != originals.get(name))
    # A valid table is not copied: a second run, after the first was killed half-way, does not overwrite the
    # originals by repaired tables.
    replaced = [name for name in changed if name in originals]
    for name in replaced:
        atomic.write_text(path / ".backup" / name, originals[name])
    for name in changed:
        if name not in repaired or (path / name).is_symlink():  # its target is elsewhere
            (path / name).unlink()
        if name in repaired:
            atomic.write_text(path / name, repaired[name])
    if replaced:
        notes.append(f"the originals of {', '.join(replaced)} are in {path / '.backup'}")
    lines = map(table_file.printable_text, originals["utt2spk"].split("\n"))
    out_of = {line.partition(" ")[0] for line in lines} - {""}
    return *notes, f"kept {len(tables['utt2spk'])} utterances out of {len(out_of)}"


def usable_lines(file: Path, text: str, notes: list[str]) -> dict[str, str]:
    """Key → value of the usable lines of a table; of two lines with one key the first counts."""
    lines: dict[str, str] = {}
    dropped: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        key, _, value = table_file.printable_text(raw).partition(" ")
        if not key:
            continue
        value = ILLEGAL.sub("", value) if file.name == "text" else value
        value = value.strip() if file.name == "wav.scp" else " ".join(value.split())
        fault = "appears twice" if key in lines else rule_of(file.name).find_fault(value)
        if fault:
            dropped.append(f"{file}:{number}: {key}: {fault}")
        else:
            lines[key] = value
    add_note(notes, dropped, "line")
    return lines


def reduce_tables(path: Path, tables: dict[str, dict[str, str]], notes: list[str]) -> None:
    """Reduce all tables to the utterances that every needed table names, and whose audio exists."""
    if wav := tables.get("wav.scp"):
        sources = {key: resolve_source(value, path) for key, value in wav.items()}
        usable = {key: file for key, file in sources.items() if file and not unprintable_character(file)}
        fault = "no such file, or its path does not print"
        missing = [f"{path}/wav.scp: {key}: {fault}: {wav[key]}" for key in wav if key not in usable]
        add_note(notes, missing, "recording")
        tables["wav.scp"] = usable
    recording = {key: value.split(" ")[0] for key, value in tables.get("segments", {}).items()}
    utterances = dict(tables["utt2spk"])
    for name, lines in tables.items():
        rule = rule_of(name)
        if rule.coverage == "needed":
            by_recording = rule.indexed_by == "recording"
            missing = [u for u in utterances if (recording.get(u, u) if by_recording else u) not in lines]
            add_note(notes, [f"{path}: {u}: not in {name}" for u in sorted(missing)], "utterance")
            utterances = {u: speaker for u, speaker in utterances.items() if u not in {*missing}}
    keys_by = {
        "utterance": set(utterances),
        "speaker": set(utterances.values()),
        "recording": {recording.get(u, u) for u in utterances},
    }
    for name, lines in list(tables.items()):
        rule, keys = rule_of(name), keys_by[rule_of(name).indexed_by]
        tables[name] = {key: value for key, value in lines.items() if key in keys}
        count = len(tables[name])
        if count < {"needed": 0, "partial": 1, "whole": len(keys)}[rule.coverage]:
            notes.append(f"{path / name}: removed: it names {count} of {len(keys)}")
            del tables[name]


def add_note(notes: list[str], entries: list[str], noun: str) -> None:
    """Add a note that quotes the first of the dropped `entries` and states their number."""
    if entries:
        notes.append(f"{entries[0]} ({plural(len(entries), noun)} dropped)")
