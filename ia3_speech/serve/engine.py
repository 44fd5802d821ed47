"""The queue in front of the bank: common batches of waveforms of many requests, each with its adapters.

    request A   |----15 s----|----15 s----|----15 s----| …      (an hour's recording, cut)
    request B   |-3 s-|                                          another adapter
    request C   |--4 s--|                                        the base
    batches     [A1] [B1 C1] [A2 A3] …

In: pieces of audio from any thread. Out: for each piece a future of its logits. A single thread makes
batches, loads their adapters, and computes; other threads change the bank between batches.

The order is start-time fair queuing (Goyal, Vin and Cheng 1996). A request's pieces follow each other in
virtual time, each as long as its audio; a new request starts at the current virtual time. So a short request
is computed next, even if an hour's recording has many pieces in the queue, and the recording gets its share
among a thousand short requests. Pieces of similar length join the next piece in a batch. A batch that is not
full waits for more pieces, but never longer than `max_wait` after the arrival of its oldest piece.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from torch import Tensor

from ia3_speech.adapters import registry
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.cache import AdapterCache, Terms
from ia3_speech.adapters.spec import find_registered
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.serve.monitoring import Metrics
from ia3_speech.serve.options import EngineOptions

logger = logging.getLogger(__name__)

LENGTH_RATIO = 2.0  # of the longest to the shortest piece of a batch: at most half of it is padding


class ClientLeft(Exception):
    """The client no longer waits for the result."""


class EngineClosed(Exception):
    """The engine has ended and computes nothing."""


@dataclass(order=True)
class QueuedPiece:
    """A piece of audio that waits for its batch; ordered by virtual time."""

    start: float
    number: int
    wave: np.ndarray = field(compare=False)
    terms: Terms = field(compare=False)
    future: Future[Tensor] = field(compare=False, default_factory=Future)
    arrived: float = field(compare=False, default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return len(self.wave) / SAMPLE_RATE


class QueueHandle:
    """A request's place in the queue."""

    def __init__(self, engine: "Engine"):
        self.engine, self.cancelled = engine, False
        self.end = 0.0  # of its last piece, in virtual time
        self.futures: list[Future] = []

    def cancel(self) -> None:
        """The request is over, or the client has left: cancel the pieces that still wait."""
        self.cancelled = True
        for future in self.futures:
            future.cancel()

    def logits(self, waves: Sequence[np.ndarray], rows: Sequence[Terms]) -> list[Tensor]:
        """A (frames, vocabulary) tensor for each wave, with its row's terms; blocks until they are computed.

        Raises:
            ClientLeft: `cancel` was called.
            EngineClosed: the engine has ended.
            AdapterError: an adapter can't be loaded.
        """
        self.futures = [self.engine.submit(*pair, self) for pair in zip(waves, rows, strict=True)]
        try:
            if self.cancelled:
                raise CancelledError
            return [future.result() for future in self.futures]
        except CancelledError:
            raise ClientLeft from None
        finally:  # after a failure the other pieces are not needed
            for future in self.futures:
                future.cancel()


