"""The state of a server process: its models and its limits.

    Models      the meaning of a request's `model`: the base, an adapter, a sum such as
                `accent:0.5+medical:0.5`, or `auto`; only registered names, never a path or a name on the Hub
    Server      admits a request, and gives it a handle of the queue and a recogniser

In: a session, options, keys. A request itself runs in a thread.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from transformers.models.whisper.tokenization_whisper import LANGUAGES

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import GATE, is_ours, same_base
from ia3_speech.adapters.spec import (
    AdapterSpec,
    Term,
    choosable_adapters,
    find_registered,
    is_auto,
    parse_choice,
    parse_sum,
)
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.hotword_search import Hotword, usable
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.dictation import make_dictation
from ia3_speech.serve.access import ANONYMOUS, Access, Client
from ia3_speech.serve.engine import Engine, QueueHandle
from ia3_speech.serve.errors import ApiError, bad_value, overloaded, unknown_model
from ia3_speech.serve.jobs import Jobs
from ia3_speech.serve.monitoring import Metrics
from ia3_speech.serve.options import LOOPBACK, EngineOptions, LimitOptions, ServerOptions
from ia3_speech.session import Session, is_guarded

DECODERS = 2  # uploads that are decoded at once
MAX_HOTWORDS, MAX_HOTWORD_LENGTH = 100, 200  # of a request; characters. Others are left out.
MAX_NAME = 256  # characters of a sum
# ISO 639-1 code → English name, from Whisper's table, as in OpenAI's verbose_json
LANGUAGE_NAMES = {code: name for code, name in LANGUAGES.items() if len(code) == 2}


class Models:
    """The base and the registered adapters that fit it."""

    def __init__(self, session: Session, max_terms: int, aliases: Mapping[str, str]):
        self.session, self.base, self.max_terms = session, session.base, max_terms
        self.aliases = aliases  # further name → model
        # The base's name for clients; for a folder, the last part of its path.
        self.base_id = Path(self.base.name).name if Path(self.base.name).is_dir() else self.base.name

    def select(self, name: str, client: Client, guard: bool | None = None) -> AdapterSpec:
        """The adapters of a model's name, with a request's wish for a guard. Raises ApiError: 404 if this
        client has no such model."""
        if name == self.base_id:
            return AdapterSpec()
        if target := self.aliases.get(name):
            try:
                return self.select(target, client, guard)
            except ApiError:  # its message may contain a name that this client can't use
                raise unknown_model(name) from None
        if len(name) > MAX_NAME:
            raise unknown_model(name)

        def find(part: str) -> Term | None:
            return find_registered(part) if client.may_use(part) else None

        def unknown(_: str, expression: str) -> ApiError:
            return unknown_model(expression)

        try:
            if is_auto(name):
                spec = parse_choice(name, find, unknown, lambda: self.choosable(client))
            else:
                spec = parse_sum(name, find, unknown)
        except UserError as error:  # a weight that is not a number; for auto, it may name a folder
            raise no_choice(name) if is_auto(name) else bad_value("model", str(error)) from None
        if len(spec.terms) > self.max_terms and not spec.choice:
            raise bad_value("model", f"A sum of more than {self.max_terms} adapters is not computed here.")
        if others := [term.name for term in spec.terms if not self.fits(term)]:
            raise bad_value("model", f"{others[0]} was trained on another base than {self.base_id}.")
        if spec.choice:
            try:
                self.session.gates(spec)
            except UserError:  # its message may name a folder
                raise no_choice(name) from None
        spec = replace(spec, guard=guard)
        try:
            is_guarded(spec)
        except UserError:
            message = "A guard chooses between the base and one adapter, or by auto, where both have gates."
            raise bad_value("guard", f"{name} can't be guarded. {message}") from None
        return spec

    def check_access(self, name: str, spec: AdapterSpec, client: Client) -> None:
        """Raises ApiError 404 if the client may no longer use an adapter that it selected by `name`: it was
        removed, or its name now belongs to another key's voice."""
        for term in spec.terms:
            if not client.may_use(term.name) or not (spec.choice or find_registered(term.name)):
                raise unknown_model(name)

    def choosable(self, client: Client) -> list[Term]:
        """The adapters that `auto` chooses from for a client."""
        terms = (term for term in choosable_adapters() if (term.folder / GATE).is_file())
        return [term for term in terms if client.may_use(term.name) and self.fits(term)]

    def usable_aliases(self, client: Client) -> Iterator[str]:
        """The further names of models that the client may use."""
        for name in self.aliases:
            with suppress(ApiError):
                self.select(name, client)
                yield name

    def adapters(self, client: Client) -> list[Term]:
        """The adapters that fit the base and that the client may use, by name."""
        terms = [find_registered(name) for name in registry.registered_names() if client.may_use(name)]
        return [term for term in terms if term and self.fits(term)]

    def adapter(self, name: str, client: Client) -> Term:
        """An adapter that fits the base and that the client may use. Raises ApiError 404."""
        term = find_registered(name) if client.may_use(name) else None
        if term is None or not self.fits(term):
            raise unknown_model(name)
        return term

    def fits(self, term: Term) -> bool:
        """Whether an adapter was trained on this base; another tool's is checked when it is loaded."""
        if term.fault:
            return False
        fingerprint = term.record.get("fingerprint", {})
        return not is_ours(term.record) or same_base(fingerprint, self.base.fingerprint)


def no_choice(name: str) -> ApiError:
    message = "needs a base and adapters with a gate (a person's adapter only by auto:NAME)."
    return bad_value("model", f"{name}: the choice by audio {message}")


def language_code(language: str) -> str:
    """`en` or `en-GB` → `en`, ISO 639-1. Raises ApiError for anything else."""
    code = language.strip().lower().replace("_", "-").partition("-")[0]
    if code not in LANGUAGE_NAMES:
        message = f"Invalid language '{language[:40]}'. Language parameter must be specified in ISO-639-1 "
        raise ApiError(400, f"{message}format.", "invalid_language_format", "language")
    return code


class Server:
    """The state of a process. The session's search options take precedence over an adapter's own."""

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
        self.sessions: Counter[str] = Counter()  # live sessions of each key's name
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
        """The registry's spelling of a name. Raises BadName; ApiError 403 if this client may not take it."""
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
    def live_session(self, client: Client) -> Iterator[None]:
        """Count a live session of a key. Raises ApiError 429 if the key has too many."""
        most = self.limits.sessions_per_key or max(1, self.limits.max_requests // 4)
        if self.access.file and self.sessions[client.name] >= most:
            message = f"This API key has {most} live sessions already."
            raise ApiError(429, message, "too_many_sessions")
        self.sessions[client.name] += 1
        try:
            yield
        finally:
            self.sessions[client.name] -= 1

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
