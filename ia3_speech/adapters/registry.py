"""The registry of adapters: a name like `speaker42` → an adapter's folder on disk.

    ia3-speech adapters register exp/NAME speaker42

In: the value of `--adapter`. Out: a folder that holds an adapter, or an error with the nearest names. The
look-up tries in this order: a path; the registry, `$IA3_SPEECH_HOME/adapters` (without that variable, the
platform's folder for user data); `exp/NAME/adapter` under the working directory; USER/NAME on the Hugging
Face Hub (see `hub`).

The registry has a folder for each adapter. It holds the adapter's files, `store.json` with their source, and
perhaps a language model and hot words. A replaced adapter may stay as NAME@1, then NAME@2. Writers take a
lock, copy into a temporary folder and move it in, so no reader sees half an adapter.
"""

import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any

from ia3_speech.adapters.card import is_biometric
from ia3_speech.adapters.record import METADATA, PEFT_CONFIG, PLACED, SEARCH_FILES, read_json, read_summary
from ia3_speech.adapters.weights import read_weights, tensor_files, weights_sha256
from ia3_speech.common.atomic import remove_leftovers, replacing, write_json
from ia3_speech.common.errors import BadName, NameTaken, UnknownAdapter, UserError
from ia3_speech.common.formatting import shorten

HOME = "IA3_SPEECH_HOME"
REGISTRATION = "store.json"  # where an adapter came from, beside its files
USED = ".used"  # beside these, changed on each day on which the adapter is used
DAY = 24 * 3600.0  # seconds

MAX_NAME = 64  # characters, and at most 192 bytes: with a prefix and a suffix a file system allows 255
VERSION = re.compile(r"(@\d{1,6})+$")  # the end of an earlier adapter's name
FORBIDDEN = '/\\:,*?"<>|'  # separators of folders and of names, and characters that Windows refuses
RESERVED = ("auto", "mini", "none")  # words that mean something else
MAX_NEAREST = 3  # names that an error proposes
MAX_LISTED = 20  # names that an error lists


def home() -> Path:
    """The folder in which ia3-speech stores files for this user; it may not exist yet."""
    if folder := os.environ.get(HOME):
        return Path(folder).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("ia3_speech", appauthor=False))


def adapters_dir() -> Path:
    """The registry's folder; it may not exist yet."""
    return home() / "adapters"


def check_name(name: str) -> str:
    """`name` in Unicode's composed form (NFC). Raises BadName if `name_fault` finds a fault."""
    name = unicodedata.normalize("NFC", name)
    if fault := name_fault(name):
        shown = repr(name[:MAX_NAME])
        raise BadName(f"{shown} can't be an adapter's name: {fault} (letters, digits, - and _ are safe)")
    return name


