"""Adapters on disk that are loaded into a bank when a request first names them.

In: adapters as they are found on disk, with weights. Out: the name of a row of the bank, where an adapter has
a number for a name, so that no name or sum of one request can ever mean another's, and what is stored anew
under a name is loaded anew. `loading.load` and the server (serve/engine.py) use it.
"""

import unicodedata
from collections import OrderedDict
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from pathlib import Path
from threading import Lock

from ia3_speech.adapters import registry
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.io import read_adapter
from ia3_speech.adapters.weights import weights_file
from ia3_speech.errors import AdapterError


@dataclass(frozen=True)
class StoredAdapter:
    """A registered adapter as it was found."""

    name: str
    folder: Path
    stamp: tuple[int, ...]  # of the file of its tensors, another after each change; begins with nanoseconds


Terms = tuple[tuple[StoredAdapter, float], ...]  # a sum of adapters with their weights; none is the base


def stored_adapter(name: str, folder: Path) -> StoredAdapter:
    """As it is found now. Raises AdapterError, OSError where it is not there."""
    status = weights_file(folder).stat()
    return StoredAdapter(name, folder, (status.st_mtime_ns, status.st_size, status.st_ino))


def find_stored(name: str) -> StoredAdapter | None:
    """The registered adapter of this very name, which is never read as a path. Waits for a writer."""
    name = unicodedata.normalize("NFC", name)
    if registry.name_fault(name) or not registry.is_registered(name):
        return None
    with suppress(AdapterError, OSError):  # it has just been removed
        return stored_adapter(name, registry.adapters_dir() / name)
    return None


class AdapterCache:
    """The bank's adapters: loaded on first use; the least recently used leave. For any thread where none ever
    has to leave, else for one. At most `max_adapters` are loaded at once, of at most `max_bytes`."""

    def __init__(self, bank: Bank, max_adapters: float = inf, max_bytes: float = inf):
        self.bank, self.max_adapters, self.max_bytes = bank, max_adapters, max_bytes
        self.loaded: OrderedDict[StoredAdapter, str] = OrderedDict()  # their names in the bank
        self.numbers, self.lock = count(1), Lock()

    def row(self, terms: Terms, keep: Container[StoredAdapter] = ()) -> str | None:
        """The bank's name for this sum, whose adapters are loaded where they are not; None is the base. None
        of `keep`, the batch's adapters, leaves. Raises AdapterError where an adapter can't be loaded, or has
        been removed."""
        with self.lock:
            for stored, _ in terms:
                if stored not in self.loaded:
                    self.load(stored, keep)
                self.loaded.move_to_end(stored)
            return "+".join(f"{self.loaded[stored]}:{weight!r}" for stored, weight in terms) or None

    def load(self, stored: StoredAdapter, keep: Container[StoredAdapter]) -> None:
        with registry.without_writers():
            adapter = read_adapter(self.bank.base.model, stored.folder)
        name = f"adapter{next(self.numbers)}"
        self.bank.add(name, adapter)
        for other in [one for one in self.loaded if one not in keep]:
            if len(self.bank) <= self.max_adapters and self.bank.nbytes <= self.max_bytes:
                break
            self.drop(other)
        self.loaded[stored] = name

    def forget(self, name: str) -> None:
        """Unload whatever is registered under this name."""
        for stored in [one for one in self.loaded if one.name == name]:
            self.drop(stored)

    def drop(self, stored: StoredAdapter) -> None:
        self.bank.drop(self.loaded.pop(stored))
