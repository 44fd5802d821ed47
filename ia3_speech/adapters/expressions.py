"""What a user types for an adapter → its terms: `accent:0.7+medical:0.5`.

In: a name, a path, an id on the Hub, or a sum of such with weights. Out: `Term`s, each with the adapter's
folder. An exact name or path wins over arithmetic, also one that holds `+` or `:`. There is no `-` operator:
names have hyphens. What the terms add up to is `adapters.arithmetic`'s affair; nothing here loads torch, so
that a wrong name is told at once.
"""

import os
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from ia3_speech.adapters import registry as store
from ia3_speech.cli import UserError

CURE = "write NAME or NAME:WEIGHT between the plus signs, such as accent:0.7+medical:0.5"


class ExpressionError(UserError):
    """What was given for an adapter is no name, and can't be read as a sum."""


@dataclass(frozen=True)
class Term:
    """So much of one adapter.

    Attributes:
        name: the adapter's name, path or id, as it was given.
        folder: where it is.
        weight: finite; 0 is the base, 1 the adapter.
    """

    name: str
    folder: Path
    weight: float = 1.0

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}:{repr(self.weight).removesuffix('.0')}"


def terms(expression: str | Path) -> list[Term]:
    """What an expression says; a name or path alone is one term of weight 1.

    Raises:
        UnknownAdapter: a term's name or path leads nowhere; the message proposes the nearest names.
        ExpressionError: a term is empty, or its weight is no finite number.
    """
    pieces, found = str(expression).split("+"), []
    while pieces:
        for count in range(len(pieces), 0, -1):  # a `+` may stand in a name, and in a weight such as 1e+2
            if term := term_of("+".join(pieces[:count])):
                break
        else:
            raise fault(pieces[0].strip(), str(expression))
        found.append(term)
        pieces = pieces[count:]
    return found


def weight_files(parts: list[Term]) -> list[Path]:
    """The files that hold the terms' vectors; what else lies beside them does not decide a hypothesis."""
    files = [part.folder / name for part in parts for name in store.WEIGHTS]
    return [file for file in files if file.is_file()]


def written(parts: list[Term]) -> str:
    """The expression that the terms came from, in one spelling."""
    return "+".join(map(str, parts))


def is_one(parts: list[Term]) -> bool:
    """Whether the terms are one adapter as it is, and no arithmetic."""
    return len(parts) == 1 and parts[0].weight == 1


def averaged(parts: list[Term]) -> list[Term]:
    """The same terms, each with its equal share. Raises ExpressionError where they have weights."""
    unweighed(parts, "--average")
    return [replace(part, weight=1 / len(parts)) for part in parts]


def interpolated(parts: list[Term], weight: float) -> list[Term]:
    """`weight` of the first, the rest of the second. Raises ExpressionError for weights, or not two terms."""
    unweighed(parts, "--interpolate")
    if len(parts) != 2:
        raise ExpressionError(f"--interpolate stands between two adapters, and there is {written(parts)}")
    return [replace(parts[0], weight=weight), replace(parts[1], weight=1 - weight)]


def unweighed(parts: list[Term], flag: str) -> None:
    if weighed := [part for part in parts if part.weight != 1]:
        raise ExpressionError(f"{flag} sets the weights (leave out that of {weighed[0]})")


def term_of(text: str) -> Term | None:
    """NAME or NAME:WEIGHT; None where it is neither."""
    for name in (text, text.strip()):
        if folder := exact(name):
            return Term(name, folder)
    name, number = divided(text)
    weight = number_of(number)
    if weight is not None and (folder := exact(name)):
        return Term(name, folder, weight)
    return None


def divided(text: str) -> tuple[str, str]:
    """`NAME : WEIGHT` at the last colon; without one the name is empty."""
    name, _, number = text.rpartition(":")
    return name.strip(), number.strip()


def exact(name: str) -> Path | None:
    """The adapter that has this very name or path."""
    if ":" in name:  # no name may hold one
        return store.at_path(Path(os.path.expanduser(name)))  # noqa: PTH111 (Path's own raises for ~nobody)
    try:
        return store.resolve(name)
    except store.UnknownAdapter:
        return None


def number_of(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def fault(text: str, expression: str) -> UserError:
    """Why `text`, the next piece of an expression, is no term."""
    name, number = divided(text)
    if number_of(number) is None and exact(name):
        return ExpressionError(
            f'"{expression}": the weight of {name} is "{number}", and not a finite number ({CURE})'
        )
    name = name if ":" in text and number_of(number) is not None else text
    if not name and expression.strip():
        return ExpressionError(f'"{expression}": a term has no name ({CURE})')
    where = "" if name == expression.strip() else f', in "{expression}"'
    try:
        message = f"{store.resolve(name)}: was not there a moment ago (try again)"
    except store.UnknownAdapter as error:
        message = str(error)
    return store.UnknownAdapter(f"{message}{where}{difference(name)}")


def difference(name: str) -> str:
    """The cure for `medical-general`, where both are adapters; paths and ids on the Hub are not searched."""
    for at in (place for place, character in enumerate(name) if character == "-" and "/" not in name):
        less, more = name[at + 1 :], name[:at]
        if exact(less) and exact(more):
            return f"; to take {less} away, write {more}+{less}:-1"
    return ""
