"""Voices: names under which recordings of people, and adapters trained on them, are stored.

    ia3-speech voices list
    ia3-speech voices show anna
    ia3-speech voices export anna --out folder      everything that is stored of a person, for them
    ia3-speech voices remove dr-01                  when a person leaves: deletes everything
    ia3-speech voices remove --unused-for 365d      deletes the voices that nobody has used for a year

A voice is begun on the page of `ia3-speech serve`, or by `ia3-speech corrections`. Copies elsewhere stay: a
data directory in an experiment, a pushed adapter, the files of `train --replay`.
"""

import re
import shutil
import sys
import time
from pathlib import Path

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json, read_summary
from ia3_speech.common.atomic import replacing
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import in_columns, percent, plural
from ia3_speech.voices import store
from ia3_speech.voices.store import recordings_of, store_of, versions_of, voice_folder, voice_record
from ia3_speech.voices.voice import read_store

COLUMNS = ("VOICE", "OWNER", "RECORDINGS", "ADAPTERS")


def list_() -> None:
    """List the voices: name, the name of the key that it belongs to, recordings, adapters."""
    rows = []
    for name in store.voice_names():
        try:
            owner = voice_record(name).get("owner") or "-"
        except UserError:
            owner = "(damaged)"
        rows.append((name, str(owner), str(len(recordings_of(name))), ",".join(versions_of(name)) or "-"))
    if rows:
        print(*in_columns([COLUMNS, *rows], left=(0, 1, 3)), sep="\n")
    else:
        print(f"no voice is stored in {registry.home()}")


def folders_of(name: str) -> dict[str, Path]:
    """Name → folder, of what is stored of a voice. Raises UserError if nothing is."""
    folders = {"recordings": store_of(name), "record": voice_folder(name)}
    folders |= {f"adapters/{version}": registry.adapters_dir() / version for version in versions_of(name)}
    folders = {each: folder for each, folder in folders.items() if folder.is_dir()}
    if not folders:
        raise UserError(f"{name}: there is no voice of this name (ia3-speech voices list)")
    return folders


def show(name: str) -> None:
    """Show what is stored of a voice: recordings, consent, the last job, adapters, bases and sizes.

    Args:
        name: a voice, or an adapter.
    """
    rows, record, stored = [], voice_record(name), read_store(name)
    for title, folder in folders_of(name).items():
        if title == "recordings":
            fact = f"{plural(len(stored), 'recording')}, {sum(u.duration for u in stored) / 60:.1f} minutes"
        elif title == "record":
            job = read_json(folder / "state.json") if (folder / "state.json").is_file() else {}
            facts = {"owner": record.get("owner"), "consent": record.get("consent"), "job": job.get("state")}
            fact = ", ".join(f"{key} {value}" for key, value in facts.items() if value)
        else:
            summary = read_summary(folder)
            training = summary.get("training", {})
            fact = f"base {summary.get('base')}"
            if "dev_wer" in training:
                fact += f", held-out WER {percent(training['dev_wer'])} %"
            if summary.get("gate", {}).get("identify"):
                version = folder.name
                fact += f", a voice print of version 0.2 (ia3-speech adapters gate {version} replaces it)"
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        rows.append((title, f"{size / 1e6:.2f} MB", fact, str(folder)))
    print(*in_columns(rows, left=(0, 2, 3)), sep="\n")


def export(name: str, *, out: Path) -> None:
    """Copy everything that is stored of a voice into a new folder, for the person.

    Args:
        name: a voice, or an adapter.
        out: the folder to write.
    """
    if out.exists():
        raise UserError(f"{out}: exists (give another --out)")
    with store.only_writer(name), replacing(out) as new:
        for title, folder in folders_of(name).items():
            shutil.copytree(folder, new / title)
    print(f"{out}: {', '.join(sorted(folder.name for folder in out.iterdir()))}")


def remove(*names: str, unused_for: str | None = None, dry_run: bool = False) -> int:
    """Delete everything of a name: recordings, texts, adapters, jobs. Its training is interrupted.

    Adapters of other names that hold only this person's speech (a copy, NAME:0.5) are deleted too. Sums and
    means with the speech of others are listed with the command that removes them.
    `corrections remove NAME` deletes only the recordings, and `adapters remove NAME` an adapter.

    Args:
        names: voices, or adapters; with --unused-for, none stands for all voices.
        unused_for: delete only voices that were neither used for recognition nor changed for this time, in
            days, such as 365d.
        dry_run: list what --unused-for would delete, and delete nothing.
    """
    if unused_for is None:
        if not names or dry_run:
            raise UserError("name a voice (voices remove NAME); or give `unused_for`, such as 365d")
        chosen = list(names)
    else:
        if not (match := re.fullmatch(r"(\d{1,6})d?", unused_for)):
            raise UserError(f"`unused_for={unused_for}` is no number of days, such as 365d")
        latest = time.time() - int(match[1]) * registry.DAY
        used = {name: store.last_used(name) for name in names or store.voice_names()}
        chosen = [name for name, last in used.items() if last < latest]
        if not chosen:
            print(f"no voice is unused for {match[1]} days")
    failed = False
    for name in chosen:
        if dry_run:
            print(f"{name}: last used {time.strftime('%Y-%m-%d', time.gmtime(used[name]))}")
            continue
        try:
            print(store.remove_voice(name))
        except UserError as error:  # such as a locked store: the next run deletes it
            print(f"error: {error}", file=sys.stderr)
            failed = True
    return int(failed)


SUB_COMMANDS = {"list": list_, "show": show, "export": export, "remove": remove}
