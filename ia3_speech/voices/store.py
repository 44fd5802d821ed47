"""The store of a voice's recordings and record: folders, lock, deletion.

corrections/anna/         the recordings and their texts (voice.py), beside the registry
corrections/.anna.lock    held by a process that writes there or learns
voices/anna/voice.json    owner, date of consent, whether the adapter was made of the recordings
voices/anna/*.json        the state of its last job (serve/jobs.py)
"""

import _thread
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json, read_summary
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.common import atomic
from ia3_speech.common.errors import StoreLocked, UserError
from ia3_speech.common.formatting import plural

VOICE = "voice.json"
REMOVED = "removed"  # in VOICE, while a voice is being deleted
LOCK_SECONDS = 3.0  # a writer waits for another writer
REMOVAL_SECONDS = 60.0  # a removal waits for the end of the training that it interrupts
POLL_SECONDS = 0.2  # between two checks whether the voice is being deleted
REPEAT_SECONDS = 5.0  # after which an interruption is repeated: a library may swallow the exception
NOBODY = "-"  # the owner of voices of clients without a key


def store_of(name: str) -> Path:
    """The folder of a name's corrections: data/, a Kaldi data directory, and audio/. It may not exist."""
    return registry.home() / "corrections" / registry.check_name(name)


def voice_folder(name: str) -> Path:
    """The folder of a voice's record and jobs, also for its earlier adapter, NAME@1. It may not exist."""
    return registry.home() / "voices" / registry.VERSION.sub("", registry.check_name(name))


def voice_record(name: str) -> dict[str, Any]:
    """owner (the name of a key, or None), consent (date), made (whether its adapter was made on the page),
    removed (whether it is being deleted); empty for an adapter that has not begun there."""
    file = None if registry.name_fault(name) else voice_folder(name) / VOICE
    return read_json(file) if file and file.is_file() else {}


def voice_names() -> list[str]:
    """The names with a record or with corrections, sorted."""
    recorded = {file.parent.name for file in voice_folder("x").parent.glob(f"*/{VOICE}")}
    corrected = {folder.name for folder in store_of("x").parent.glob("*/")}
    return sorted(name for name in recorded | corrected if not registry.name_fault(name))


def recordings_of(name: str) -> list[Path]:
    return [*(store_of(name) / "audio").glob("*.flac")]


def versions_of(name: str) -> list[str]:
    """The registered names of the adapter and its earlier versions, even damaged ones, sorted."""
    folders = registry.adapters_dir().glob("*")
    return sorted(folder.name for folder in folders if registry.VERSION.sub("", folder.name) == name)


def now() -> str:
    """The time in UTC: 2026-01-31T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def is_stored(name: str) -> bool:
    """Whether recordings or a record are stored under a name."""
    return store_of(name).exists() or voice_folder(name).exists()


@contextmanager
def only_writer(name: str, seconds: float | None = None, *, removing: bool = False) -> Iterator[None]:
    """A context that holds the lock of a name's corrections; a thread may enter it again.

    Args:
        seconds: how long to wait for another writer (default: LOCK_SECONDS).
        removing: take the lock even if the voice is being deleted.

    Raises:
        StoreLocked: another command holds the lock, or the voice is being deleted.
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
        raise StoreLocked(f"{name}: another command uses its corrections (wait until it has ended)") from None
    try:
        if lock.lock_counter == 1:
            shutil.rmtree(store / "work", ignore_errors=True)  # a killed training left it
        if not removing and voice_record(name).get(REMOVED):
            raise StoreLocked(f"{name}: is being deleted (ia3-speech voices remove {name} completes it)")
        yield
    finally:
        if lock.lock_counter == 1 and not is_stored(name):  # the name leaves no trace
            file.unlink(missing_ok=True)
        lock.release()