def name_fault(name: str) -> str | None:
    """The fault of a name, as a phrase; None if it has none."""
    if not name.strip():
        return "it is empty"
    stem = VERSION.sub("", name)
    if len(stem) > MAX_NAME or len(stem.encode(errors="replace")) > 3 * MAX_NAME:
        return f"it is longer than {MAX_NAME} characters"
    if name in RESERVED:
        return "it has a meaning of its own"
    if forbidden := [character for character in FORBIDDEN if character in name]:
        return f"it holds {' '.join(forbidden)}"
    if not name.isprintable():
        return "it holds a character that can't be printed"
    if name[0] in ".- " or name[-1] in ". ":
        return "it starts with a dot, a dash or a space, or ends in a dot or a space"
    return None


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter: tensors, and a file that describes them."""
    try:
        is_described = any((folder / name).is_file() for name in (METADATA, PEFT_CONFIG))
        return is_described and bool(tensor_files(folder))
    except (OSError, ValueError):  # a name too long for the file system, no permission, a zero byte
        return False


def adapter_at(path: Path) -> Path | None:
    """The adapter at a path: the folder itself, or `adapter/` in it, which training writes."""
    return next((folder for folder in (path, path / "adapter") if is_adapter(folder)), None)


def resolve_adapter(name_or_path: str | Path) -> Path:
    """The folder of an adapter, given its path, its name, or its id on the Hub (see the top of this module).

    Raises:
        UnknownAdapter: there is none; the message proposes the nearest names.
    """
    text, hub_failure = str(name_or_path), ""
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's own raises for ~nobody)
    if text and (folder := adapter_at(path)):
        return folder
    if name_fault(name := unicodedata.normalize("NFC", text)) is None:
        if is_registered(name):
            return adapters_dir() / name
        if folder := experiments().get(name):
            return folder
    from ia3_speech.adapters.hub import fetch, is_repo_id  # names are rarely the Hub's
    from ia3_speech.common.errors import HubError

    if is_repo_id(text):
        try:
            return fetch(text)
        except HubError as error:
            hub_failure = error.reason
    raise UnknownAdapter(not_found(text, path, hub_failure))


def is_registered(name: str) -> bool:
    """Whether an adapter has this name. Waits while another process writes the registry, since it may replace
    the adapter."""
    if not is_adapter(adapters_dir() / name):
        with without_writers():
            pass
    return is_adapter(adapters_dir() / name)


def experiments() -> dict[str, Path]:
    """NAME → `exp/NAME/adapter` under the working directory."""
    return {folder.parent.name: folder for folder in filter(is_adapter, Path("exp").glob("*/adapter"))}


def not_found(text: str, path: Path, hub_failure: str = "") -> str:
    """The message for a name or path without an adapter; `hub_failure` is the Hub's reason, if it was
    asked."""
    known = {name: name for name in registered_names()}
    known |= {name: f"{name} (in ./exp)" for name in sorted(experiments()) if name not in known}
    near = [known[name] for name in get_close_matches(text, known, n=MAX_NEAREST, cutoff=0.5)]
    nearest = f" (nearest names: {', '.join(near)})" if near else ""
    with suppress(OSError, ValueError):
        if text and path.exists():
            return f"{text}: {path_fault(path)}{nearest}"
    if hub_failure:
        return f"{text}: no such folder, and as a name on the Hub: {hub_failure}{nearest}"
    fault = "no such folder" if "/" in text or os.sep in text else "no adapter has this name"
    if known and not nearest:
        nearest = f" (there are: {shorten(list(known.values()), most=MAX_LISTED)})"
    none = f", and none is registered in {adapters_dir()} (ia3-speech adapters register FOLDER NAME)"
    return f"{text or '(empty)'}: {fault}{nearest or none}"


def path_fault(path: Path) -> str:
    """The reason, as a phrase, why an existing path holds no adapter."""
    if not path.is_dir():
        return "is a file, not an adapter's folder"
    names = {entry.name for entry in path.iterdir()}
    weights = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"}
    if "trainer_state.json" in names or ("config.json" in names and weights & names):
        return (
            "holds a whole model, and no adapter beside it (let the Trainer store an adapter in each "
            "checkpoint: callbacks=[AdapterCallback(base)], also when it resumes from this checkpoint)"
        )
    return f"is a folder without an adapter in it (expected {METADATA} or {PEFT_CONFIG}, and tensors)"


def registered_names() -> list[str]:
    """The registered names, sorted."""
    with suppress(OSError):
        return sorted(
            entry.name for entry in adapters_dir().iterdir() if entry.name[0] != "." and is_adapter(entry)
        )
    return []


def register(
    folder: Path | str,
    name: str,
    *,
    force: bool = False,
    keep: bool = False,
    search_files: Mapping[str, bytes] | None = None,
    sender: str | None = None,
) -> Path:
    """Copy the adapter in `folder` into the registry under `name`; returns its folder there. Registering the
    same contents again changes nothing.

    Args:
        force: replace another adapter of this name.
        keep: rename the other adapter to NAME@1, or the next free number.
        search_files: name → contents, of the language model and hot words (`SearchOptions.stored`).
        sender: the source, if it is on another machine: the record then names no data here.

    Raises:
        NameTaken: another adapter has this name, and neither `force` nor `keep` is given.
        UserError: the name is not allowed, there is no adapter, or the registry can't be written.
    """
    name, folder = check_name(name), Path(folder)
    source = adapter_at(folder)
    if source is None:
        fault = path_fault(folder) if folder.exists() else "no such folder"
        raise UnknownAdapter(f"{folder}: {fault}")
    target, contents = adapters_dir() / name, file_contents(source) | (search_files or {})
    with writing(target):
        remove_leftovers(target)
        if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
            target.rmdir()  # `remove` was killed
        if target.exists():
            if is_adapter(target) and file_contents(target) == contents:
                return target
            if keep:
                places = (adapters_dir() / check_name(f"{name}@{number}") for number in count(1))
                with replacing(next(place for place in places if not place.exists())) as old:
                    shutil.copytree(target, old)
            elif not force:
                raise NameTaken(
                    f"{name}: another adapter has this name ({target}); take another name, replace it with "
                    f"`force`, or keep it as {name}@1 (ia3-speech adapters register --keep)"
                )
        if target.is_symlink():  # a user's link: its target stays
            target.unlink()
        with replacing(target) as new:
            new.mkdir()
            for file, content in contents.items():
                (new / file).write_bytes(content)
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            record = {"schema": 1, "source": sender or unicode_path(source), "registered": now}
            if not sender and (data := recorded_data(source)):
                record["data"] = unicode_path(data)
            write_json(new / REGISTRATION, record)
    return target


def unicode_path(path: Path) -> str:
    return os.fsencode(path.absolute()).decode(errors="replace")  # the path may not be UTF-8


def remove(name: str) -> None:
    """Delete an adapter from the registry. Raises UserError if there is none, or if it can't be deleted."""
    folder = adapters_dir() / check_name(name)
    with writing(folder):
        remove_leftovers(folder)
        if not is_adapter(folder):
            raise UnknownAdapter(not_found(name, Path(name)))
        if folder.is_symlink():  # a user's link: its target stays
            folder.unlink()
            return
        with replacing(folder) as empty:  # so that a kill leaves no half adapter under the name
            empty.mkdir()
        shutil.rmtree(folder)  # a request may just have noted its use


