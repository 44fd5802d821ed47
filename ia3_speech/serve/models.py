"""What a request's `model` means: the base, an adapter, a sum such as `accent:0.5+medical:0.5`, or `auto`.

In: the name that a client sends, and what its key may use. Out: adapters with weights, or those that a gate
chooses from (see `routing`). Only registered names count: never a path, an experiment or the Hub.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ia3_speech.adapters import registry
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.cache import AdapterCache, StoredAdapter, Terms, find_stored
from ia3_speech.adapters.expressions import Term, is_auto, parse_expression
from ia3_speech.adapters.record import GATE, read_metadata, same_base
from ia3_speech.confidence.storage import find_scaling
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.errors import UserError
from ia3_speech.routing.gate import GaussianGate
from ia3_speech.routing.router import is_one_persons, make_gate
from ia3_speech.serve.access import Client
from ia3_speech.serve.errors import ApiError, bad_value, unknown_model
from ia3_speech.serve.monitoring import Metrics

LONGEST_NAME = 256  # characters of a sum
REMEMBERED = 10_000  # adapters of which it is known whether they fit
MOST_GATES = 16  # that are kept: one for each set of adapters that requests choose from


class Unknown(UserError):
    """A part of a model's name stands for nothing."""


@dataclass(frozen=True)
class Model:
    """What a request's name means."""

    terms: Terms = ()  # a sum of adapters; none is the base. Of `auto` those that a gate chooses from
    auto: str | None = None  # `auto` or `auto-sum`, perhaps with names, as the client wrote it


class Models:
    """The base and the registered adapters that fit it."""

    def __init__(self, recognizer: Recognizer, max_terms: int, aliases: Mapping[str, str]):
        self.aliases = aliases  # further names → what each stands for
        self.recognizer, self.base, self.max_terms = recognizer, recognizer.base, max_terms
        # The base's name for clients; of a folder the last part of its path.
        self.base_id = Path(self.base.name).name if Path(self.base.name).is_dir() else self.base.name
        self.fits = lru_cache(REMEMBERED)(self.compare_bases)
        self.cached_gate = lru_cache(MOST_GATES)(lambda m, _: make_gate(m.auto, as_terms(m.terms), self.base))

    def select(self, name: str, client: Client) -> Model:
        """The model of this name. Raises ApiError: 404 where the client has none of this name."""
        if name == self.base_id:
            return Model()
        if target := self.aliases.get(name):
            try:
                return self.select(target, client)
            except ApiError:  # which may name what this client can't use
                raise unknown_model(name) from None
        if len(name) > LONGEST_NAME:
            raise unknown_model(name)
        if is_auto(name):
            return self.select_auto(name, client)
        find = lambda part: find_stored(part) if client.may_use(part) else None  # noqa: E731
        try:
            found = list(parse_expression(name, find, lambda *_: Unknown()))
        except Unknown:
            raise unknown_model(name) from None
        except UserError as error:  # a weight that is no number
            raise bad_value("model", str(error)) from None
        if len(found) > self.max_terms:
            raise bad_value("model", f"A sum of more than {self.max_terms} adapters is not computed here.")
        if others := [part for part, stored, _ in found if not self.fits(stored)]:
            raise bad_value("model", f"{others[0]} was trained on another base than {self.base_id}.")
        return Model(tuple((stored, weight) for _, stored, weight in found))

    def select_auto(self, name: str, client: Client) -> Model:
        """`auto`, of all that the client may use but one person's and earlier ones; `auto:a,b`, of these."""
        if named := name.partition(":")[2]:
            found = [self.adapter(part.strip(), client) for part in named.split(",")]
        else:
            found = [one for one in self.adapters(client) if "@" not in one.name]
            found = [one for one in found if (one.folder / GATE).is_file() and not is_one_persons(one.folder)]
        model = Model(tuple((stored, 1.0) for stored in found), name)
        try:
            self.gate(model)
        except UserError:  # which may name a folder
            message = "needs adapters with a gate (one person's only as auto:NAME), and a base with one."
            raise bad_value("model", f"{name}: the choice by audio {message}") from None
        return model

    def gate(self, model: Model) -> tuple[list[Term], GaussianGate]:
        """What `auto` chooses from, and by which gate; read again where a file of it was replaced. Raises
        UserError as `make_gate`."""
        files = [stored.folder / GATE for stored, _ in model.terms]
        changed = [file.stat().st_mtime_ns if file.is_file() else None for file in files]
        return self.cached_gate(model, tuple(changed))

    def usable_aliases(self, client: Client) -> Iterator[str]:
        """The further names that stand for what the client may use."""
        for name in self.aliases:
            with suppress(ApiError):
                self.select(name, client)
                yield name

    def adapters(self, client: Client) -> list[StoredAdapter]:
        """Those that fit the base and that the client may use, by name."""
        found = [find_stored(name) for name in registry.registered_names() if client.may_use(name)]
        return [stored for stored in found if stored and self.fits(stored)]

    def adapter(self, name: str, client: Client) -> StoredAdapter:
        """One of these. Raises ApiError 404."""
        stored = find_stored(name) if client.may_use(name) else None
        if stored is None or not self.fits(stored):
            raise unknown_model(name)
        return stored

    def compare_bases(self, stored: StoredAdapter) -> bool:
        """Whether it was trained on this base; an adapter of another tool is compared when it is loaded."""
        try:
            metadata = read_metadata(stored.folder)
        except UserError:
            return False
        return metadata is None or same_base(metadata.fingerprint, self.base.fingerprint)

    def scaling(self, terms: Sequence[Term], search_record: dict[str, Any]) -> Scaling | None:
        """Of word confidences: what `calibrate` stored for this search with one adapter, or with the base."""
        if not terms:
            return self.recognizer.scaling
        with suppress(UserError):
            return find_scaling(self.base, terms, search_record)
        return None


def as_terms(terms: Terms) -> list[Term]:
    return [Term(stored.name, stored.folder, weight) for stored, weight in terms]


class MeteredCache(AdapterCache):
    """The cache of the engine's thread, which tells Prometheus what it does."""

    def __init__(self, bank: Bank, max_adapters: float, max_bytes: float, metrics: Metrics):
        super().__init__(bank, max_adapters, max_bytes)
        self.metrics = metrics
        metrics.adapters.set_function(lambda: len(bank))
        metrics.adapter_bytes.set_function(lambda: bank.nbytes)

    def load(self, stored: StoredAdapter, keep: Container[StoredAdapter]) -> None:
        before = len(self.loaded)
        super().load(stored, keep)
        self.metrics.loads.inc()
        self.metrics.evictions.inc(before + 1 - len(self.loaded))


def language_code(language: str) -> str:
    """`en` or `en-GB` → `en`, ISO 639-1. Raises ApiError for anything else."""
    code = language.strip().lower().replace("_", "-").partition("-")[0]
    if code not in language_names():
        message = f"Invalid language '{language[:40]}'. Language parameter must be specified in ISO-639-1 "
        raise ApiError(400, f"{message}format.", "invalid_language_format", "language")
    return code


@lru_cache(1)
def language_names() -> dict[str, str]:
    """ISO 639-1 code → English name, as OpenAI's verbose_json has it: Whisper's table."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return {code: name for code, name in LANGUAGES.items() if len(code) == 2}