class Engine:
    """The queue, its thread, and the cache of adapters. Close it to end the thread and restore the base."""

    def __init__(self, bank: Bank, options: EngineOptions, metrics: Metrics):
        self.cache = AdapterCache(bank, options.max_adapters, options.max_memory * 1e6)
        self.batch_seconds, self.max_wait = options.batch_seconds, options.max_wait_ms / 1000
        self.metrics = metrics
        self.changed, self.computing = threading.Condition(), threading.Lock()
        self.rows: list[QueuedPiece] = []
        self.now = 0.0  # virtual time: the start of the last piece that left the queue
        self.numbers = count(1)
        self.closing = False
        metrics.waiting.set_function(lambda: len(self.rows))
        metrics.adapters.set_function(lambda: len(self.cache.loaded))
        metrics.adapter_bytes.set_function(lambda: bank.nbytes)
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    def submit(self, wave: np.ndarray, terms: Terms, handle: QueueHandle) -> Future[Tensor]:
        """Put a piece of audio into the queue; returns the future of its logits."""
        with self.changed:
            if self.closing:
                raise EngineClosed
            start = max(self.now, handle.end)
            row = QueuedPiece(start, next(self.numbers), wave, terms)
            handle.end = start + row.seconds
            self.rows.append(row)
            self.changed.notify()
        return row.future

    def forget(self, name: str) -> None:
        """Unload the adapter that is registered under a name; waits for the end of a batch."""
        with self.computing:
            self.cache.drop(registry.adapters_dir() / name)

    def forget_removed(self) -> None:
        """Unload adapters that have been removed from the registry, or replaced there."""
        for term in [*self.cache.loaded.values()]:
            if find_registered(term.name) != term:
                self.forget(term.name)

    def close(self) -> None:
        """Refuse new pieces, compute the waiting pieces, then end the thread, and unload all adapters."""
        with self.changed:
            self.closing = True
            self.changed.notify()
        self.thread.join()
        for folder in [*self.cache.loaded]:
            self.cache.drop(folder)

    def run(self) -> None:
        batch: list[QueuedPiece] = []
        try:
            while batch := self.next_batch():
                with self.computing:
                    self.compute([row for row in batch if row.future.set_running_or_notify_cancel()])
        finally:  # whatever happens, no caller waits forever
            with self.changed:
                self.closing = True
            for row in [*batch, *self.rows]:
                if not row.future.done():
                    row.future.set_exception(EngineClosed())

    def next_batch(self) -> list[QueuedPiece]:
        """The next batch, removed from the queue; empty when the engine is closed and its queue is empty."""
        with self.changed:
            while True:
                self.rows = [row for row in self.rows if not row.future.cancelled()]
                if not self.rows:
                    if self.closing:
                        return []
                    self.changed.wait()
                    continue
                batch = self.choose_batch()
                longest = max(row.seconds for row in batch)
                full = (len(batch) + 1) * longest > self.batch_seconds
                left = min(row.arrived for row in self.rows) + self.max_wait - time.monotonic()
                if full or left <= 0 or self.closing:
                    self.rows = [row for row in self.rows if row not in batch]
                    self.now = max(self.now, batch[0].start)
                    return batch
                self.changed.wait(left)

    def choose_batch(self) -> list[QueuedPiece]:
        """The next row, and others of similar length in the order of virtual time."""
        first, *others = sorted(self.rows)
        batch, adapters = [first], {term.folder for term in first.terms}
        shortest = longest = first.seconds
        for row in others:
            low, high = min(shortest, row.seconds), max(longest, row.seconds)
            together = adapters | {term.folder for term in row.terms}
            if (
                high <= LENGTH_RATIO * low
                and (len(batch) + 1) * high <= self.batch_seconds
                and len(together) <= self.cache.max_adapters
            ):
                batch.append(row)
                shortest, longest, adapters = low, high, together
        return batch

    def compute(self, batch: Sequence[QueuedPiece]) -> None:
        """Compute a batch's logits. If an adapter can't be loaded, only its row fails."""
        began, rows, names = time.monotonic(), [], []
        keep, known = {term.folder for row in batch for term in row.terms}, dict(self.cache.loaded)
        for row in batch:
            try:
                names.append(self.cache.row(row.terms, keep))
                rows.append(row)
            except Exception as error:
                row.future.set_exception(error)
        loads = sum(known.get(folder) is not term for folder, term in self.cache.loaded.items())
        self.metrics.loads.inc(loads)
        self.metrics.evictions.inc(len(known) + loads - len(self.cache.loaded))
        if not rows:
            return
        try:
            logits = self.cache.bank.logits([row.wave for row in rows], names, any_length=True)
        except Exception as error:  # such as a lack of memory
            if len(rows) == 1:
                rows[0].future.set_exception(error)
                return
            logger.warning("a batch of %d rows failed; each is computed alone: %r", len(rows), type(error))
            for row in rows:
                self.compute([row])
            return
        metrics = self.metrics
        for row, result in zip(rows, logits, strict=True):
            row.future.set_result(result)
            metrics.wait_seconds.observe(began - row.arrived)
        metrics.batch_rows.observe(len(rows))
        metrics.batch_adapters.observe(len(set(names)))
        metrics.batch_seconds.observe(time.monotonic() - began)
        metrics.row_audio.inc(sum(row.seconds for row in rows))
        metrics.padded_audio.inc(len(rows) * max(row.seconds for row in rows))
