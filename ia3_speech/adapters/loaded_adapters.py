"""Who is in a bank, and what the name that a batch gives a row means: `scots`, `scots:0.7+medical`.

In: a name of a resident, or a sum of such names, in the grammar of `expressions`, which reads names of
folders. Out: the residents with their weights. An exact name wins over a sum.
"""

from dataclasses import dataclass
from difflib import get_close_matches

from ia3_speech.adapters.bank_storage import Head
from ia3_speech.adapters.expressions import CURE, number_of
from ia3_speech.model.ia3 import AdapterError, TargetModule

NEAREST = 3  # names that an error proposes


@dataclass(frozen=True)
class LoadedAdapter:
    """One adapter in the bank: its row in every table, where it has vectors, its head or none."""

    slot: int
    places: frozenset[TargetModule]
    head: Head


Parts = list[tuple[LoadedAdapter, float]]  # adapters with their weights; none is the base


class LoadedAdapters(dict[str, LoadedAdapter]):
    """Name → resident, in the order in which they came. A name that is missing is an AdapterError."""

    def __missing__(self, name: str) -> LoadedAdapter:
        raise self.unknown(name, name)

    def parts(self, name: str | None) -> Parts:
        """What a row's name means. Raises AdapterError for a name that is none; it tells the nearest ones."""
        if name is None:
            return []
        pieces, found = name.split("+"), []
        while pieces:
            for count in range(len(pieces), 0, -1):  # a `+` may stand in a name, and in a weight such as 1e+2
                if part := self.part("+".join(pieces[:count])):
                    break
            else:
                raise self.unknown(pieces[0].strip(), name)
            found.append(part)
            pieces = pieces[count:]
        return found

    def part(self, text: str) -> tuple[LoadedAdapter, float] | None:
        """NAME or NAME:WEIGHT; None where it is neither."""
        for name in (text, text.strip()):
            if name in self:
                return self[name], 1.0
        name, _, number = text.strip().rpartition(":")
        weight = number_of(number)
        return (self[name], weight) if name in self and weight is not None else None

    def unknown(self, text: str, expression: str) -> AdapterError:
        """Why `text`, a piece of what was asked for, is no resident."""
        name, colon, number = text.rpartition(":")
        if name in self:
            return AdapterError(f'"{expression}": the weight of {name} is "{number}" ({CURE})')
        name = name if colon and number_of(number) is not None else text
        near = get_close_matches(name, list(self), n=NEAREST, cutoff=0.5)
        where = "" if name == expression.strip() else f', in "{expression}"'
        hint = f"nearest names: {', '.join(near)}" if near else "add it first"
        return AdapterError(f"{name or '(empty)'}: no adapter of the bank has this name{where} ({hint})")
