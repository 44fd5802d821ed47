"""What a request's `model` means: the base, an adapter, or a sum such as `accent:0.5+medical:0.5`.

In: the name that a client sends, and what its key may use. Out: adapters with weights; of these, the name of
a row of the bank. Only registered names count: never a path, an experiment or the Hub. In the bank an adapter
has a number for a name, so that no name or sum of one client can ever mean another's adapter, and what is
stored anew under a name is loaded anew.
"""

import unicodedata
from collections import OrderedDict
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from ia3_speech.adapters import registry
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.expressions import Term, parse_expression
from ia3_speech.adapters.io import read_adapter
from ia3_speech.adapters.record import read_metadata, same_base
from ia3_speech.adapters.weights import weights_file
from ia3_speech.cli import UserError
from ia3_speech.confidence.storage import find_scaling
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.model.architectures import AdapterError
from ia3_speech.serve.access import Client
from ia3_speech.serve.errors import ApiError, bad_value, unknown_model
from ia3_speech.serve.monitoring import Metrics

LONGEST_NAME = 256  # characters of a sum
REMEMBERED = 10_000  # adapters of which it is known whether they fit


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


class Unknown(UserError):
    """A part of a model's name stands for nothing."""


class Models:
    """The base and the registered adapters that fit it.

    Attributes:
        base_id: the base's name for clients; of a folder the last part of its path.
    """

    def __init__(self, recognizer: Recognizer, max_terms: int):
        self.recognizer, self.base, self.max_terms = recognizer, recognizer.base, max_terms
        self.base_id = Path(self.base.name).name if Path(self.base.name).is_dir() else self.base.name
        self.fits = lru_cache(REMEMBERED)(self.compare_bases)

    def select(self, name: str, client: Client) -> Terms:
        """The model of this name. Raises ApiError: 404 where the client has none of this name."""
        if name == self.base_id:
            return ()
        if len(name) > LONGEST_NAME:
            raise unknown_model(name)
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
        return tuple((stored, weight) for _, stored, weight in found)

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

    def scaling(self, terms: Terms, search_record: dict[str, Any]) -> Scaling | None:
        """Of word confidences: what `calibrate` stored for this search with one adapter, or with the base."""
        if not terms:
            return self.recognizer.scaling
        found = [Term(stored.name, stored.folder, weight) for stored, weight in terms]
        with suppress(UserError):
            return find_scaling(self.base, found, search_record)
        return None


class AdapterCache:
    """The bank's adapters: loaded on first use; the least recently used leave. For the engine's thread.

    Args:
        max_adapters: that may be loaded at once.
        max_bytes: that their parameters may take.
    """

    def __init__(self, bank: Bank, max_adapters: int, max_bytes: float, metrics: Metrics):
        self.bank, self.max_adapters, self.max_bytes, self.metrics = bank, max_adapters, max_bytes, metrics
        self.loaded: OrderedDict[StoredAdapter, str] = OrderedDict()  # their names in the bank
        self.numbers = count(1)
        metrics.adapters.set_function(lambda: len(bank))
        metrics.adapter_bytes.set_function(lambda: bank.nbytes)

    def row(self, terms: Terms, keep: set[StoredAdapter]) -> str | None:
        """The bank's name for this sum, whose adapters are loaded where they are not; None is the base.

        Args:
            keep: the batch's adapters, none of which leaves.

        Raises:
            AdapterError: an adapter can't be loaded, or has been removed.
        """
        for stored, _ in terms:
            if stored not in self.loaded:
                self.load(stored, keep)
            self.loaded.move_to_end(stored)
        return "+".join(f"{self.loaded[stored]}:{weight!r}" for stored, weight in terms) or None

    def load(self, stored: StoredAdapter, keep: set[StoredAdapter]) -> None:
        with ExitStack() as stack:
            with suppress(OSError):  # a registry that is read-only has no writers
                stack.enter_context(registry.locked())
            adapter = read_adapter(self.bank.base.model, stored.folder)
        name = f"adapter{next(self.numbers)}"
        self.bank.add(name, adapter)
        self.metrics.loads.inc()
        for other in [one for one in self.loaded if one not in keep]:
            if len(self.bank) <= self.max_adapters and self.bank.nbytes <= self.max_bytes:
                break
            self.drop(other)
            self.metrics.evictions.inc()
        self.loaded[stored] = name

    def forget(self, name: str) -> None:
        """Unload whatever is registered under this name."""
        for stored in [one for one in self.loaded if one.name == name]:
            self.drop(stored)

    def drop(self, stored: StoredAdapter) -> None:
        self.bank.drop(self.loaded.pop(stored))


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
