"""Voices: names under which recordings of people, and adapters trained on them, are stored.

    ia3-speech voices list
    ia3-speech voices show anna
    ia3-speech voices export anna --out folder      everything that is stored of a person, for them
    ia3-speech voices migrate --base NEW --all      train all voices again on a new base
    ia3-speech voices remove dr-01                  when a person leaves: deletes everything

A voice is begun on the page of `ia3-speech serve`, or by `ia3-speech corrections`. Copies elsewhere stay: a
data directory in an experiment, a pushed adapter, the files of `train --replay`.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json, read_summary
from ia3_speech.atomic import replacing, write_json
from ia3_speech.cli import message_of
from ia3_speech.data.recordings import Part
from ia3_speech.errors import UserError
from ia3_speech.formatting import in_columns, percent, plural

COLUMNS = ("VOICE", "OWNER", "RECORDINGS", "ADAPTERS")
MIGRATION = "migration.json"  # beside a voice's record: to which base it was last migrated, and the result


def list_() -> None:
    """List the voices: name, the name of the key that it belongs to, recordings, adapters."""
    from ia3_speech.corrections.store import recordings_of, versions_of, voice_names, voice_record

    rows = []
    for name in voice_names():
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
    from ia3_speech.corrections.store import store_of, versions_of, voice_folder

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
    from ia3_speech.corrections.store import agreed, voice_record
    from ia3_speech.corrections.voice import read_store

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
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        rows.append((title, f"{size / 1e6:.2f} MB", fact, str(folder)))
    print(*in_columns(rows, left=(0, 2, 3)), sep="\n")
    may = "may recognise this person by their voice" if agreed(name) else "does not recognise this person"
    print(f"auto {may}")


def export(name: str, *, out: Path) -> None:
    """Copy everything that is stored of a voice into a new folder, for the person.

    Args:
        name: a voice, or an adapter.
        out: the folder to write.
    """
    from ia3_speech.corrections.store import only_writer

    if out.exists():
        raise UserError(f"{out}: exists (give another --out)")
    with only_writer(name), replacing(out) as new:
        for title, folder in folders_of(name).items():
            shutil.copytree(folder, new / title)
    print(f"{out}: {', '.join(sorted(folder.name for folder in out.iterdir()))}")


def remove(name: str) -> None:
    """Delete everything of a name: recordings, texts, adapters, jobs. Its training is interrupted.

    `corrections remove NAME` deletes only the recordings, and `adapters remove NAME` an adapter.

    Args:
        name: a voice, or an adapter.
    """
    from ia3_speech.corrections.store import remove_voice

    print(remove_voice(name))


def migrate(*names: str, base: str, all: bool = False, part: str | None = None) -> int:
    """Train voices again on a new base, from their stored recordings.

    A voice gets the new adapter only if, on utterances held out by folds, it makes fewer errors than the new
    base, and its WER is below the old adapter's on the old base. The old adapter then is NAME@1; until then
    it stays in use. A migration that was killed continues with the voices that are left. The exit code is 1
    if a voice could not be learnt; another run tries it again.

    Args:
        names: voices; their adapters may be of several bases
        base: the new base: mini, a folder or a hub id
        all: migrate all voices with recordings
        part: such as 3/8: every eighth voice from the third on
    """
    from ia3_speech.corrections.store import recordings_of, voice_names
    from ia3_speech.model.base import load_base

    if bool(names) == all:
        raise UserError("give either the names of voices or --all")
    share = Part.parse(part)
    if unknown := [name for name in names if not recordings_of(name)]:
        raise UserError(f"{unknown[0]}: no recordings are stored under this name (ia3-speech voices list)")
    chosen = [name for name in voice_names() if recordings_of(name)] if all else [*names]
    new_base, failed = load_base(base).fingerprint, 0  # raises where the new base is gone
    for name in share.of(chosen):
        try:
            print(f"{name}: {migrate_voice(name, base, new_base)}", flush=True)
        except UserError as error:
            failed += 1
            print(f"{name}: stays as it is: {message_of(error)}", file=sys.stderr)
    return int(failed > 0)


def migrate_voice(name: str, base: str, fingerprint: dict[str, Any]) -> str:
    """Learn a voice on a new base, unless that was done with the same recordings; returns the result."""
    from ia3_speech.adapters.record import same_base
    from ia3_speech.corrections.store import only_writer, voice_folder
    from ia3_speech.corrections.voice import checksum, learn_voice, read_store

    adapter, file = registry.adapters_dir() / name, voice_folder(name) / MIGRATION
    if same_base(read_summary(adapter).get("fingerprint", {}), fingerprint):
        return f"is of {base}"
    with only_writer(name):
        texts = {utterance.id: checksum(utterance) for utterance in read_store(name)}
        inputs = {"base": fingerprint, "recordings": texts}
        done = read_json(file) if file.is_file() else {}
        if done.get("inputs") != inputs:
            learnt = learn_voice(name, base)
            state = f"now of {base}" if learnt.kept else "stays as it is"
            earlier = f" (the old adapter is {learnt.earlier})" if learnt.earlier else ""
            done = {"inputs": inputs, "result": f"{state}{earlier}; {learnt.comparison}"}
            write_json(file, done)
    return done["result"]


SUB_COMMANDS = {"list": list_, "show": show, "export": export, "migrate": migrate, "remove": remove}
