"""Adapters in the bank: loaded on first use; the least recently used leave when there are too many.

In: the adapters of a request, as they lie on disk. Out: the name of a bank's row. All of it runs in the
engine's thread. In the bank an adapter has a number for a name, so that no name or sum of one client can ever
mean another's adapter, and what is stored anew under a name is loaded anew.
"""

import unicodedata
from collections import OrderedDict
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ia3_speech.adapters import registry
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.io import read_adapter
from ia3_speech.adapters.weights import weights_file
from ia3_speech.model.architectures import AdapterError
from ia3_speech.serve.metrics import Metrics


@dataclass(frozen=True)
class StoredAdapter:
    """A registered adapter as it was found.

    Attributes:
        name: in the registry.
        folder: where it lies.
        stamp: of the file of its tensors: another one after each change. It begins with nanoseconds.
    """

    name: str
    folder: Path
    stamp: tuple[int, ...]


Terms = tuple[tuple[StoredAdapter, float], ...]  # a sum of adapters with their weights; none is the base


def find_stored(name: str) -> StoredAdapter | None:
    """The registered adapter of this very name, which is never read as a path."""
    name = unicodedata.normalize("NFC", name)
    if registry.name_fault(name) or not registry.is_adapter(folder := registry.home() / name):
        return None
    try:
        status = weights_file(folder).stat()
    except (AdapterError, OSError):  # it has just been removed
        return None
    return StoredAdapter(name, folder, (status.st_mtime_ns, status.st_size, status.st_ino))


class AdapterCache:
    """The bank's adapters.

    Args:
        max_adapters: that may be loaded at once.
        max_bytes: that their parameters may take.
    """

    def __init__(self, bank: Bank, max_adapters: int, max_bytes: float, metrics: Metrics):
        self.bank, self.max_adapters, self.max_bytes, self.metrics = bank, max_adapters, max_bytes, metrics
        self.loaded: OrderedDict[StoredAdapter, tuple[str, int]] = OrderedDict()  # name in the bank, bytes
        self.count = 0

    def row(self, terms: Terms, keep: set[StoredAdapter]) -> str | None:
        """The bank's name for this sum, whose adapters are loaded where they are not; None is the base.

        Args:
            keep: the batch's adapters, none of which leaves.

        Raises:
            AdapterError: an adapter can't be loaded, or has been removed.
        """
        names = []
        for stored, weight in terms:
            if stored not in self.loaded:
                self.load(stored, keep)
            self.loaded.move_to_end(stored)
            names.append(f"{self.loaded[stored][0]}:{weight!r}")
        return "+".join(names) or None

    def load(self, stored: StoredAdapter, keep: set[StoredAdapter]) -> None:
        with ExitStack() as stack:
            with suppress(OSError):  # a registry that is read-only has no writers
                stack.enter_context(registry.locked())
            adapter = read_adapter(self.bank.base.model, stored.folder)
        size = 4 * sum(tensor.numel() for tensor in adapter.tensors.values())  # the bank's tables are float32
        for other in [one for one in self.loaded if one not in keep]:
            if len(self.loaded) < self.max_adapters and self.nbytes + size <= self.max_bytes:
                break
            self.drop(other)
            self.metrics.evictions.inc()
        self.count += 1
        self.bank.add(f"adapter{self.count}", adapter)
        self.loaded[stored] = (f"adapter{self.count}", size)
        self.metrics.loads.inc()
        self.note()

    def forget(self, name: str) -> None:
        """Unload whatever has this name."""
        for stored in [one for one in self.loaded if one.name == name]:
            self.drop(stored)

    def drop(self, stored: StoredAdapter) -> None:
        self.bank.drop(self.loaded.pop(stored)[0])
        self.note()

    @property
    def nbytes(self) -> int:
        return sum(size for _, size in self.loaded.values())

    def note(self) -> None:
        self.metrics.adapters.set(len(self.loaded))
        self.metrics.adapter_bytes.set(self.nbytes)
