"""A bank whose adapters are loaded from disk when a request first needs them.

In: the terms of an `AdapterSpec` for each waveform. Out: logits. The bank's name of an adapter is its folder,
so a name can't mean another request's adapter. An adapter whose files have changed replaces its earlier
version. `session.Session` and the server's engine use the cache.
"""

from collections import OrderedDict
from collections.abc import Container, Sequence
from math import inf
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.adapters import registry
from ia3_speech.adapters.bank import Bank, RowAdapter
from ia3_speech.adapters.io import read_adapter
from ia3_speech.adapters.load import warn_of_ones
from ia3_speech.adapters.spec import Term, stamp_of, term_at

if TYPE_CHECKING:
    from torch import Tensor

Terms = tuple[Term, ...]


class AdapterCache:
    """Computes logits with adapters that it loads into a bank on demand. Beyond `max_adapters` or `max_bytes`
    the least recently used adapters are unloaded. Without limits any thread may use it; with limits, one
    thread at a time."""

    def __init__(self, bank: Bank, max_adapters: float = inf, max_bytes: float = inf):
        self.bank, self.max_adapters, self.max_bytes = bank, max_adapters, max_bytes
        self.loaded: OrderedDict[Path, Term] = OrderedDict()
        self.lock = Lock()

    def logits(
        self, waves: Sequence[np.ndarray], rows: Sequence[Terms], features: "Sequence[Tensor] | None" = None
    ) -> "list[Tensor]":
        """One (frames, vocabulary) tensor for each row; see `Bank.logits`."""
        names = [self.row(terms) for terms in rows]
        return self.bank.logits(waves, names, any_length=True, features=features)

    def row(self, terms: Terms, keep: Container[Path] = ()) -> RowAdapter:
        """The bank's row for this sum, whose adapters are loaded if necessary. The folders in `keep`, the
        batch's adapters, stay loaded. Raises AdapterError if an adapter can't be loaded."""
        with self.lock:
            for term in terms:
                self.load(term, keep)
                self.loaded.move_to_end(term.folder)
        return tuple((term.folder, term.weight) for term in terms)

    def load(self, term: Term, keep: Container[Path]) -> None:
        """Load an adapter unless its current version is loaded."""
        known = self.loaded.get(term.folder)
        # A request that is older than the loaded version gets the loaded version.
        if known and known.stamp in (term.stamp, stamp_of(term.folder)):
            return
        with registry.without_writers():
            current = term_at(term.name, term.folder)
            adapter = read_adapter(self.bank.base.model, current)
        warn_of_ones(adapter)
        put = self.bank.replace if known else self.bank.add
        put(term.folder, adapter)
        self.loaded[term.folder] = current
        for folder in [folder for folder in self.loaded if folder not in keep and folder != term.folder]:
            if len(self.loaded) <= self.max_adapters and self.bank.nbytes <= self.max_bytes:
                break
            self.drop(folder)

    def drop(self, folder: Path) -> None:
        """Unload the adapter of a folder, if it is loaded."""
        if self.loaded.pop(folder, None):
            self.bank.drop(folder)
