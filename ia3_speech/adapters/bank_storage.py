"""The numbers of many adapters of one base: a table for each place, a row of every table for each adapter.

    place of layer 0, key      (capacity + 1, 768)     row 0: ones, the base; row 1: scots; row 2: medical; …
    place of layer 0, ffn      (capacity + 1, 3072)    what an adapter lacks is ones as well

A batch picks its rows once a place, whatever the number of adapters. One wide table of all places would be
picked from in a single call (0.25 instead of 0.63 ms for 16 rows of wav2vec2-base's shape, where the batch
takes seconds), but the first adapter with another layout would then copy all that is there. CTC heads are few
and large, and stay as they came.
"""

from collections.abc import Callable, Iterable, Mapping
from math import fsum

import torch
from torch import nn
from torch.func import functional_call

from ia3_speech.adapters.combine import mix
from ia3_speech.model.ia3 import TargetModule

BASE = 0  # the base's slot

Head = Mapping[str, torch.Tensor]  # a CTC head's parameters by their names in it: weight, bias
Terms = list[tuple[int, float]]  # (slot, weight): Σ wᵢ·lᵢ + (1 − Σ wᵢ); no term is the base


class Tables:
    """Slots 1, 2, … of numbers that start as ones, at the places that are covered.

    Attributes:
        capacity: slots that there is room for; it doubles when a higher one is written.
        of: place → its table, (capacity + 1, d).
    """

    def __init__(self, capacity: int, dtype: torch.dtype, device: torch.device):
        self.capacity, self.dtype, self.device = capacity, dtype, device
        self.of: dict[TargetModule, torch.Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes, with those of the slots that are free."""
        return sum(table.nbytes for table in self.of.values())

    def cover(self, widths: Mapping[TargetModule, int]) -> None:
        """Have tables at these places, of these widths, and at no other."""
        known = self.of
        self.of = {p: known[p] if p in known else self.ones(self.capacity, d) for p, d in widths.items()}

    def write(self, slot: int, vectors: Mapping[TargetModule, torch.Tensor]) -> None:
        if slot > self.capacity:
            self.grow(max(slot, 2 * self.capacity))
        for place, table in self.of.items():
            table[slot] = vectors.get(place, 1.0)

    def grow(self, capacity: int) -> None:
        """Table by table, so that no more than one of them stands in memory twice."""
        for place, table in self.of.items():
            self.of[place] = self.ones(capacity, table.shape[1])
            self.of[place][: len(table)] = table
        self.capacity = capacity

    def ones(self, capacity: int, width: int) -> torch.Tensor:
        return torch.ones(capacity + 1, width, dtype=self.dtype, device=self.device)

    def pick(self, rows: list[Terms]) -> dict[TargetModule, torch.Tensor]:
        """Place → copies for the rows of a batch, (batch, 1, d), fp32."""
        if all(not terms or (len(terms) == 1 and terms[0][1] == 1) for terms in rows):
            index = torch.tensor([terms[0][0] if terms else BASE for terms in rows], device=self.device)
            picked = ((place, table.index_select(0, index)) for place, table in self.of.items())
        else:
            picked = self.sums(rows)
        return {place: numbers.float()[:, None] for place, numbers in picked}

    def sums(self, rows: list[Terms]) -> Iterable[tuple[TargetModule, torch.Tensor]]:
        """The combinations, (batch, d), in float64 as `arithmetic` makes them: exact at weights 1 and 0."""
        slots = sorted({slot for terms in rows for slot, _ in terms})
        weights = torch.zeros(len(rows), len(slots), dtype=torch.float64)
        for row, terms in enumerate(rows):
            for slot, weight in terms:
                weights[row, slots.index(slot)] += weight
        left = torch.tensor(
            [[fsum([1.0, *(-weight for _, weight in terms)])] for terms in rows], dtype=torch.float64
        )
        index, weights, left = (t.to(self.device) for t in (torch.tensor(slots), weights, left))
        for place, table in self.of.items():
            yield place, weights @ table.index_select(0, index).double() + left


def sum_of_heads(base: nn.Module, heads: list[tuple[Head, float]]) -> Head:
    """Σ wᵢ·hᵢ + (1 − Σ wᵢ)·h, h being the base's head; one of weight 1 as it is. Adapters without a head have
    the base's, and are left out."""
    if len(heads) == 1 and heads[0][1] == 1:
        return heads[0][0]
    weights = [weight for _, weight in heads]
    return {
        name: mix([head[name] for head, _ in heads], weights, own.double()).float()
        for name, own in base.named_parameters()
    }


def own_heads(module: nn.Module, heads: Mapping[int, Head]) -> Callable:
    """A hook for the base's head, which runs for all rows: those in `heads` are computed again, by a copy of
    the head (`module`) with their own numbers."""

    def overwrite(_module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        for row, head in heads.items():
            own = {name: tensor.to(output.dtype) for name, tensor in head.items()}
            output[row] = functional_call(module, own, (args[0][row : row + 1],))[0]
        return output

    return overwrite
