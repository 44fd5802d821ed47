"""Whether an output is current: a command asks before its work, and writes a record after it.

    inputs = Inputs({"data": data, "adapter": weights}, {"normalize": "ctc"})
    if inputs.is_current(decode_dir):
        return                     # finished earlier from the same inputs; prints "DECODE_DIR: up to date"
    …                              # the work
    inputs.record(decode_dir)      # writes DECODE_DIR/inputs.json, last

Inputs are compared by content: a file by its SHA-256, a folder by its files, a Kaldi data directory by its
tables and by the audio in wav.scp.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError

RECORD = "inputs.json"
SCHEMA = 1
TABLES = ("wav.scp", "utt2spk")  # either file makes a folder a Kaldi data directory

Source = Path | Sequence[Path] | None


@dataclass(frozen=True)
class Inputs:
    """The inputs of a command."""

    # Name → a file, a folder, a data directory, or several of these; None and missing paths are "absent"
    sources: Mapping[str, Source]
    # Name → a plain value; paths belong in `sources`
    options: Mapping[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)

    def is_current(self, out: Path, force: bool = False, *, resume: bool = False) -> bool:
        """Whether `out` was finished from these inputs; prints it.

        Otherwise the caller will replace `out`: prints the changes, and removes the record. With `resume`,
        for training, a killed run continues in `out`; only `force` replaces earlier output, and deletes the
        folder. Raises UserError if, with `resume`, `out` holds a run from other inputs, or files that
        training did not write; or, with `force`, an input.
        """
        record = read_inputs(out)
        # A training that can't use its data leaves only its record, which does not count.
        if resume and not (
            out.is_dir() and any(p.name != RECORD and p.name[0] != "." for p in out.iterdir())
        ):
            record = {}
        names = []
        for part, values in self.as_json.items():  # before the work, since files may change during it
            before = record.get(part, {})
            names += [name for name in sorted({*values, *before}) if values.get(name) != before.get(name)]
        changed = ", ".join(names) if record else ""
        if resume and changed and not force:
            hint = "choose another `out`, or give `force` to delete it and train again"
            raise UserError(f"{out}: holds a run from other inputs ({changed}): {hint}")
        if record and not changed and record["finished"] and out.exists() and not force:
            print(f"{out}: up to date")
            return True
        if resume:
            if force and out.exists():
                self.delete(out)
            refuse_foreign_files(out)
            self.record(out, finished=False)
        elif record:
            if changed:
                message = f"{out}: was made from other inputs (changed: {changed}) and is made again"
                print(message, file=sys.stderr)
            record_place(out).unlink(missing_ok=True)
        return False

    def delete(self, out: Path) -> None:
        """Delete a training's folder. Raises UserError if it holds a source, or training did not write it."""
        sources = [[s] if isinstance(s, Path) else s or [] for s in self.sources.values()]
        for source in (path for paths in sources for path in paths):
            if source.resolve().is_relative_to(out.resolve()):
                hint = "which this run reads (choose another `out`)"
                raise UserError(f"{out}: `force` would delete {source}, {hint}")
        from filelock import FileLock, Timeout

        refuse_foreign_files(out)
        if not read_inputs(out):
            return
        for lock in out.glob(".lock*"):
            try:
                with FileLock(lock, timeout=0):
                    pass
            except Timeout:
                hint = "wait until it has ended, or choose another `out`"
                raise UserError(f"{out}: another run is writing to it ({hint})") from None
        print(f"{out}: is deleted (--force)", file=sys.stderr)
        shutil.rmtree(out)

    @cached_property
    def as_json(self) -> dict[str, dict[str, Any]]:
        """The record's digests, of the inputs at the first access, and its options."""
        digests = {name: digest_of(source) for name, source in self.sources.items()}
        return json.loads(json.dumps({"inputs": digests, "options": dict(self.options)}, default=str))

    def record(self, out: Path, finished: bool = True) -> None:
        """Write the record of the inputs of `out`, which is finished or in progress."""
        now = time.time()
        value = {
            "schema": SCHEMA,
            **self.as_json,
            **provenance(),
            "seconds": round(now - self.started, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)) if finished else None,
        }
        write_json(record_place(out), value)


