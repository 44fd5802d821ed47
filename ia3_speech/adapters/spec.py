"""`AdapterSpec`: a user's request for adapters (`--adapter`), parsed once.

    parse_adapter("accent:0.7+medical")          a weighted sum; NAME alone is one adapter
    parse_adapter("auto:accent,medical")         a choice by the audio among two; auto: among all registered
    parse_adapter("left=agent,right=caller", split=True)    an adapter for each channel of a call

In: a name, a path, an id on the Hub, or an expression of these. Out: a frozen, hashable spec with the
folders. `str` shows it, and nothing parses that again. An exact name or path wins over arithmetic, even with
a `+` or `:` in it. There is no `-` operator, because names have hyphens.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import is_biometric
from ia3_speech.adapters.record import METADATA, PEFT_CONFIG, is_ours, read_record
from ia3_speech.adapters.weights import tensor_files
from ia3_speech.common.errors import AdapterError, UnknownAdapter, UserError

AUTO = "auto"
CHANNEL = re.compile(r"\s*(left|right|\d+)\s*=(.*)", re.DOTALL)  # with its adapter
MAX_RECORDS = 4_000  # in memory, so that a list of adapters reads none again
HINT = "write NAME or NAME:WEIGHT between the plus signs, such as accent:0.7+medical:0.5"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Term:
    """An adapter of a sum, and its weight."""

    name: str  # the adapter's name, path or id, as the user wrote it
    folder: Path
    weight: float = 1.0  # finite; 0 is the base, 1 the adapter
    stamp: tuple[int, ...] = ()  # of its tensors and its record, different after each change; see `stamp_of`
    # As `record.read_record`; empty if it is damaged, and `fault` is then the message
    record: Mapping[str, Any] = field(default_factory=dict, compare=False)
    fault: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}:{repr(self.weight).removesuffix('.0')}"

    def refuse_damage(self) -> None:
        """Raises AdapterError if the record could not be read."""
        if self.fault:
            raise AdapterError(self.fault)


@dataclass(frozen=True)
class AdapterSpec:
    """An adapter, a weighted sum, a choice among adapters, or an adapter for each channel; the default is the
    base alone."""

    terms: tuple[Term, ...] = ()  # of the sum; of a choice, the adapters to choose from
    choice: Literal["auto"] | None = None  # a gate chooses one term by the audio
    all_registered: bool = False  # the choice is among all registered adapters, not among named ones
    channels: tuple[tuple[str, "AdapterSpec"], ...] = ()
    # Use the base's text where it is surer (`routing.guard`). None: if the adapter has a rule, guard.json
    guard: bool | None = False

    def __str__(self) -> str:
        if self.channels:
            return ",".join(f"{channel}={spec}" for channel, spec in self.channels)
        if self.choice:
            names = ",".join(map(str, self.terms))
            return self.choice if self.all_registered else f"{self.choice}:{names}"
        return "+".join(map(str, self.terms))

    @property
    def is_single(self) -> bool:
        """Whether this is a single adapter, without arithmetic."""
        return len(self.terms) == 1 and self.terms[0].weight == 1 and not self.choice

    @property
    def all_terms(self) -> list[Term]:
        """The terms, including those of the channels."""
        return [term for spec in (self, *(spec for _, spec in self.channels)) for term in spec.terms]

    @property
    def folders(self) -> list[Path]:
        """The folders of all adapters, including the channels' adapters."""
        return [term.folder for term in self.all_terms]

    def setting(self, name: Literal["language", "window"]) -> str | None:
        """A setting that all adapters record; None if they have several, or none."""
        records = [term.record for term in self.all_terms if is_ours(term.record)]
        values = {record.get("config", {}).get(name) for record in records}
        return values.pop() if len(values) == 1 else None

    def base(self, base: str | Path | None = None) -> str:
        """The name of the base that these adapters need: `base` if it is given, else the first base that an
        adapter records, else mini. `auto` may find adapters of other bases, so their records don't count.
        Raises AdapterError if a record is damaged."""
        if base or self.all_registered:
            return str(base or "mini")
        for term in self.all_terms:
            term.refuse_damage()
        return next(filter(None, (term.record.get("base") for term in self.all_terms)), "mini")


