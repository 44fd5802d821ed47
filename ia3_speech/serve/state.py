"""All that one server process holds, and how much it takes on.

In: a recogniser, options. Out: `Server`: a request is admitted, gets a place in the queue and a recogniser of
its own, and runs in a thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ia3_speech.adapters.bank import Bank
from ia3_speech.cli import UserError
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.lm.hotword_search import (
    HOTWORD_WEIGHT,
    Hotword,
    HotwordList,
    HotwordSearch,
    spellings,
)
from ia3_speech.serve.access import Access
from ia3_speech.serve.adapter_cache import AdapterCache, Terms
from ia3_speech.serve.engine import Engine, QueuedRecognizer, Turn
from ia3_speech.serve.errors import overloaded
from ia3_speech.serve.metrics import Metrics
from ia3_speech.serve.models import Models, language_code
from ia3_speech.serve.serve_options import EngineOptions, LimitOptions, ServerOptions

DECODERS = 2  # uploads that are decoded at once: a long one takes a gigabyte for some seconds
MOST_HOTWORDS = 100  # of a request
PROMPT = Path("prompt")  # where a request's hot words stand

Result = TypeVar("Result")


class Server:
    """One process's state.

    Args:
        recognizer: the base alone, with its search.
        hotword_weight: nats, as for `transcribe --hotword-weight`.

    Attributes:
        language: ISO 639-1 code of what the base writes; None where nobody says.
        closing: whether it is shutting down.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        server: ServerOptions,
        engine: EngineOptions,
        limits: LimitOptions,
        hotword_weight: float | None = None,
    ):
        self.recognizer, self.limits, self.started = recognizer, limits, time.time()
        self.hotword_weight = HOTWORD_WEIGHT if hotword_weight is None else hotword_weight
        self.metrics = Metrics()
        self.access = Access(server.key_file, limits.rate)
        self.models = Models(recognizer, engine.max_adapters)
        self.bank = Bank(recognizer.base)
        self.cache = AdapterCache(self.bank, engine.max_adapters, engine.max_memory * 1e6, self.metrics)
        self.engine = Engine(self.cache, engine.batch_seconds, engine.max_wait_ms / 1000, self.metrics)
        language = server.language or ("en" if self.models.base_id == "mini" else None)
        self.language = language and language_code(language)
        self.threads = ThreadPoolExecutor(limits.max_requests + 2 * DECODERS, "request")
        self.decoders = asyncio.Semaphore(DECODERS)
        self.active, self.held_seconds, self.closing = 0, 0.0, False

    def close(self) -> None:
        """Compute what was taken, end all threads, and leave the base as it was."""
        self.engine.close()
        self.threads.shutdown()
        for stored in [*self.cache.loaded]:
            self.cache.drop(stored)

    @contextmanager
    def admission(self) -> Iterator[Turn]:
        """A request is under way. Raises ApiError 503 where there are enough of them."""
        if self.closing or not self.engine.alive:
            raise overloaded("The server is shutting down.")
        if self.active >= self.limits.max_requests:
            raise overloaded("The server is currently overloaded, please try again later.")
        turn = Turn(self.engine)
        self.active += 1
        self.metrics.active.set(self.active)
        try:
            yield turn
        finally:
            turn.cancel()
            self.active -= 1
            self.metrics.active.set(self.active)

    @contextmanager
    def holding(self, seconds: float) -> Iterator[None]:
        """So much audio is in memory. Raises ApiError 503 where there is too much already."""
        if self.held_seconds and self.held_seconds + seconds > 60 * self.limits.max_minutes_held:
            raise overloaded("The server holds too much audio at the moment, please try again later.")
        self.held_seconds += seconds
        try:
            yield
        finally:
            self.held_seconds -= seconds

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function that blocks; lines that it logs have the request's id."""
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self.threads, lambda: context.run(function, *arguments)
        )

    def recognizer_for(self, terms: Terms, turn: Turn, hotwords: Sequence[str] = ()) -> QueuedRecognizer:
        """A recogniser whose logits are computed in the queue. Hot words that the base can't write are left
        out."""
        own = {one.name: getattr(self.recognizer, one.name) for one in fields(Recognizer)}
        own |= {"scaling": self.models.scaling(terms), "turn": turn, "terms": terms}
        if known := self.writable(hotwords[:MOST_HOTWORDS]):
            inside, vocabulary = self.recognizer.search, self.recognizer.base.vocabulary
            own["search"] = HotwordSearch(HotwordList(PROMPT, known), self.hotword_weight, vocabulary, inside)
            own["scaling"] = None  # it holds for the search that it was fitted with
        return QueuedRecognizer(**own)

    def writable(self, hotwords: Sequence[str]) -> list[Hotword]:
        """Those that the base can write, each spelling once."""
        terms, known = [], set()
        for term in map(Hotword, dict.fromkeys(hotwords)):
            try:
                found = spellings(HotwordList(PROMPT, [term]), self.recognizer.base.vocabulary, 1.0)
            except UserError:
                continue
            own = {spelling.symbols for spelling in found}
            if not own & known:
                known |= own
                terms.append(term)
        return terms
