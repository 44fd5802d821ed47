"""A name like `speaker42` → an adapter's folder on disk.

In: what a user types after `--adapter`. Out: a folder that holds an adapter, or an error with the nearest
names. Looked up in this order: a path; the store, `$IA3_SPEECH_HOME/adapters` (without that variable the
platform's folder for user data); `exp/NAME/adapter` under the working directory, and `exp/*/NAME/adapter` if
there is one alone; with one slash in it, USER/NAME on the Hugging Face Hub (see `hub`).

The store is one folder an adapter. Beside the adapter's own files `store.json` says who put it there: a
recipe may replace what the same recipe wrote, everybody else has to say `--force`. Writers take a lock, and
a folder is copied beside its place and moved in, so no reader ever sees half an adapter.
"""

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ia3_speech import atomic
from ia3_speech.adapters import hub
from ia3_speech.adapters.record import MARKS, OWN_WEIGHTS, PEFT_WEIGHTS
from ia3_speech.cli import UserError

HOME = "IA3_SPEECH_HOME"
RECORD = "store.json"
# What makes a folder an adapter. Pickled tensors count here; loading refuses them by name.
WEIGHTS = (PEFT_WEIGHTS, OWN_WEIGHTS, "adapter_model.bin")

LONGEST_NAME = 64  # characters, and at most 192 bytes: a name, a prefix and a suffix fit a file system's 255
FORBIDDEN = '/\\:*?"<>|'  # separators, and what Windows refuses in a file name
DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"}
NEAREST = 3  # names that an error proposes
LISTED = 20  # names that an error lists


class BadName(UserError):
    """A name that cannot be an adapter's."""


class UnknownAdapter(UserError):
    """No adapter by that name or path."""


class NameTaken(UserError):
    """The name stands for another adapter already."""


def home() -> Path:
    """The store's folder; it may not exist yet."""
    if place := os.environ.get(HOME):
        return Path(place).expanduser().absolute() / "adapters"
    import platformdirs

    return Path(platformdirs.user_data_dir("ia3_speech", appauthor=False)) / "adapters"


def check_name(name: str) -> str:
    """`name` in Unicode's composed form (NFC), if it can be an adapter's name on every platform.

    Raises:
        BadName: it is empty, too long, starts with a dot or a dash, ends in a dot or a space, holds a
            separator, a character that Windows refuses or one that can't be printed, or is a device's name.
    """
    name = unicodedata.normalize("NFC", name)
    fault = fault_of(name)
    if fault:
        shown = name if name.isprintable() and len(name) <= LONGEST_NAME else ascii(name[:LONGEST_NAME])
        raise BadName(f"{shown!r} can't be an adapter's name: {fault} (take letters, digits, - and _)")
    return name


