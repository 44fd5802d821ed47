"""The vectors of many adapters of one base: a table for each target module, a row in it for each adapter.

    layer 0, key      (capacity + 1, 768)     row 0: ones, the base; row 1: scots; row 2: medical; …
    layer 0, ffn      (capacity + 1, 3072)    ones where an adapter has no vector

A batch selects its rows once for each target module, whatever the number of adapters. One wide table for all
target modules would need a single call (0.25 instead of 0.63 ms for 16 rows of wav2vec2-base's shape, where
the batch takes seconds), but the first adapter with other target modules would then copy all that is there.
CTC heads are few and large, and are kept as they are.
"""

from collections.abc import Iterable, Mapping
from math import fsum

import torch
from torch import nn
from torch.func import functional_call

from ia3_speech.adapters.combine import weighted_sum
from ia3_speech.model.ia3 import TargetModule
from ia3_speech.model.sharing import structural_copy

BASE_SLOT = 0

Head = Mapping[str, torch.Tensor]  # a CTC head's parameters by their names in it: weight, bias
SlotTerms = list[tuple[int, float]]  # (slot, weight): Σ wᵢ·lᵢ + (1 − Σ wᵢ); no term is the base


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

    def select(self, rows: list[SlotTerms]) -> dict[TargetModule, torch.Tensor]:
        """Target module → copies for the rows of a batch, (batch, 1, d), fp32."""
        if all(not terms or (len(terms) == 1 and terms[0][1] == 1) for terms in rows):
            slots = [terms[0][0] if terms else BASE_SLOT for terms in rows]
            index = torch.tensor(slots, device=self.device)
            selected = ((target, table.index_select(0, index)) for target, table in self.by_target.items())
        else:
            selected = self.sums(rows)
        return {target: values.float()[:, None] for target, values in selected}

    def sums(self, rows: list[SlotTerms]) -> Iterable[tuple[TargetModule, torch.Tensor]]:
        """The sums, (batch, d), in float64 as `combine` computes them: exact at weights 1 and 0."""
        slots = sorted({slot for terms in rows for slot, _ in terms})
        weights = torch.zeros(len(rows), len(slots), dtype=torch.float64)
        for row, terms in enumerate(rows):
            for slot, weight in terms:
                weights[row, slots.index(slot)] += weight
        rest = torch.tensor(
            [[fsum([1.0, *(-weight for _, weight in terms)])] for terms in rows], dtype=torch.float64
        )
        index, weights, rest = (t.to(self.device) for t in (torch.tensor(slots), weights, rest))
        for target, table in self.by_target.items():
            yield target, weights @ table.index_select(0, index).double() + rest


def sum_heads(base: nn.Module, heads: list[tuple[Head, float]]) -> Head:
    """Σ wᵢ·hᵢ + (1 − Σ wᵢ)·h, h being the base's head; one of weight 1 as it is. Adapters without a head have
    the base's, and are left out."""
    if len(heads) == 1 and heads[0][1] == 1:
        return heads[0][0]
    weights = [weight for _, weight in heads]
    return {
        name: weighted_sum([head[name] for head, _ in heads], weights, own.double()).float()
        for name, own in base.named_parameters()
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
    output, own_module = output.clone(), structural_copy(module)
    for row, head in heads.items():
        own = {name: tensor.to(output.dtype) for name, tensor in head.items()}
        output[row] = functional_call(own_module, own, (hidden[row : row + 1],))[0]
    return output
