"""Where the recordings and the record of a voice lie, who may write there, and how all of it is deleted.

    corrections/anna/         the recordings and what is said in them (voice.py), beside the registry
    corrections/.anna.lock    held by whoever writes there, or learns from them
    voices/anna/voice.json    whose it is, when consent was given, whether the adapter is made of it
    voices/anna/*.json        how its last job went (serve/jobs.py)

In: a name. Out: a folder, a lock, or what `ia3-speech voices`, the page and an administrator's DELETE delete.
"""

import _thread
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia3_speech import atomic
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json, read_summary
from ia3_speech.errors import StoreLocked, UserError
from ia3_speech.formatting import plural

logger = logging.getLogger(__name__)

VOICE = "voice.json"
REMOVED = "removed"  # in VOICE, while a voice is being deleted
LOCK_SECONDS = 3.0  # for which a writer waits for another
REMOVAL_SECONDS = 60.0  # for which a removal waits until a learning that it interrupts has ended
POLL_SECONDS = 0.2  # between two looks of a learning whether its voice is being deleted
NOBODY = "-"  # the name of clients without a key, which no key has


def store_of(name: str) -> Path:
    """The folder of an adapter's corrections: data/, a Kaldi data directory, and audio/. It may not exist."""
    return registry.home() / "corrections" / registry.check_name(name)


def voice_folder(name: str) -> Path:
    """Where the page keeps what it knows of a voice, and of NAME@1, its earlier adapter. It may not exist."""
    return registry.home() / "voices" / registry.KEPT.sub("", registry.check_name(name))


def voice_record(name: str) -> dict[str, Any]:
    """owner (the name of a key, or None), consent (when), made (whether its adapter was made on the page),
    removed (whether it is being deleted); empty for an adapter that has not begun there."""
    file = None if registry.name_fault(name) else voice_folder(name) / VOICE
    return read_json(file) if file and file.is_file() else {}


def voice_names() -> list[str]:
    """The names that have begun on the page, or have corrections, sorted."""
    begun = {file.parent.name for file in voice_folder("x").parent.glob(f"*/{VOICE}")}
    corrected = {folder.name for folder in store_of("x").parent.glob("*/")}
    return sorted(name for name in begun | corrected if not registry.name_fault(name))


def recordings_of(name: str) -> list[Path]:
    """The files of its recordings."""
    return [*(store_of(name) / "audio").glob("*.flac")]


def versions_of(name: str) -> list[str]:
    """The names in the registry of its adapter and the earlier ones, sorted, also of damaged ones."""
    return sorted(e.name for e in registry.adapters_dir().glob("*") if registry.KEPT.sub("", e.name) == name)


def has_learnt_corrections(version: str) -> bool:
    return "corrections" in read_summary(registry.adapters_dir() / version).get("training", {})


def is_stored(name: str) -> bool:
    """Whether anything but an adapter is stored under a name."""
    return store_of(name).exists() or voice_folder(name).exists()


@contextmanager
def only_writer(name: str, seconds: float | None = None, *, removing: bool = False) -> Iterator[None]:
    """Hold the lock of an adapter's corrections, which a thread that holds it may take again.

    Args:
        seconds: to wait for another writer (default: LOCK_SECONDS).
        removing: hold it also where the voice is being deleted.

    Raises:
        StoreLocked: another command keeps the lock, or the voice is being deleted.
    """
    from filelock import FileLock, Timeout

    store = store_of(name)
    store.parent.mkdir(parents=True, exist_ok=True)
    store.parent.chmod(0o700)
    file = store.with_name(f".{store.name}.lock")
    lock = FileLock(file, is_singleton=True)
    try:
        lock.acquire(timeout=LOCK_SECONDS if seconds is None else seconds)
    except Timeout:
        raise StoreLocked(
            f"{name}: another command is at its corrections (wait until it has ended)"
        ) from None
    try:
        if lock.lock_counter == 1:
            shutil.rmtree(store / "work", ignore_errors=True)  # of a learning that was killed
        if not removing and voice_record(name).get(REMOVED):
            raise StoreLocked(f"{name}: is being deleted (ia3-speech voices remove {name} ends it)")
        yield
    finally:
        if lock.lock_counter == 1 and not is_stored(name):  # nor does the name stay
            file.unlink(missing_ok=True)
        lock.release()


@contextmanager
def interrupted_by_removal(name: str) -> Iterator[None]:
    """Interrupt the main thread, if this is it, as soon as the voice is being deleted. Raises StoreLocked."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            if voice_record(name).get(REMOVED):
                return _thread.interrupt_main()

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if voice_record(name).get(REMOVED):
            raise StoreLocked(f"{name}: is being deleted") from None
        raise
    finally:
        ended.set()


@dataclass
class Removal:
    """What was deleted of a voice.

    Attributes:
        recordings: how many.
        adapters: the names of its adapters, earlier versions too.
        records: whose it was, and its jobs: how many files.
    """

    name: str
    recordings: int
    adapters: list[str]
    records: int

    def __str__(self) -> str:
        return (
            f"{self.name}: deleted {plural(self.recordings, 'recording')} and what is said there; adapters: "
            f"{', '.join(self.adapters) or 'none'}; {plural(self.records, 'file')} on consent and jobs"
        )


def remove_voice(name: str, by: str, *, adapter: bool = True) -> Removal:
    """Delete all that is stored of a voice, also while it learns: that is interrupted.

    The voice is marked first, so that nothing more is stored in it, and its record is deleted last: where
    this ends in the middle, what is left belongs to its owner still, and another call deletes the rest.

    Args:
        by: who deletes it, for the log.
        adapter: delete every adapter of this name and its earlier versions; otherwise, of an adapter that
            was there before the voice, only the versions that have learnt from corrections: the newest other
            version takes the name again.

    Raises:
        UserError: nothing has this name, or (StoreLocked) another command does not end.
    """
    if "@" in (name := registry.check_name(name)):
        raise UserError(f"{name}: is an earlier adapter (ia3-speech adapters remove {name})")
    folder, store = voice_folder(name), store_of(name)
    try:
        record = voice_record(name)
    except UserError:  # damaged: nobody's, until it is gone
        record = {"owner": NOBODY}
    if not is_stored(name) and not (adapter and versions_of(name)):
        raise UserError(f"{name}: there is no voice of this name (ia3-speech voices list)")
    atomic.write_json(folder / VOICE, record | {REMOVED: True})
    with only_writer(name, REMOVAL_SECONDS, removing=True):
        if REMOVED not in voice_record(name):  # another removal was faster, and somebody has begun it again
            raise UserError(f"{name}: has been deleted")
        recordings = len(recordings_of(name))
        if store.exists():
            shutil.rmtree(store)
        adapters = versions_of(name)
        if not (adapter or record.get("made")):
            adapters = list(filter(has_learnt_corrections, adapters))
        for version in adapters:
            with suppress(registry.UnknownAdapter):  # damaged
                registry.remove(version)
            shutil.rmtree(registry.adapters_dir() / version, ignore_errors=True)
        if name in adapters and (earlier := versions_of(name)):
            registry.rename(max(earlier, key=lambda version: (len(version), version)), name)
        files = [file for file in folder.iterdir() if file.name != VOICE]
        for file in files:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        (folder / VOICE).unlink()
        folder.rmdir()
    removal = Removal(name, recordings, adapters, len(files) + bool(record))
    logger.info("%s, by %s", removal, by)
    return removal
