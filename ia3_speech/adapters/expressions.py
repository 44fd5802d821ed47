"""What a user types for an adapter → its terms: `accent:0.7+medical:0.5`.

In: a name, a path, an id on the Hub, or a sum of such with weights. Out: `Term`s. An exact name or path wins
over arithmetic, also one that holds `+` or `:`. There is no `-` operator: names have hyphens.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TypeVar

from ia3_speech.adapters.registry import adapter_at, resolve_adapter
from ia3_speech.adapters.weights import tensor_files
from ia3_speech.errors import AdapterError, UnknownAdapter, UserError

# In place of an adapter: a gate chooses one for each recording; or weights for their sum.
AUTO, AUTO_SUM = "auto", "auto-sum"
HINT = "write NAME or NAME:WEIGHT between the plus signs, such as accent:0.7+medical:0.5"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Term:
    """One adapter of a sum, and its weight."""

    name: str  # the adapter's name, path or id, as it was given
    folder: Path  # where it is
    weight: float = 1.0  # finite; 0 is the base, 1 the adapter

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}:{repr(self.weight).removesuffix('.0')}"


# --- the grammar --------------------------------------------------------------------------------------------


def parse_expression(
    expression: str,
    find: Callable[[str], Value | None],
    unknown: Callable[[str, str], UserError],
) -> Iterator[tuple[str, Value, float]]:
    """(name, what `find` returns for it, weight) for each term of `NAME[:WEIGHT]+NAME[:WEIGHT]…`. Raises
    AdapterError where a weight is not a finite number.

    Args:
        find: a name → what it stands for, or None.
        unknown: (the name, the expression) → the error for a name that stands for nothing.
    """
    pieces = expression.split("+")
    while pieces:
        for count in range(len(pieces), 0, -1):  # a `+` may stand in a name, and in a weight such as 1e+2
            if term := parse_term("+".join(pieces[:count]), find):
                break
        else:
            name, number = split_weight(pieces[0].strip())
            if to_finite_number(number) is not None:
                raise unknown(name, expression)
            if find(name) is not None:
                raise AdapterError(
                    f'"{expression}": the weight of {name} is "{number}", and not a finite number ({HINT})'
                )
            raise unknown(pieces[0].strip(), expression)
        yield term
        pieces = pieces[count:]


def parse_term(text: str, find: Callable[[str], Value | None]) -> tuple[str, Value, float] | None:
    """NAME or NAME:WEIGHT; None where it is neither."""
    name, number = split_weight(text)
    for candidate, weight in ((text.strip(), 1.0), (name, to_finite_number(number))):
        if weight is not None and (value := find(candidate)) is not None:
            return candidate, value, weight
    return None


def split_weight(text: str) -> tuple[str, str]:
    """`NAME : WEIGHT` at the last colon; without one, both are empty."""
    name, colon, number = text.rpartition(":")
    return (name.strip(), number.strip()) if colon else ("", "")


def to_finite_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


# --- terms that are folders ---------------------------------------------------------------------------------


def parse_terms(expression: str | Path) -> list[Term]:
    """The terms of an expression; a name or path alone is one term of weight 1.

    Raises:
        UnknownAdapter: there is no adapter of a term's name or path; the message proposes the nearest names.
        AdapterError: a term is empty, or its weight is no finite number.
    """
    terms = parse_expression(str(expression), find_adapter, unknown_term)
    return [Term(name, folder, weight) for name, folder, weight in terms]


def format_terms(terms: list[Term]) -> str:
    """The expression of these terms, in one spelling."""
    return "+".join(map(str, terms))


def is_single_adapter(terms: list[Term]) -> bool:
    """Whether the terms are one adapter as it is, without arithmetic."""
    return len(terms) == 1 and terms[0].weight == 1


def short_name(term: Term) -> str:
    """A term's name; of a path the name of the adapter's folder, or of the experiment around it."""
    folder = term.folder.absolute()
    if Path(term.name).name == term.name:
        return term.name
    return folder.parent.name if folder.name == "adapter" else folder.name


def with_equal_weights(terms: list[Term]) -> list[Term]:
    """The same terms, each with weight 1/n. Raises AdapterError where they have weights."""
    if weighted := [term for term in terms if term.weight != 1]:
        raise AdapterError(f"--average sets the weights (leave out that of {weighted[0]})")
    return [replace(term, weight=1 / len(terms)) for term in terms]


def find_adapter(name: str) -> Path | None:
    """The folder of the adapter that has this very name or path."""
    if ":" in name:  # no name may hold one
        return adapter_at(Path(os.path.expanduser(name)))  # noqa: PTH111 (Path's own raises for ~nobody)
    try:
        return resolve_adapter(name)
    except UnknownAdapter:
        return None


def unknown_term(name: str, expression: str) -> UserError:
    """The error for a name in an expression that is no adapter's."""
    if not name and expression.strip():
        return AdapterError(f'"{expression}": a term has no name ({HINT})')
    where = "" if name == expression.strip() else f', in "{expression}"'
    try:
        message = f"{resolve_adapter(name)}: was not there a moment ago (try again)"
    except UnknownAdapter as error:
        message = str(error)
    return UnknownAdapter(f"{message}{where}")


def is_auto(adapter: str | Path | None) -> bool:
    """Whether a gate is to choose, by the audio: `auto`, `auto:mandarin,medical`, `auto-sum`."""
    return str(adapter).partition(":")[0] in (AUTO, AUTO_SUM)


def weight_files(terms: list[Term]) -> list[Path]:
    """The files that hold the terms' vectors."""
    return [file for term in terms for file in tensor_files(term.folder)]
