"""Does an output belong to these inputs? A command asks before it works, and leaves a record when it is done.

    made = Inputs({"data": data, "adapter": weights}, {"normalize": "ctc"})
    if made.is_current(decode_dir):
        return                     # finished earlier from the same inputs; it says "DECODE_DIR: up to date"
    …                              # the work
    made.record(decode_dir)        # writes DECODE_DIR/inputs.json, last

Inputs are compared by content. A file counts by its SHA-256, a folder by those of its files, a Kaldi data
directory by its tables and by the audio that wav.scp names, wherever the files lie and whatever their dates.
Digests are cached by path, size and modification time. A change of the program itself does not count.

    python -m ia3_speech.inputs OUT [INPUT …] -- COMMAND …

does the same for a command that knows nothing of this: it is run unless OUT was made by it from these inputs.
"""

import hashlib
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError

RECORD = "inputs.json"
SCHEMA = 1
TABLES = ("wav.scp", "utt2spk")  # what makes a folder a Kaldi data directory
SETTLED = 2.0  # seconds; a file that was written more recently may change again under the same time
MINI = Path(__file__).parent / "mini"

Source = Path | Sequence[Path] | None


@dataclass(frozen=True)
class Inputs:
    """What a command was given.

    Attributes:
        sources: name → a file, a folder, a data directory, or several of them; None, or a path where nothing
            is, counts as absent.
        options: name → a plain value; paths belong into `sources`.
    """

    sources: Mapping[str, Source]
    options: Mapping[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)

    def differences(self, out: Path) -> list[str]:
        """Names of the inputs and options that differ from what the record of `out` says."""
        found = read_inputs(out)
        differing = []
        for name, now in (("inputs", self.digests), ("options", as_json_has_them(self.options))):
            then = found.get(name, {})
            differing += sorted(one for one in {*now, *then} if now.get(one) != then.get(one))
        return differing

    @cached_property
    def digests(self) -> dict[str, str]:
        """Name → SHA-256, as the inputs were when they were first looked at."""
        return {name: digest_of(source) for name, source in self.sources.items()}

    def is_current(self, out: Path, force: bool = False) -> bool:
        """Whether `out` was finished from these inputs; says so.

        Otherwise says what changed, if there is a record, and removes it: `out` is about to be replaced.
        """
        if not (found := read_inputs(out)):
            return False
        changed = self.differences(out)
        if not changed and found["finished"] and out.exists() and not force:
            print(f"{out}: up to date")
            return True
        if changed:
            print(
                f"{out}: was made from other inputs (changed: {', '.join(changed)}) and is made again",
                file=sys.stderr,
            )
        record_place(out).unlink(missing_ok=True)
        return False

    def is_trained(self, out: Path, force: bool = False) -> bool:
        """As `is_current`, for training: a killed run is resumed, and an adapter is never replaced unasked.

        Raises:
            UserError: `out` holds a run from other inputs, and `force` is not given; with it the folder is
                deleted.
        """
        found = read_inputs(out) if is_begun(out) else {}
        changed = self.differences(out) if found else []
        if changed and not force:
            raise UserError(
                f"{out}: holds a run from other inputs ({', '.join(changed)}): choose another --out, or pass "
                f"--force to delete it and train again"
            )
        if found and not changed and found["finished"] and not force:
            print(f"{out}: up to date")
            return True
        if force and out.exists():
            print(f"{out}: is deleted (--force)", file=sys.stderr)
            shutil.rmtree(out)
        self.record(out, finished=False)
        return False

    def record(self, out: Path, finished: bool = True) -> None:
        """Write what `out` was made from, or, while it is not finished, is being made from."""
        now = time.time()
        value = {
            "schema": SCHEMA,
            "inputs": self.digests,
            "options": as_json_has_them(self.options),
            **provenance(),
            "seconds": round(now - self.started, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)) if finished else None,
        }
        write_json(record_place(out), value)


def is_begun(out: Path) -> bool:
    """Whether a training left more in its folder than its record, as one that can't use its data does not."""
    return out.is_dir() and any(path.name != RECORD and path.name[0] != "." for path in out.iterdir())


def record_place(out: Path) -> Path:
    """Inside of a folder, beside a file."""
    return Path(f"{out}.{RECORD}") if out.is_file() else out / RECORD


