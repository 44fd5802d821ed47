"""Repair a data directory: sort it, keep the utterances that every table knows, derive spk2utt.

In: a folder that `validate` refuses. Out: the same folder, valid, the originals in `.backup/`; or a new one.

    python -m ia3_speech.datadir fix data/train
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from ia3_speech import atomic
from ia3_speech.data.kaldi.directory import refuse_same, refuse_unexpected_files
from ia3_speech.data.kaldi.table_file import JOINERS, DataError, Row, Table, decode, render, unprintable
from ia3_speech.data.kaldi.validation import ILLEGAL, resolve, rule_of, speaker_order, table_names


@dataclass
class Repair:
    """What `fix` did: utterances kept, out of how many, the files that changed, a note on each decision."""

    kept: int
    out_of: int
    changed: list[str]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*self.notes, f"kept {self.kept} utterances out of {self.out_of}"])


Lines = dict[str, str]  # key → value: a table while it is being repaired


def fix(path: Path | str, out: Path | str | None = None) -> Repair:
    """Make a data directory valid by leaving out what cannot be saved, as Kaldi's fix_data_dir.sh does.

    Lines are sorted, the first of two with one key stays, malformed ones go, white space and line ends are
    put right. An utterance stays if utt2spk, text, wav.scp (with segments, if there), feats.scp and utt2lang
    all name it and its audio file exists. Other tables are cut to what stays; those that then miss a key are
    set aside. spk2utt is derived from utt2spk. wav.scp gets absolute paths.

    Args:
        path: the directory; its changed files are first copied to `.backup/`.
        out: write the result there instead, and leave `path` as it is.

    Raises:
        DataError: no utt2spk, a file that is not UTF-8, or no utterance would be left. Nothing is changed.
    """
    path, notes = Path(path), []
    if out is not None:
        refuse_same(path, out)
    names = table_names(path)
    if "utt2spk" not in names:
        raise DataError(
            f"{path / 'utt2spk'}: no such file (write it: one line `utterance speaker` for each utterance)"
        )
    originals = {name: decode(path / name) for name in names}
    tables = {name: salvage(path, name, text, notes) for name, text in originals.items() if name != "spk2utt"}
    out_of = len({tidy(line).partition(" ")[0] for line in originals["utt2spk"].split("\n")} - {""})
    set_aside = intersect(path, tables, notes)
    if not tables["utt2spk"]:
        verdict = f"{path}: no utterance would be left, so nothing was changed"
        raise DataError(
            "\n".join([*notes, f"{verdict} (do the tables use the same ids, and is the audio there?)"])
        )
    by_speaker: dict[str, list[str]] = {}
    for utterance, speaker in sorted(tables["utt2spk"].items()):
        by_speaker.setdefault(speaker, []).append(utterance)
    tables["spk2utt"] = {speaker: " ".join(own) for speaker, own in by_speaker.items()}
    repaired = {name: render(lines.items()) for name, lines in tables.items()}
    changed = sorted(name for name in {*repaired, *set_aside} if repaired.get(name) != originals.get(name))
    if out is None:
        store(path, originals, repaired, changed, notes)
    else:
        refuse_unexpected_files(Path(out))
        with atomic.replacing(Path(out)) as new:
            new.mkdir()
            for name, text in repaired.items():
                (new / name).write_text(text, encoding="utf-8", newline="")
    pairs = enumerate(sorted(tables["utt2spk"].items()), 1)
    notes += speaker_order(Table(Path(out or path) / "utt2spk", [Row(*pair, line) for line, pair in pairs]))
    return Repair(len(tables["utt2spk"]), out_of, changed, notes)


def store(path: Path, originals: Lines, repaired: Lines, changed: list[str], notes: list[str]) -> None:
    """Copy what will change to `.backup/`, then change it, file by file.

    A file that already is as it should be is not backed up again: so a second run, after a kill in the middle
    of the first, does not lay half-repaired files over the originals.
    """
    for name in changed:
        if name in originals:
            atomic.write_text(path / ".backup" / name, originals[name])
    for name in changed:
        if name in repaired:
            atomic.write_text(path / name, repaired[name])
        else:
            (path / name).unlink()
    if any(name in originals for name in changed):
        notes.append(
            f"the originals of {', '.join(n for n in changed if n in originals)} are in {path / '.backup'}"
        )


def salvage(path: Path, name: str, text: str, notes: list[str]) -> Lines:
    """The usable lines of a table; the first with a key counts."""
    lines: Lines = {}
    dropped: list[str] = []
    rule = rule_of(name)
    for number, raw in enumerate(text.split("\n"), 1):
        key, _, value = tidy(raw).partition(" ")
        if not key:
            continue
        if name == "wav.scp":
            value = os.path.expanduser(value.strip(" "))  # noqa: PTH111 (a pipe is no path)
        else:
            value = " ".join((ILLEGAL.sub("", value) if name == "text" else value).split())
        fault = rule.check(Row(key, value, number))
        if fault or key in lines:
            dropped.append(f"{path / name}:{number}: {key}: {fault or 'appears twice'}")
        else:
            lines[key] = value
    note(notes, dropped, "line")
    return lines


def intersect(path: Path, tables: dict[str, Lines], notes: list[str]) -> list[str]:
    """Cut all tables to the utterances that every needed one names; return the tables that were set aside."""
    utt2spk, wav = tables["utt2spk"], tables.get("wav.scp")
    segments = tables.get("segments")
    if segments is not None and wav is None:
        raise DataError(f"{path / 'segments'}: there is no wav.scp beside it (write it, or remove segments)")
    if wav is not None:
        found = {key: resolve(value, path) for key, value in wav.items()}
        tables["wav.scp"] = {key: file for key, file in found.items() if file and not unprintable(file)}
        what = "no such file, or its path does not print"
        lost = [
            f"{path / 'wav.scp'}: {key}: {what}: {wav[key]}" for key in wav if key not in tables["wav.scp"]
        ]
        note(notes, lost, "recording")
    recording = {key: value.split(" ")[0] for key, value in segments.items()} if segments is not None else {}
    kept = dict(utt2spk)
    for name, lines in tables.items():
        rule = rule_of(name)
        if rule.coverage == "needed":
            by_recording = rule.by == "recording"
            missing = {u for u in kept if (recording.get(u, u) if by_recording else u) not in lines}
            note(notes, [f"{path}: {u}: not in {name}" for u in sorted(missing)], "utterance")
            kept = {u: speaker for u, speaker in kept.items() if u not in missing}
    alive = {
        "utterance": set(kept),
        "speaker": set(kept.values()),
        "recording": {recording.get(u, u) for u in kept},
    }
    set_aside = []
    for name in list(tables):
        rule = rule_of(name)
        tables[name] = {key: value for key, value in tables[name].items() if key in alive[rule.by]}
        if rule.coverage == "whole" and len(tables[name]) < len(alive[rule.by]) and kept:
            notes.append(f"{path / name}: set aside: it names {len(tables[name])} of {len(alive[rule.by])}")
            set_aside.append(name)
        elif rule.coverage == "partial" and not tables[name]:
            set_aside.append(name)
    for name in set_aside:
        del tables[name]
    return set_aside


def note(notes: list[str], entries: list[str], noun: str) -> None:
    """The first entry in words, and how many were dropped."""
    if entries:
        notes.append(f"{entries[0]} ({len(entries)} {noun if len(entries) == 1 else noun + 's'} dropped)")


def tidy(line: str) -> str:
    """`line` with tabs and Unicode spaces as spaces, without what does not print, trimmed."""
    spaced = "".join(" " if c.isspace() else c for c in line)
    return "".join(c for c in spaced if c.isprintable() or c in JOINERS).strip(" ")
