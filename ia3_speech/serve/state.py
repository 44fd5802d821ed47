"""The state of a server process, and its limits.

In: a session, options. Out: `Server`, which admits a request and gives it a handle of the queue and a
recogniser; the request runs in a thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from ia3_speech.adapters import registry
from ia3_speech.adapters.spec import AdapterSpec
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.hotword_search import Hotword, usable
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.dictation import make_dictation
from ia3_speech.serve.access import ANONYMOUS, Access, Client
from ia3_speech.serve.engine import Engine, QueueHandle
from ia3_speech.serve.errors import ApiError, overloaded
from ia3_speech.serve.jobs import Jobs
from ia3_speech.serve.models import Models, language_code
from ia3_speech.serve.monitoring import Metrics
from ia3_speech.serve.options import LOOPBACK, EngineOptions, LimitOptions, ServerOptions
from ia3_speech.session import Session

DECODERS = 2  # uploads that are decoded at once
MAX_HOTWORDS, MAX_HOTWORD_LENGTH = 100, 200  # of a request; characters. Others are left out.


class Server:
    """The state of a process.

    Args:
        session: of the base; its search options take precedence over those registered with an adapter.
    """

    def __init__(self, session: Session, server: ServerOptions, engine: EngineOptions, limits: LimitOptions):
        self.session, self.limits, self.started = session, limits, time.time()
        session.recognizer()  # reads the base's language model now, not at the first request
        self.metrics, self.access = Metrics(), Access(server.key_file, limits.rate)
        aliases = dict(alias.split("=", 1) for alias in server.alias)
        self.models = Models(session, engine.max_adapters, aliases)
        self.check_aliases()
        self.engine = Engine(session.cache.bank, engine, self.metrics)
        english = self.models.base_id == "mini" or not getattr(session.base, "is_multilingual", True)
        language = server.language or ("en" if english else None)
        if language == "auto" or session.base.languages:
            session.base.configure(language=language)
        # that the base writes; None if it is unknown, or differs from request to request
        self.language = language_code(language) if language not in (None, "auto") else None
        self.dictation = make_dictation(server.dictation_rules)
        # For users of this machine only: see `app.Entrance.authorize`.
        self.local = server.key_file is None and server.host in LOOPBACK
        self.jobs = Jobs(session.base.name) if server.training else None
        # Blocking functions run in these (`asyncio.to_thread`).
        self.threads = ThreadPoolExecutor(limits.max_requests + 2 * DECODERS, "request")
        self.decoders = asyncio.Semaphore(DECODERS)
        self.make_handle: Callable[[], QueueHandle] = partial(QueueHandle, self.engine)
        self.active, self.held_seconds, self.closing = 0, 0.0, False
        self.metrics.active.set_function(lambda: self.active)

    def close(self) -> None:
        """Compute the waiting pieces, end all threads, and restore the base."""
        if self.jobs:
            self.jobs.close()
        self.engine.close()
        self.threads.shutdown()

    def check_aliases(self) -> None:
        """Raises UserError for an alias that is a model's name, or stands for no model."""
        for name, target in self.models.aliases.items():
            if name == self.models.base_id or registry.is_registered(name) or target in self.models.aliases:
                raise UserError(f"`alias={name}={target}`: {name} is a model already, or {target} an alias")
            try:
                self.models.select(target, ANONYMOUS)
            except ApiError as error:
                raise UserError(f"`alias={name}={target}`: {error.message}") from None

    def check_name(self, name: str, client: Client) -> str:
        """The registry's spelling of a name. Raises BadName, and ApiError 403 if this client may not make an
        adapter with this name."""
        name = registry.check_name(name)
        if not client.may_manage(name) or name in (self.models.base_id, *self.models.aliases):
            names = ", ".join(client.manage) or "none"  # the same if another key has the name
            message = f"This name is taken or not allowed. Allowed names, if they are free: {names}."
            raise ApiError(403, message, "forbidden", "name")
        return name

    @contextmanager
    def admission(self) -> Iterator[QueueHandle]:
        """Count a request as active. Raises ApiError 503 if there are too many."""
        if self.closing or not self.engine.alive:
            raise overloaded("The server is shutting down.")
        if self.active >= self.limits.max_requests:
            raise overloaded("The server is currently overloaded, please try again later.")
        handle = self.make_handle()
        self.active += 1
        try:
            yield handle
        finally:
            handle.cancel()
            self.active -= 1

    @contextmanager
    def holding(self, seconds: float) -> Iterator[None]:
        """Count `seconds` of audio as in memory. Raises ApiError 503 if there is already too much."""
        if self.held_seconds and self.held_seconds + seconds > 60 * self.limits.max_minutes_held:
            raise overloaded("The server holds too much audio at the moment, please try again later.")
        self.held_seconds += seconds
        try:
            yield
        finally:
            self.held_seconds = round(self.held_seconds - seconds, 9)  # 0 again, when nothing is held

    def recognizer_for(
        self, spec: AdapterSpec, handle: QueueHandle, hotwords: Sequence[str] = (), code: str | None = None
    ) -> Recognizer:
        """A recogniser whose logits are computed in the queue. Hot words that the base can't write, and
        repeated spellings, are left out. `code`: the language, for a Whisper base."""
        short = (word for word in hotwords[:MAX_HOTWORDS] if len(word) <= MAX_HOTWORD_LENGTH)
        known = usable(map(Hotword, dict.fromkeys(short)), self.session.base.vocabulary)
        compute = lambda waves, rows, _features: handle.logits(waves, rows)  # noqa: E731
        return self.session.recognizer(spec, compute=compute, hotwords=known, language=code)