def refuse_foreign_files(out: Path) -> None:
    """Raise UserError if `out` is a file, or holds files that `force` would delete, except Kaldi's logs."""
    entries = [*out.iterdir()] if out.is_dir() else []  # first: another part of the run may begin meanwhile
    if read_inputs(out):
        return
    logs, begun = ("log", "q"), (".lock", f".{RECORD}.")  # of recipes and slurm; of another part of the run
    others = [e for e in entries if e.name not in logs and not e.name.startswith(begun)]
    if out.is_file() or any(entry.suffix != ".log" for entry in others):
        raise UserError(f"{out}: is not empty, and not a training's folder (choose another `out`)")


def record_place(out: Path) -> Path:
    """The record's file: inside a folder, beside a file."""
    return Path(f"{out}.{RECORD}") if out.is_file() else out / RECORD


def read_inputs(out: Path) -> dict[str, Any]:
    """The record; empty if it is missing or damaged."""
    with suppress(OSError, ValueError):
        record = json.loads(record_place(out).read_text("utf-8"))
        return record if isinstance(record, dict) and record.get("schema") == SCHEMA else {}
    return {}


def provenance() -> dict[str, Any]:
    """The user's command (path.sh exports a recipe's), and the commit of the program, if it is a clone and
    git is installed."""
    root, commit, changes = Path(__file__).parents[2], "", ""
    only_here = os.environ | {"GIT_CEILING_DIRECTORIES": str(root.parent)}  # not the clone around a .venv
    options = {"cwd": root, "env": only_here, "capture_output": True, "text": True, "check": False}
    with suppress(FileNotFoundError):  # without git, as in the image of scripts/deploy
        commit, changes = (
            subprocess.run(["git", *words], **options).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain"])
        )
    program, *words = sys.argv  # program: `ia3-speech decode`, or a script
    command = os.environ.get("IA3_SPEECH_COMMAND") or f"{program} {shlex.join(words)}"
    return {"command": command, "commit": commit or None, "dirty": bool(changes)}


def digest_of(source: Source) -> str:
    """SHA-256 of a file or folder, or of several; "absent" if it is missing."""
    if source is None:
        return "absent"
    if isinstance(source, Path) and not source.is_dir():
        return file_sha256(source) if source.is_file() else "absent"
    lines = digest_lines(source) if isinstance(source, Path) else (f"{p.name} {digest_of(p)}" for p in source)
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")).hexdigest()


def digest_lines(folder: Path) -> Iterator[str]:
    """A line for each file; for a data directory its files and, in place of wav.scp, the audio."""
    is_data_directory = any((folder / name).is_file() for name in TABLES)
    for path in sorted(folder.iterdir()):
        if path.name[0] == "." or path.name == "__pycache__" or path.name.endswith(RECORD):
            continue
        if is_data_directory and path.name == "wav.scp":
            yield from audio_lines(path)
        elif path.is_file():
            yield f"{path.name} {file_sha256(path)}"
        elif path.is_dir() and not is_data_directory:
            yield from (f"{path.name}/{line}" for line in digest_lines(path))


def audio_lines(wav_scp: Path) -> Iterator[str]:
    """A line for each recording: a file by content, a shell command as text."""
    for line in wav_scp.read_text("utf-8", errors="replace").splitlines():
        recording, source = [*line.strip().split(None, 1), "", ""][:2]
        places = (Path(source), wav_scp.parent.parent / source, wav_scp.parent / source)
        file = None if source.endswith("|") else next((place for place in places if place.is_file()), None)
        yield f"{recording} {file_sha256(file) if file else source}"


def visible_files(folder: Path) -> list[Path]:
    """The files of a folder, without hidden files and records."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    return sorted(path for path in files if not path.name.endswith(RECORD))


def tables_of(data: Path) -> list[Path]:
    """A data directory without its audio."""
    return [path for path in visible_files(data) if path.name != "wav.scp"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, which is read once in a process unless its size or modification time changes."""
    state = path.stat()
    return sha256_once(path, state.st_size, state.st_mtime_ns)


@cache
def sha256_once(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