BASE_ALONE = AdapterSpec()


def stamp_of(folder: Path) -> tuple[int, ...]:
    """Modification time, size and inode of the file with an adapter's tensors, then of its record; empty if
    it has no tensors."""
    files = tensor_files(folder)[:1]
    files += [file for name in (METADATA, PEFT_CONFIG) if files and (file := folder / name).is_file()][:1]
    with suppress(OSError):
        statuses = [file.stat() for file in files]
        return tuple(n for status in statuses for n in (status.st_mtime_ns, status.st_size, status.st_ino))
    return ()


def term_at(name: str, folder: Path) -> Term:
    """A term with the adapter's current state on disk."""
    stamp = stamp_of(folder)
    record, fault = read_stamped(folder, stamp)
    return Term(name, folder, stamp=stamp, record=record, fault=fault)


@lru_cache(MAX_RECORDS)
def read_stamped(folder: Path, _stamp: tuple[int, ...]) -> tuple[Mapping[str, Any], str]:
    """The record of an adapter whose files have this stamp, and its fault, as a term has them."""
    try:
        return read_record(folder), ""
    except AdapterError as error:
        return {}, str(error)


def tensor_files_of(spec: AdapterSpec) -> list[Path]:
    """The files that hold the adapters' parameters."""
    return [file for folder in spec.folders for file in tensor_files(folder)]


def short_name(term: Term) -> str:
    """A term's name; for a path the name of the adapter's folder, or of the experiment around it."""
    folder = term.folder.absolute()
    if Path(term.name).name == term.name:
        return term.name
    return folder.parent.name if folder.name == "adapter" else folder.name


def parse_expression(
    expression: str, find: Callable[[str], Value | None], unknown: Callable[[str, str], Exception]
) -> Iterator[tuple[str, Value, float]]:
    """(name, `find`'s value, weight) of each term of `NAME[:WEIGHT]+NAME[:WEIGHT]…`. Raises AdapterError if a
    weight is not a finite number. `find`: a name → its value, or None; `unknown`: (an unknown name, the
    expression) → the error to raise."""
    pieces = expression.split("+")
    while pieces:
        for count in range(len(pieces), 0, -1):  # a `+` may stand in a name, and in a weight such as 1e+2
            text = "+".join(pieces[:count]).strip()
            name, number = (part.strip() for part in text.rpartition(":")[::2])
            candidates = [(text, 1.0), (name, finite_number(number))]
            terms = [(n, find(n), weight) for n, weight in candidates if weight is not None]
            if terms := [term for term in terms if term[1] is not None]:
                break
        else:  # the last text is the first piece
            if name and finite_number(number) is None and find(name) is not None:
                hint = f'the weight of {name} is "{number}", and not a finite number ({HINT})'
                raise AdapterError(f'"{expression}": {hint}')
            raise unknown(text if finite_number(number) is None else name, expression)
        yield terms[0]
        pieces = pieces[count:]


def finite_number(text: str) -> float | None:
    with suppress(ValueError):
        return number if isfinite(number := float(text)) else None
    return None


def parse_adapter(
    adapter: "str | Path | AdapterSpec | None", *, split: bool = False, guard: bool | None = False
) -> AdapterSpec:
    """The spec of a user's expression; None is the base alone, and a spec is returned as it is.

    Args:
        split: the channels of a recording are transcribed separately, so each may have its adapter.
        guard: as `AdapterSpec.guard`.

    Raises:
        UnknownAdapter: there is no adapter of a name or path; the message proposes the nearest names.
        AdapterError: a term is empty, or its weight is not a finite number.
        UserError: channels are named although they are not split.
    """
    if adapter is None or isinstance(adapter, AdapterSpec):
        return adapter or BASE_ALONE
    text = str(adapter)
    if not CHANNEL.match(text):
        spec = parse_choice(text) if is_auto(text) else parse_sum(text)
        return replace(spec, guard=guard)
    if not split:
        raise UserError(f"`adapter={text}` names channels (transcribe them separately: `channels=split`)")
    channels: dict[str, AdapterSpec] = {}
    for part in text.split(","):
        match = CHANNEL.match(part)
        if not match or match[1] in channels or not match[2].strip():
            raise UserError(f'`adapter={text}`: "{part}" is not CHANNEL=ADAPTER (left=agent,right=caller)')
        channels[match[1]] = parse_sum(match[2].strip())
    return AdapterSpec(channels=tuple(channels.items()), guard=guard)