def fault_of(name: str) -> str | None:
    """What is wrong with a name, as a phrase; None if nothing is."""
    if not name.strip():
        return "it is empty"
    if len(name) > LONGEST_NAME or len(name.encode(errors="replace")) > 3 * LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} characters"
    if found := [c for c in FORBIDDEN if c in name]:
        return f"it holds {' '.join(found)}"
    if not name.isprintable():
        return "it holds a character that can't be printed"
    if name[0] in ".- " or name[-1] in ". ":
        return "it starts with a dot, a dash or a space, or ends in a dot or a space"
    if name.partition(".")[0].strip().lower() in DEVICES:
        return "Windows keeps it for a device"
    return None


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter: tensors, and a file that says what they are."""
    try:
        return any((folder / m).is_file() for m in MARKS) and any((folder / w).is_file() for w in WEIGHTS)
    except (OSError, ValueError):  # a name too long for the file system, no permission, a zero byte
        return False


def resolve(name_or_path: str | Path) -> Path:
    """The folder of an adapter, given its path, its name, or its id on the Hub (see the top of this module).

    A path may also be that of an experiment, with the adapter in `adapter/` under it.

    Raises:
        UnknownAdapter: nothing is there; the message says where it was looked for, or proposes the nearest
            names.
    """
    text = str(name_or_path)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's own raises for ~nobody)
    if text and (found := at_path(path)):
        return found
    if fault_of(name := unicodedata.normalize("NFC", text)) is None:
        with locked(shared=True):  # not in the moment in which a writer exchanges the folder
            if is_adapter(home() / name):
                return home() / name
        if len(found := experiments_of(name)) == 1:
            return found[0]
    if hub.is_repo_id(text):
        with suppress(hub.HubError):  # `unknown` says why not
            return hub.fetch(text)
    raise UnknownAdapter(unknown(text, path))


def experiments_of(name: str) -> list[Path]:
    """`exp/NAME/adapter`, or where that is none, every `exp/*/NAME/adapter`."""
    if is_adapter(place := Path("exp") / name / "adapter"):
        return [place]
    places = sorted(place for place in Path("exp").glob("*/*/adapter") if place.parent.name == name)
    return [place for place in places if is_adapter(place)]


def at_path(path: Path) -> Path | None:
    """The adapter at a path: the folder itself, or `adapter/` in it, as training leaves it in `--out`."""
    return next((place for place in (path, path / "adapter") if is_adapter(place)), None)


def unknown(text: str, path: Path) -> str:
    """The message for a name or path that leads nowhere."""
    known = list(dict.fromkeys(names() + experiments()))
    by_lower = {name.lower(): name for name in reversed(known)}
    near = [by_lower[hit] for hit in get_close_matches(text.lower(), by_lower, n=NEAREST, cutoff=0.5)]
    with suppress(OSError, ValueError):
        if text and path.is_dir():
            return (
                f"{text}: is a folder without an adapter in it (expected {MARKS[0]} or {MARKS[1]}, and "
                f"tensors){proposal(near)}"
            )
        if text and path.exists():
            return f"{text}: is a file, not an adapter's folder{proposal(near)}"
    if len(several := experiments_of(text)) > 1:
        places = ", ".join(place.parent.as_posix() for place in several[:LISTED])
        return f"{text}: may be any of {places} (give one of these paths)"
    what = "no such folder" if "/" in text or os.sep in text else "no adapter has this name"
    if reason := hub.REFUSED.get(text):
        return f"{text}: no such folder, and as a name on the Hub: {reason}{proposal(near)}"
    if near:
        return f"{text or '(empty)'}: {what}{proposal(near)}"
    if known:
        more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
        return f"{text or '(empty)'}: {what} (there are: {', '.join(known[:LISTED])}{more})"
    return (
        f"{text or '(empty)'}: {what}, and none is registered in {home()} "
        f"(python -m ia3_speech.adapters register FOLDER NAME)"
    )


def proposal(near: list[str]) -> str:
    return f" (nearest names: {', '.join(near)})" if near else ""


def names() -> list[str]:
    """The names of the store, sorted."""
    folder = home()
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.name[0] != "." and is_adapter(entry))
    except OSError:
        return []


def experiments() -> list[str]:
    """The NAMEs of `exp/NAME/adapter` and `exp/*/NAME/adapter` under the working directory, sorted."""
    found = [place for depth in ("*", "*/*") for place in Path("exp").glob(f"{depth}/adapter")]
    return sorted({place.parent.name for place in found if is_adapter(place)})


def register(folder: Path | str, name: str, *, force: bool = False, writer: str | None = None) -> Path:
    """Copy the adapter in `folder` into the store under `name`; returns its place there.

    Registering the same contents again changes nothing.

    Args:
        force: replace whatever stands under that name.
        writer: the recipe that registers it (`egs/medical_dictation`): the same recipe may replace it, and
            what was registered by a variant of it (`egs/medical_dictation, small`).

    Raises:
        BadName: see `check_name`.
        UnknownAdapter: there is no adapter in `folder`.
        NameTaken: other contents stand under that name, and neither `force` nor `writer` allows to replace.
        UserError: the store can't be written.
    """
    name, source = check_name(name), at_path(Path(folder))
    if source is None:
        raise UnknownAdapter(unknown(str(folder), Path(folder)))
    place = home() / name
    with writing(place), locked():
        if place.exists() or place.is_symlink():
            if is_adapter(place) and contents(place) == contents(source):
                return place
            owner = record_of(place).get("writer")
            if not force and (writer is None or writer not in (owner, (owner or "").partition(",")[0])):
                by = f", by {owner}" if owner else ""
                raise NameTaken(
                    f"{name}: another adapter stands under this name ({place}{by}); take another name, or "
                    f"replace it with --force"
                )
        with atomic.replacing(place) as new:
            new.mkdir()
            for file in adapter_files(source):
                shutil.copyfile(file, new / file.name)
            record = {
                "schema": 1,
                "writer": writer,
                "source": os.fsencode(source.absolute()).decode(errors="replace"),
                "registered": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            (new / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return place


def remove(name: str) -> None:
    """Delete an adapter from the store. Raises UnknownAdapter, or UserError where the store is read-only."""
    place = stored(name)
    with writing(place), locked():
        doomed = place.with_name(f".{place.name}.removed.{os.getpid()}")  # gone under its name in one step
        try:
            place.rename(doomed)
        except FileNotFoundError:
            raise UnknownAdapter(unknown(name, Path(name))) from None
        shutil.rmtree(doomed)


def rename(old: str, new: str) -> Path:
    """Give an adapter of the store another name. Raises UnknownAdapter, BadName, NameTaken, UserError."""
    place, target = stored(old), home() / check_name(new)
    with writing(place), locked():
        if target.exists() and not (place.exists() and target.samefile(place)):  # A → a on macOS and Windows
            raise NameTaken(f"{new}: another adapter stands under this name ({target}); remove it first")
        try:
            place.rename(target)
        except FileNotFoundError:
            raise UnknownAdapter(unknown(old, Path(old))) from None
    return target


def stored(name: str) -> Path:
    """The place of a name that is in the store (paths and experiments don't count)."""
    place = home() / check_name(name)
    if not is_adapter(place):
        raise UnknownAdapter(unknown(name, Path(name)))
    return place


def record_of(place: Path) -> dict[str, Any]:
    """`store.json` of a registered adapter; empty where it is missing or damaged."""
    try:
        record = json.loads((place / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def adapter_files(folder: Path) -> list[Path]:
    """The files that make up an adapter: adapters are flat, and hidden files are other programs' affair."""
    files = [file for file in folder.iterdir() if file.is_file() and file.name[0] != "."]
    return sorted(file for file in files if file.name != RECORD)


def contents(folder: Path) -> dict[str, str]:
    """File name → SHA-256, of all that makes up an adapter."""
    return {file.name: sha256(file) for file in adapter_files(folder)}


def weights_sha256(folder: Path) -> str:
    """What `sha256sum` says of an adapter's tensors: its identity in records of experiments."""
    return sha256(next(folder / name for name in WEIGHTS if (folder / name).is_file()))


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def locked(shared: bool = False) -> Iterator[None]:
    """Hold the store's lock: many readers or one writer. Readers of a read-only store go without."""
    try:
        import fcntl
    except ImportError:  # not on Windows: a folder still appears in one step, two writers may collide
        yield
        return
    try:
        lock = (home() / ".lock").open("a")
    except OSError:
        if not shared:
            raise
        yield
        return
    with lock:
        with suppress(OSError):  # network file systems without locks
            fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Make the store's folder where it is missing; what the disk refuses is the user's to cure."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or place}: {error.strerror or error} (the store is {place.parent}; set {HOME} "
            f"to a folder that you may write to)"
        ) from error
