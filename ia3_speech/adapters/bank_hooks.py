"""Hooks by which a model computes a bank's batch: its rows are counted, and rows with a head of their own get
their logits from it.

In: BATCHES, which a bank sets in its own thread. Out: logits. A model without a batch in this thread computes
as without hooks.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import nn

from ia3_speech.adapters.bank_storage import Head, overwrite_rows
from ia3_speech.model.architectures import AdapterError


@dataclass(frozen=True)
class Batch:
    """What this thread's batch of a bank is: how many rows, and the heads of those that have their own."""

    rows: int
    heads: Mapping[int, Head]


# The id of a bank → its batch in this thread. By id, so that a copy of the model does not copy the bank.
BATCHES: ContextVar[Mapping[int, Batch]] = ContextVar("batches", default={})  # noqa: B039


def check_batch_rows(bank: int, _module: nn.Module, args: tuple, kwargs: dict) -> None:
    """A batch must have as many rows as names were given for it."""
    batch = BATCHES.get().get(bank)
    sizes = [len(value) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
    if batch and sizes and sizes[0] != batch.rows:
        raise AdapterError(
            f"a batch of {sizes[0]} rows came, and the bank was given {batch.rows} names for it"
        )


def apply_heads(
    bank: int, head: nn.Module, _module: nn.Module, args: tuple, output: torch.Tensor
) -> torch.Tensor:
    """The logits, with those of rows that have a head of their own (by `head`, a copy of the base's)."""
    batch = BATCHES.get().get(bank)
    return overwrite_rows(output, args[0], head, batch.heads) if batch and batch.heads else output
