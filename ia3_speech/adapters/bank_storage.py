"""What a bank holds: a table for each target module, a row in it for each adapter, and CTC heads.

    layer 0, key      (capacity + 1, 768)     row 0: ones, the base; row 1: scots; row 2: medical; …
    layer 0, ffn      (capacity + 1, 3072)    ones where an adapter has no vector

In: adapters of one base, and for each row of a batch a sum of some. Out: that row's vectors and head. A batch
selects its rows once for each target module, whatever the number of adapters. One wide table for all target
modules would need a single call (0.25 instead of 0.63 ms for 16 rows of wav2vec2-base's shape, where the
batch takes seconds), but the first adapter with other target modules would then copy all that is there. CTC
heads are few and large, and are kept as they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum

import torch
from torch import nn
from torch.func import functional_call

from ia3_speech.adapters.load import weighted_sum
from ia3_speech.model.ia3 import TargetModule
from ia3_speech.model.sharing import structural_copy

BASE_SLOT = 0

Head = Mapping[str, torch.Tensor]  # a CTC head's parameters by their names in it: weight, bias


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


# What a row of a batch is: Σ wᵢ·lᵢ + (1 − Σ wᵢ); no adapter is the base.
WeightedAdapters = list[tuple[LoadedAdapter, float]]


class VectorTables:
    """Slots 1, 2, … for vectors of chosen target modules; a slot starts as ones.

    Attributes:
        capacity: slots that there is space for; it doubles when a higher one is written.
        by_target: target module → its table, (capacity + 1, d).
    """

    def __init__(self, capacity: int, dtype: torch.dtype, device: torch.device):
        self.capacity, self.dtype, self.device = capacity, dtype, device
        self.by_target: dict[TargetModule, torch.Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes, with those of the slots that are free."""
        return sum(table.nbytes for table in self.by_target.values())

    def set_targets(self, sizes: Mapping[TargetModule, int]) -> None:
        """Have tables for these target modules, with vectors of these sizes, and for no others."""
        old = self.by_target
        self.by_target = {t: old[t] if t in old else self.ones(self.capacity, d) for t, d in sizes.items()}

    def write(self, slot: int, vectors: Mapping[TargetModule, torch.Tensor]) -> None:
        if slot > self.capacity:
            self.extend(max(slot, 2 * self.capacity))
        for target, table in self.by_target.items():
            table[slot] = vectors.get(target, 1.0)

    def extend(self, capacity: int) -> None:
        """Table by table, so that no more than one of them is in memory twice."""
        for target, table in self.by_target.items():
            self.by_target[target] = self.ones(capacity, table.shape[1])
            self.by_target[target][: len(table)] = table
        self.capacity = capacity

    def ones(self, capacity: int, size: int) -> torch.Tensor:
        return torch.ones(capacity + 1, size, dtype=self.dtype, device=self.device)

    def select(self, rows: list[WeightedAdapters]) -> dict[TargetModule, torch.Tensor]:
        """Target module → copies for the rows of a batch, (batch, 1, d), fp32."""
        if all(not adapters or (len(adapters) == 1 and adapters[0][1] == 1) for adapters in rows):
            slots = [adapters[0][0].slot if adapters else BASE_SLOT for adapters in rows]
            index = torch.tensor(slots, device=self.device)
            selected = ((target, table.index_select(0, index)) for target, table in self.by_target.items())
        else:
            selected = self.sums(rows)
        return {target: values.float()[:, None] for target, values in selected}

    def sums(self, rows: list[WeightedAdapters]) -> Iterable[tuple[TargetModule, torch.Tensor]]:
        """The sums, (batch, d), in float64 as `load.combine` computes them: exact at weights 1 and 0."""
        slots = sorted({adapter.slot for adapters in rows for adapter, _ in adapters})
        weights = torch.zeros(len(rows), len(slots), dtype=torch.float64)
        rest = torch.empty(len(rows), 1, dtype=torch.float64)
        for row, adapters in enumerate(rows):
            rest[row] = fsum([1.0, *(-weight for _, weight in adapters)])
            for adapter, weight in adapters:
                weights[row, slots.index(adapter.slot)] += weight
        index, weights, rest = (t.to(self.device) for t in (torch.tensor(slots), weights, rest))
        for target, table in self.by_target.items():
            yield target, weights @ table.index_select(0, index).double() + rest


def sum_heads(base: nn.Module, adapters: WeightedAdapters) -> Head:
    """Σ wᵢ·hᵢ + (1 − Σ wᵢ)·h, h being the base's head; one of weight 1 as it is. The adapters have heads: one
    without has the base's, and is left out."""
    if len(adapters) == 1 and adapters[0][1] == 1:
        return adapters[0][0].head
    weights = [weight for _, weight in adapters]
    return {
        name: weighted_sum([adapter.head[name] for adapter, _ in adapters], weights, h.double()).float()
        for name, h in base.named_parameters()
    }


def overwrite_rows(
    output: torch.Tensor, hidden: torch.Tensor, module: nn.Module, heads: Mapping[int, Head]
) -> torch.Tensor:
    """Logits (batch, frames, vocabulary) of the base's head for all rows → the same, those of the rows in
    `heads` computed again from `hidden`, (batch, frames, d).

    Args:
        module: a copy of the base's head, whose parameters are replaced by a row's.
        heads: row → its head.
    """
    output, module = output.clone(), structural_copy(module)
    for row, head in heads.items():
        parameters = {name: tensor.to(output.dtype) for name, tensor in head.items()}
        output[row] = functional_call(module, parameters, (hidden[row : row + 1],))[0]
    return output
