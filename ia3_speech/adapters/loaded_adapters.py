"""The adapters that a bank has loaded, and what the name of a row means: `scots`, `scots:0.7+medical`.

In: a name of a loaded adapter, or a sum of such names, in the grammar of `expressions`. Out: loaded adapters
with their weights. An exact name wins over a sum.
"""

from dataclasses import dataclass
from difflib import get_close_matches

from ia3_speech.adapters.bank_storage import Head
from ia3_speech.adapters.expressions import parse_expression
from ia3_speech.model.architectures import AdapterError
from ia3_speech.model.ia3 import TargetModule

NEAREST = 3  # names that an error proposes


@dataclass(frozen=True)
class LoadedAdapter:
    """One adapter in the bank.

    Attributes:
        slot: its row in every table of vectors.
        targets: the target modules for which it has vectors.
        head: its CTC head's parameters; empty where it has none.
    """

    slot: int
    targets: frozenset[TargetModule]
    head: Head


class LoadedAdapters(dict[str, LoadedAdapter]):
    """Name → loaded adapter, in the order in which they were added. A missing name is an AdapterError."""

    def __missing__(self, name: str) -> LoadedAdapter:
        raise self.unknown(name, name)

    def terms(self, name: str | None) -> list[tuple[LoadedAdapter, float]]:
        """What a row's name means: loaded adapters with their weights; none is the base.

        Raises:
            AdapterError: a name is not that of a loaded adapter; the message proposes the nearest ones.
        """
        found = () if name is None else parse_expression(name, self.get, self.unknown)
        return [(adapter, weight) for _, adapter, weight in found]

    def unknown(self, name: str, expression: str) -> AdapterError:
        """The error for a name in `expression` that is not that of a loaded adapter."""
        near = get_close_matches(name, list(self), n=NEAREST, cutoff=0.5)
        where = "" if name == expression.strip() else f', in "{expression}"'
        hint = f"nearest names: {', '.join(near)}" if near else "add it first"
        return AdapterError(f"{name or '(empty)'}: no adapter of the bank has this name{where} ({hint})")