@contextmanager
def interrupted_by_removal(name: str) -> Iterator[None]:
    """A context that raises StoreLocked as soon as the voice is being deleted, in the main thread only."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            if voice_record(name).get(REMOVED):
                _thread.interrupt_main()
                ended.wait(REPEAT_SECONDS)

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


def last_used(name: str) -> float:
    """The Unix time at which a voice was last changed, or used for recognition (see `registry.note_use`)."""
    folders = [store_of(name), voice_folder(name)]
    folders += [registry.adapters_dir() / version for version in versions_of(name)]
    files = [file for folder in folders if folder.exists() for file in (folder, *folder.rglob("*"))]
    return max((file.stat().st_mtime for file in files), default=time.time())


class Removal(NamedTuple):
    """The data of a deleted voice."""

    name: str
    recordings: int
    adapters: list[str]  # earlier versions too, and other adapters of this person alone
    files: int  # on consent and jobs
    shared: list[str]  # adapters of this and other people's speech, which stay

    def __str__(self) -> str:
        names = ", ".join(self.shared)
        commands = "; ".join(f"ia3-speech adapters remove {name}" for name in self.shared)
        return (
            f"{self.name}: deleted {plural(self.recordings, 'recording')} with texts; adapters: "
            f"{', '.join(self.adapters) or 'none'}; {plural(self.files, 'file')} on consent and jobs"
            f"{f'; of this and other speech, and still there: {names} ({commands})' if names else ''}"
        )


def adapters_with_voice(name: str, deleted: Collection[str], *, whole: bool) -> dict[str, bool]:
    """Other registered adapters that a voice is a part of → whether they may hold the speech of others, too.

    A person's copies, and sums of nothing else, hold none. Other sums, means, adapters whose training started
    from the voice's, and adapters with its speaker label (which anybody may have written) may.

    Args:
        deleted: the voice's adapters that are deleted; a sum is also found by the checksums of its terms.
        whole: the voice is deleted with all its adapters: names and speaker labels count, too.
    """
    folders = {each: registry.adapters_dir() / each for each in registry.registered_names()}
    hashes = {each: weights_sha256(folder) for each, folder in folders.items()}
    records = {each: read_summary(folder) for each, folder in folders.items()}
    own = [version for version in deleted if version in folders]
    labels = {str(records[version].get("labels", {}).get("speaker", name)) for version in own}
    person = {hashes[version] for version in own} | ({name, *deleted} if whole else set())
    parts, found = person | (labels if whole else set()), {}
    while True:  # a sum of sums names only these
        known = len(parts)
        for other in folders.keys() - {*deleted} - found.keys():
            training = records[other].get("training", {})
            terms = training["terms"] if isinstance(training.get("terms"), list) else []
            terms = [{str(t.get("name")), str(t.get("sha256"))} for t in terms if isinstance(t, dict)]
            hints = str(records[other].get("labels", {}).get("speaker")).split("+")
            hints += [hashes[other], str(training.get("init_adapter"))]
            if parts.intersection(hints) or any(term & parts for term in terms):
                is_copy = hashes[other] in person and hints[0] != "None"  # with a speaker's label
                alone = is_copy or (terms and all(term & person for term in terms))
                found[other] = not alone or is_stored(other)
                parts |= {other, hashes[other]}
        if len(parts) == known:
            return dict(sorted(found.items()))


def remove_voice(
    name: str, *, adapter: bool = True, may_remove: Callable[[str], bool] = lambda name: True
) -> Removal:
    """Delete everything that is stored of a voice; its training is interrupted. Other adapters with this
    person's speech alone are deleted, too; see `adapters_with_voice`.

    The voice is marked first, so that nothing more is stored in it, and its record is deleted last: after an
    interruption the rest still belongs to its owner, and another call deletes it.

    Args:
        adapter: delete the adapter and its earlier versions. Otherwise, if the adapter is older than the
            voice, only the versions that were trained on corrections are deleted; the newest of the others
            takes the name again.
        may_remove: whether another adapter of this name may be deleted; else it counts as shared.

    Raises:
        UserError: nothing has this name, or (StoreLocked) another command does not end.
    """
    if "@" in (name := registry.check_name(name)):
        raise UserError(f"{name}: is an earlier adapter (ia3-speech adapters remove {name})")
    folder, store = voice_folder(name), store_of(name)
    try:
        record = voice_record(name)
    except UserError:  # damaged: it belongs to nobody
        record = {"owner": NOBODY}
    if not is_stored(name) and not (adapter and versions_of(name)):
        raise UserError(f"{name}: there is no voice of this name (ia3-speech voices list)")
    atomic.write_json(folder / VOICE, record | {REMOVED: True})
    with only_writer(name, REMOVAL_SECONDS, removing=True):
        if REMOVED not in voice_record(name):  # another removal was faster, and a new voice has the name
            raise UserError(f"{name}: has been deleted")
        recordings, adapters = len(recordings_of(name)), versions_of(name)
        shutil.rmtree(store, ignore_errors=not store.exists())
        if not (adapter or record.get("made")):
            trainings = {v: read_summary(registry.adapters_dir() / v).get("training", {}) for v in adapters}
            adapters = [version for version in adapters if "corrections" in trainings[version]]
        related = adapters_with_voice(name, adapters, whole=adapter or bool(record.get("made")))
        shared = [other for other, is_shared in related.items() if is_shared or not may_remove(other)]
        adapters += [other for other in related if other not in shared]
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
    return Removal(name, recordings, adapters, len(files) + bool(record), shared)