def parse_sum(
    expression: str | Path,
    find: Callable[[str], Term | None] | None = None,
    unknown: Callable[[str, str], Exception] | None = None,
) -> AdapterSpec:
    """The spec of an adapter or a weighted sum; merging, export and training take nothing else. `find` and
    `unknown` are as for `parse_expression`; default: `registry.resolve_adapter`. Raises UnknownAdapter and
    AdapterError as `parse_adapter`."""
    errors: dict[str, UnknownAdapter] = {}  # by name, so that no name is looked up on the Hub twice

    def find_anywhere(name: str) -> Term | None:
        try:
            return term_at(name, registry.resolve_adapter(name))
        except UnknownAdapter as error:
            errors[name] = error
            return None

    def unknown_term(name: str, expression: str) -> UserError:
        if not name and expression.strip():
            return AdapterError(f'"{expression}": a term has no name ({HINT})')
        where = "" if name == expression.strip() else f', in "{expression}"'
        return UnknownAdapter(f"{errors.get(name) or registry.not_found(name, Path(name))}{where}")

    terms = parse_expression(str(expression), find or find_anywhere, unknown or unknown_term)
    return AdapterSpec(tuple(replace(term, weight=weight) for _, term, weight in terms))


def is_auto(adapter: str | Path | None) -> bool:
    """Whether a gate chooses by the audio: `auto`, `auto:mandarin,medical`."""
    return str(adapter).partition(":")[0] == AUTO


def parse_choice(
    text: str,
    find: Callable[[str], Term | None] | None = None,
    unknown: Callable[[str, str], Exception] | None = None,
    registered: Callable[[], Iterable[Term]] | None = None,
) -> AdapterSpec:
    """The spec of `auto`, perhaps with the names to choose from; without names `registered` returns the
    adapters to choose from (default: `choosable_adapters`). `find` and `unknown` are as for `parse_sum`.
    Raises UnknownAdapter if a named adapter does not exist, or none is registered; UserError if the text
    names no adapter, or a sum."""
    choice, colon, names = text.partition(":")
    if not colon:
        if not (terms := tuple((registered or choosable_adapters)())):
            raise UnknownAdapter(
                f"{text}: no adapter to choose from is registered in {registry.adapters_dir()} "
                f"(ia3-speech adapters register FOLDER NAME; a person's adapter is chosen only by name, "
                f"{AUTO}:speaker42)"
            )
        return AdapterSpec(terms, choice, all_registered=True)
    specs = [parse_sum(name.strip(), find, unknown) for name in names.split(",") if name.strip()]
    if not specs or any(len(spec.terms) > 1 for spec in specs):
        raise UserError(f"{text}: names no adapter to choose, or a sum ({AUTO}:accent,medical)")
    return AdapterSpec(tuple(spec.terms[0] for spec in specs), choice)


def choosable_adapters() -> list[Term]:
    """All registered adapters except earlier versions (NAME@1) and adapters of people."""
    names = [name for name in registry.registered_names() if "@" not in name]
    terms = [term_at(name, registry.adapters_dir() / name) for name in names]
    return [term for term in terms if not is_biometric(term.record)]


def find_registered(name: str) -> Term | None:
    """The registered adapter of exactly this name, which is never a path. Waits while another process writes
    the registry."""
    name = unicodedata.normalize("NFC", name)
    if registry.name_fault(name) or not registry.is_registered(name):
        return None
    term = term_at(name, registry.adapters_dir() / name)
    if not term.stamp:  # it was being replaced, or has just been removed
        with registry.without_writers():
            term = term_at(name, registry.adapters_dir() / name)
    return term if term.stamp else None