def read_inputs(out: Path) -> dict[str, Any]:
    """What `record` wrote; empty where there is none, or it is damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(record_place(out).read_text("utf-8"))
        return found if isinstance(found, dict) and found.get("schema") == SCHEMA else {}
    return {}


def as_json_has_them(options: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    return json.loads(json.dumps(dict(options), default=str))


def provenance() -> dict[str, Any]:
    """The command that a user typed (path.sh notes that of a recipe), and the commit of the program."""
    root = str(Path(__file__).parents[1])
    git = ["git", "-C", root]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    return {
        "command": os.environ.get("IA3_SPEECH_COMMAND") or shlex.join(sys.argv),
        "commit": commit.stdout.strip() or None,
        "dirty": bool(changes.stdout.strip()),
    }


# ---- digests


def digest_of(source: Source) -> str:
    """SHA-256 of what is at a path, or of several; "absent" where nothing is."""
    if source is None:
        return "absent"
    if not isinstance(source, Path):
        return joined(f"{path.name} {digest_of(path)}" for path in source)
    if source.is_dir():
        return joined(lines_of(source))
    return of_file(source) if source.is_file() else "absent"


def joined(lines: Iterator[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def tables_of(data: Path) -> list[Path]:
    """A data directory without its audio."""
    return [path for path in own_files(data) if path.name != "wav.scp"]


def base_folder(base: str) -> Path | None:
    """The folder of a base: the shipped one, or the user's own; None for an id on the Hub."""
    return MINI if base == "mini" else Path(base) if Path(base).is_dir() else None


def base_files(base: str) -> list[Path] | None:
    """What a base's logits hang on: the files of its folder; not its language model, its card, nor the
    scaling of its confidences."""
    folder = base_folder(base)
    others = ("lm.*", "*.md", "confidence.json")
    return folder and [path for path in own_files(folder) if not any(map(path.match, others))]


def lines_of(folder: Path) -> Iterator[str]:
    """One line a file; of a data directory its own files and, in place of wav.scp, the audio."""
    if any((folder / name).is_file() for name in TABLES):
        for path in own_files(folder):
            if path.name == "wav.scp":
                yield from audio_lines(path)
            else:
                yield f"{path.name} {of_file(path)}"
        return
    entered = set()
    for place, folders, names in os.walk(folder, followlinks=True):  # a link that leads back is entered once
        entered.add(os.path.realpath(place))
        here = Path(place)
        if here != folder and any(name in names for name in TABLES):
            yield f"{here.relative_to(folder)} {digest_of(here)}"
            folders.clear()
            continue
        folders[:] = sorted(
            name
            for name in folders
            if name[0] != "." and name != "__pycache__" and os.path.realpath(here / name) not in entered
        )
        for name in sorted(names):
            if name[0] != "." and not name.endswith(RECORD) and (here / name).is_file():
                yield f"{(here / name).relative_to(folder)} {of_file(here / name)}"


def own_files(data: Path) -> list[Path]:
    return sorted(
        path
        for path in data.iterdir()
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(RECORD)
    )


def audio_lines(wav_scp: Path) -> Iterator[str]:
    """One line a recording: its file by content, a shell command as it stands."""
    for line in wav_scp.read_text("utf-8", errors="replace").splitlines():
        recording, _, source = line.strip().partition(" ")
        source = source.strip()
        places = (Path(source), wav_scp.parent.parent / source, wav_scp.parent / source)
        found = None if source.endswith("|") else next((place for place in places if place.is_file()), None)
        yield f"{recording} {of_file(found) if found else source}"


def of_file(path: Path) -> str:
    """SHA-256 of a file, from the cache where its size and modification time are known."""
    state, known = path.stat(), known_digests()
    key = (os.path.realpath(path), state.st_size, state.st_mtime_ns)
    sought = "SELECT digest FROM digests WHERE path = ? AND size = ? AND modified = ?"
    with suppress(sqlite3.Error):
        if row := known.execute(sought, key).fetchone():
            return row[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - state.st_mtime > SETTLED:
        with suppress(sqlite3.Error):
            known.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (*key, digest))
    return digest


@cache
def known_digests() -> sqlite3.Connection:
    """The cache, in the user's cache folder; where that can't be written, in memory."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("ia3_speech", appauthor=False))
    columns = "(path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, digest TEXT)"
    for place in (folder / "digests.sqlite", ":memory:"):
        with suppress(OSError, sqlite3.Error):
            if place != ":memory:":
                folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(place, timeout=10, isolation_level=None)
            database.execute("PRAGMA synchronous = OFF")
            database.execute(f"CREATE TABLE IF NOT EXISTS digests {columns}")
            return database
    raise RuntimeError("sqlite keeps no table in memory")


def main(words: list[str]) -> int:
    """Run a command unless it made OUT from these inputs. Where it writes no OUT, that is an empty file."""
    if "--" not in words or words.index("--") < 1 or words[-1] == "--":
        print("usage: python -m ia3_speech.inputs OUT [INPUT …] -- COMMAND …", file=sys.stderr)
        return 2
    at = words.index("--")
    out, command = Path(words[0]), words[at + 1 :]
    made = Inputs({word: Path(word) for word in words[1:at]}, {"command": command})
    if made.is_current(out):
        return 0
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            out.touch()
        made.record(out)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