def note_use(folder: Path) -> None:
    """Note that the adapter in a folder is used now, if it is registered: the time of its file USED, with a
    day's resolution. A registry that is read-only stays as it is."""
    file = folder / USED
    if folder.parent == adapters_dir() and not folder.is_symlink():
        with suppress(OSError):
            if not file.exists() or time.time() - file.stat().st_mtime > DAY:
                file.touch()


def rename(name: str, new: str) -> None:
    """Give a registered adapter a name that no adapter has. Raises UserError if the registry is read-only."""
    with writing(adapters_dir() / new):
        (adapters_dir() / name).rename(adapters_dir() / new)


def registration_of(folder: Path) -> dict[str, Any]:
    """`store.json` of a registered adapter: schema, source, registered, and perhaps data, its training
    directory; empty if it can't be read."""
    with suppress(UserError):
        return read_json(folder / REGISTRATION)
    return {}


def registered_name(folder: Path) -> str | None:
    """The name of a registered adapter; None for another folder."""
    return folder.name if folder.parent == adapters_dir() else None


def describe_adapter(folder: Path) -> dict[str, Any]:
    """The facts in an adapter's record, its tensors and its registration."""
    summary, registration = read_summary(folder), registration_of(folder)
    config, parameters = summary.get("config") or {}, None
    placed = str(config.get("method", "ia3")).partition(":")[0] in ("ia3", *PLACED)
    with suppress(UserError):
        parameters = sum(tensor.size for tensor in read_weights(folder).values())
    entry = {
        "name": registered_name(folder),
        "path": str(folder.absolute()),
        "base": summary.get("base"),
        "method": config.get("method"),
        "placements": config.get("placements") if placed else None,
        "layers": config.get("layers") if placed else None,
        "parameters": parameters,
        "labels": summary.get("labels") or None,
        "biometric": is_biometric(summary) or None,
        "training": summary.get("training") or None,
        "scores": summary.get("scores") or None,
        "gate": summary.get("gate"),
        "created": summary.get("created"),
        "sha256": weights_sha256(folder),
        "search": [name for name in SEARCH_FILES if (folder / name).is_file()] or None,
        "source": registration.get("source"),
        "registered": registration.get("registered"),
    }
    return {name: value for name, value in entry.items() if value is not None}


def training_data(folder: Path) -> Path | None:
    """The data directory that an adapter was trained on, if it still exists. For a registered adapter it is
    the directory that `register` recorded, since the adapter's record may come from elsewhere."""
    if folder.parent != adapters_dir():
        return recorded_data(folder)
    data = Path(str(registration_of(folder).get("data", "")))
    return data if data.is_absolute() and (data / "utt2spk").is_file() else None


def recorded_data(folder: Path) -> Path | None:
    """The data directory that the record in `folder` names, unless it holds a person's corrections."""
    if not (data := read_summary(folder).get("training", {}).get("data")):
        return None
    # A recipe's path is relative to a parent of the folder.
    places = [place / data for place in (folder, *folder.absolute().parents)]
    voices = (home() / "corrections").resolve()
    places = [place for place in places if not place.resolve().is_relative_to(voices)]
    return next((place for place in places if (place / "utt2spk").is_file()), None)


def adapter_files(folder: Path) -> list[Path]:
    """The files in an adapter's folder, without `store.json` and without other programs' hidden files."""
    files = [file for file in folder.iterdir() if file.is_file() and file.name[0] != "."]
    return sorted(file for file in files if file.name != REGISTRATION)


def file_contents(folder: Path) -> dict[str, bytes]:
    """File name → contents, of `adapter_files`."""
    return {file.name: file.read_bytes() for file in adapter_files(folder)}


@contextmanager
def locked() -> Iterator[None]:
    """Hold the registry's lock, which admits one writer at a time."""
    import filelock

    with filelock.FileLock(adapters_dir() / ".lock"):
        yield


@contextmanager
def without_writers() -> Iterator[None]:
    """Keep writers out. A registry that is read-only, or does not exist yet, has no writers."""
    with ExitStack() as stack:
        if adapters_dir().is_dir():
            with suppress(OSError):
                stack.enter_context(locked())
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Create the registry's folder, hold its lock, and turn the system's errors into a UserError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked():
            yield
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error} (the registry is {folder.parent}; set "
            f"{HOME} to a folder that you may write to)"
        ) from error
