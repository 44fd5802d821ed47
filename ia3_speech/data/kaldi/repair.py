"""Repair a data directory: sort it, keep the utterances that every table names, derive spk2utt.

In: a folder that `validate` refuses. Out: the same folder, valid, the originals in `.backup/`.

    ia3-speech datadir fix data/train
"""

from pathlib import Path

from ia3_speech import atomic
from ia3_speech.data.kaldi.table_file import (
    format_table,
    printable_text,
    read_utf8,
    spk2utt_of,
    unprintable_character,
)
from ia3_speech.data.kaldi.validation import ILLEGAL, resolve_source, rule_of, table_names
from ia3_speech.errors import DataError
from ia3_speech.formatting import plural

Lines = dict[str, str]  # key → value: a table during the repair


def fix_data_directory(path: Path | str) -> tuple[str, ...]:
    """Make a data directory valid by dropping faulty lines, as Kaldi's fix_data_dir.sh does.

    Lines are sorted; of two lines with one key the first is kept; malformed lines are dropped; white space
    and line ends are corrected. An utterance is kept if utt2spk, text, wav.scp (with segments, if that
    exists), feats.scp and utt2lang all name it and its audio file exists. The other tables are reduced to the
    utterances kept; a table that then lacks a key is removed. spk2utt is derived from utt2spk. wav.scp gets
    absolute paths.

    Args:
        path: the data directory; files that change are first copied to its `.backup/`.

    Returns a message for everything that was dropped, one for the originals, and the number of utterances.

    Raises:
        DataError: utt2spk is missing, a file is not UTF-8, or no utterance would be left. Nothing is changed.
    """
    path, notes = Path(path), []
    names = table_names(path)
    needed = {"utt2spk": "write it: one line `utterance speaker` for each utterance"}
    if "segments" in names:
        needed["wav.scp"] = "segments needs it: write it, or remove segments"
    for name in needed.keys() - {*names}:
        raise DataError(f"{path / name}: no such file ({needed[name]})")
    originals = {name: read_utf8(path / name, keep_mark=True) for name in names}
    tables = {n: usable_lines(path / n, text, notes) for n, text in originals.items() if n != "spk2utt"}
    reduce_tables(path, tables, notes)
    if not tables["utt2spk"]:
        hint = "do the tables use the same ids, and is the audio there?"
        notes.append(f"{path}: no utterance would be left, so nothing was changed ({hint})")
        raise DataError("\n".join(notes))
    tables["spk2utt"] = spk2utt_of(tables["utt2spk"])
    repaired = {name: format_table(lines.items()) for name, lines in tables.items()}
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
    out_of = {printable_text(line).partition(" ")[0] for line in originals["utt2spk"].split("\n")} - {""}
    return *notes, f"kept {len(tables['utt2spk'])} utterances out of {len(out_of)}"


def usable_lines(file: Path, text: str, notes: list[str]) -> Lines:
    """Key → value of the usable lines of a table; of two lines with one key the first counts."""
    lines: Lines = {}
    dropped: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        key, _, value = printable_text(raw).partition(" ")
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


def reduce_tables(path: Path, tables: dict[str, Lines], notes: list[str]) -> None:
    """Reduce all tables to the utterances that every needed table names, and whose audio exists; remove
    tables that then lack a key."""
    if wav := tables.get("wav.scp"):
        sources = {key: resolve_source(value, path) for key, value in wav.items()}
        usable = {key: file for key, file in sources.items() if file and not unprintable_character(file)}
        reason = "no such file, or its path does not print"
        missing = [f"{path / 'wav.scp'}: {key}: {reason}: {wav[key]}" for key in wav if key not in usable]
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
