"""Many adapters of one base in memory at once, one of them for each row of a batch.

    bank = Bank(load_base("mini"))
    bank.add("scots")                                   # a name in the store,
    bank.add("medical", "exp/medical/adapter")          # a folder, a sum of such, or a `files.Adapter`
    bank.logits(waves, ["scots", None, "scots:0.5+medical"])
    with bank.rows(["medical", None]):                  # or transformers' own model, called as ever
        model(batch, attention_mask=mask)

In: waves, and for each the name of an adapter, None for the base, or a sum of names as `expressions` reads
it. Out: logits, each row's equal to that row alone with its adapter. A row of the base is bit for bit what
the same batch gives with no bank, for 1·x is x: in bfloat16 too, since numbers are kept in the bank's type
and multiply in fp32. (WavLM computes its attention another way while it carries vectors: see `ia3.attach`.)

Any thread may run batches and edit the bank. Batches go one at a time, since the model is one. A batch starts
by copying its rows out of the tables, under the lock that an edit takes to write: what is added, replaced or
dropped from then on is for the next batch, and waits for none. Only an edit that brings a place into use, or
ends the last use of one, changes the model and waits for the batch in flight; a place that no adapter uses
costs no time. The base's own `logits` must not run beside the bank's in another thread.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock, get_ident

import numpy as np
import torch
from torch import nn

from ia3_speech.adapters import combine as arithmetic
from ia3_speech.adapters import expressions
from ia3_speech.adapters import io as files
from ia3_speech.adapters.bank_storage import Head, Tables, own_heads, sum_of_heads
from ia3_speech.adapters.io import Adapter
from ia3_speech.adapters.loaded_adapters import LoadedAdapter, LoadedAdapters
from ia3_speech.model import ia3
from ia3_speech.model.base import DTYPES, Base
from ia3_speech.model.fingerprint import describe, same_base
from ia3_speech.model.ia3 import AdapterError, IA3Config, TargetModule

FIRST_CAPACITY = 16  # adapters that a bank has room for before it grows


class Bank:
    """Adapters of one base, resident, to be chosen from row by row.

    The base's model must carry no adapter. While the bank holds any, it carries the bank's vectors (ones, as
    long as no batch of the bank runs), so it still computes what the base does; with the last one dropped it
    is as it was.

    Args:
        base: the base of all adapters, in any precision.
        dtype: of the tables: float32, or bfloat16 for half the memory (numbers near 1 then keep 8 bits).
        capacity: adapters to make room for at once.

    Raises:
        AdapterError: the model carries an adapter, or is of an unknown kind.
    """

    def __init__(self, base: Base, *, dtype: str = "float32", capacity: int = FIRST_CAPACITY):
        if dtype not in ("float32", "bfloat16"):
            raise AdapterError(f"a bank's dtype is float32 or bfloat16, not {dtype!r}")
        ia3.refuse_merged(base.model)
        if ia3.is_attached(base.model):
            raise AdapterError(f"{base.name} carries an adapter already (call detach(base.model) first)")
        self.base = base
        self.tables = Tables(max(1, capacity), DTYPES[dtype], base.device)
        self.widths = {place: ia3.width_of(base.model, place) for place in ia3.all_target_modules(base.model)}
        self.head_path = ia3.head_of(base.model)
        self.head = copy.deepcopy(base.model.get_submodule(self.head_path))  # runs with the rows' own numbers
        self.residents = LoadedAdapters()
        self.layouts: Counter[frozenset[TargetModule]] = (
            Counter()
        )  # how many residents have vectors just there
        self.free: list[int] = []  # slots that were dropped
        self.vectors: dict[TargetModule, ia3.IA3Vector] = {}  # those in the model
        self.config: IA3Config | None = None  # what the model says of them
        # Taken in this order: for one edit at a time; for the model; for the tables and the residents.
        self.editing, self.running, self.writing = Lock(), Lock(), Lock()
        self.runner: int | None = None  # the thread that has the model

    def __len__(self) -> int:
        return len(self.residents)

    def __contains__(self, name: str) -> bool:
        return name in self.residents

    def names(self) -> list[str]:
        """The residents' names, in the order in which they came."""
        return list(self.residents)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, with the room that is free in them, and of the heads."""
        heads = [tensor for resident in list(self.residents.values()) for tensor in resident.head.values()]
        return self.tables.nbytes + sum(tensor.nbytes for tensor in heads)

    # --- edits ------------------------------------------------------------------------------------------

    def add(self, name: str, adapter: Adapter | Path | str | None = None) -> None:
        """Take in an adapter under `name`.

        Args:
            adapter: in memory, or what `--adapter` takes: a folder, a name in the store, a sum of such names.
                None stands for `name`.

        Raises:
            AdapterError: the name is taken; the adapter is of another base (both are named) or vocabulary, or
                doesn't fit; this thread is in the middle of a batch.
            UnknownAdapter: there is no such adapter.
        """
        with self.edit():
            if name in self.residents:
                raise AdapterError(f"{name}: is in the bank already (replace it, or drop it first)")
            found = self.read(name, name if adapter is None else adapter)
            self.write(name, self.free[-1] if self.free else len(self.residents) + 1, found)

    def replace(self, name: str, adapter: Adapter | Path | str | None = None) -> None:
        """Put another adapter in the place of a resident. Raises as `add`; the older one then stays."""
        with self.edit():
            slot = self.residents[name].slot
            self.write(name, slot, self.read(name, name if adapter is None else adapter))

    def drop(self, name: str) -> None:
        """Let an adapter go; its slot is the next one's. Raises AdapterError where there is none."""
        with self.edit():
            self.write(name, self.residents[name].slot, None)

    @contextmanager
    def edit(self) -> Iterator[None]:
        """One edit at a time, and none by the thread that runs a batch: it might wait for itself."""
        self.refuse_within_a_batch()
        # Tensors made in a server's inference mode could not be written to outside of it.
        with self.editing, torch.inference_mode(False), torch.no_grad():
            yield

    def read(self, name: str, adapter: Adapter | Path | str) -> Adapter:
        """The adapter, proven to fit the base."""
        if not isinstance(adapter, Adapter):
            parts = expressions.terms(adapter)
            for part in parts:
                self.check_base(part.name, files.read_metadata(part.folder))
            adapter = arithmetic.read(self.base.model, parts)
        self.check_base(name, adapter.metadata)
        head = dict(self.head.named_parameters(self.head_path)) if adapter.head else {}
        if adapter.head.keys() != head.keys():
            raise AdapterError(f"{name}: the head is {', '.join(adapter.head)}, the base's {', '.join(head)}")
        for key, own in head.items():
            if adapter.head[key].shape != own.shape:
                raise AdapterError(
                    f"{name}: {key} is for {len(adapter.head[key])} symbols, and the base {self.base.name} "
                    f"has {len(own)} (a bank's adapters have their base's vocabulary)"
                )
        for place, vector in adapter.vectors.items():
            if self.widths.get(place) != vector.numel():
                raise AdapterError(
                    f"{name}: {place.vector} has {vector.numel()} numbers, and the base {self.base.name} has "
                    f"{self.widths.get(place, 'no place')} there"
                )
        numbers = torch.cat([tensor.flatten() for tensor in (adapter.vectors | adapter.head).values()])
        if not bool(numbers.to(self.tables.dtype).isfinite().all()):
            raise AdapterError(f"{name}: holds NaN or infinite numbers")
        return adapter

    def check_base(self, name: str, metadata: files.Metadata | None) -> None:
        if metadata and not same_base(metadata.fingerprint, self.base.fingerprint):
            raise AdapterError(
                f"{name} was trained on another base, {metadata.base or 'unnamed'} "
                f"({describe(metadata.fingerprint)}); this bank is of {self.base.name} "
                f"({describe(self.base.fingerprint)})"
            )

    def write(self, name: str, slot: int, adapter: Adapter | None) -> None:
        """Fill a slot, or with None give it up, and have vectors in the model where residents have any."""
        old, layouts, new = self.residents.get(name), self.layouts.copy(), None
        if old:
            layouts[old.target_modules] -= 1
        if adapter:
            target_modules = frozenset(adapter.vectors)
            target_modules = next(
                (known for known in layouts if known == target_modules), target_modules
            )  # one object for thousands
            layouts[target_modules] += 1
            new = LoadedAdapter(slot, target_modules, self.head_of(adapter))
        layouts = +layouts
        wanted = frozenset().union(*layouts)
        moves = wanted != self.tables.of.keys()
        with self.alone() if moves else nullcontext(), self.writing:
            if moves:
                self.refit(wanted)
            self.layouts = layouts
            if new:
                self.tables.write(slot, adapter.vectors)
                self.residents[name] = new
                if self.free[-1:] == [slot]:
                    self.free.pop()
            else:
                del self.residents[name]
                self.free.append(slot)

    def head_of(self, adapter: Adapter) -> Head:
        """Its head's parameters as they are called in the head, fp32, on the base's device."""
        return {
            name.removeprefix(f"{self.head_path}."): tensor.to(self.base.device, torch.float32)
            for name, tensor in adapter.head.items()
        }

    def refit(self, wanted: frozenset[TargetModule]) -> None:
        """Vectors and tables at these places and no other. Raises AdapterError; all is then as before."""
        before, target_modules = list(self.tables.of), [place for place in self.widths if place in wanted]
        try:
            self.attach(target_modules)
            if not wanted <= self.tables.of.keys():
                ia3.check_liveness(self.base.model)
        except AdapterError:
            self.attach(before)
            raise
        self.tables.cover({place: self.widths[place] for place in target_modules})

    def attach(self, target_modules: list[TargetModule]) -> None:
        """Put vectors of ones into the model at these places, in the stead of the bank's others."""
        model = self.base.model
        if ia3.is_attached(model) and model.ia3_config is not self.config:
            raise AdapterError(f"{self.base.name} carries another adapter (call detach(base.model) first)")
        ia3.detach(model)
        self.config = None
        if target_modules:
            self.config = IA3Config(tuple({place.placement for place in target_modules}))
            ia3.attach_vectors(model, target_modules, self.config)
        self.vectors = {vector.place: vector for vector in ia3.vectors(model).values()}

    # --- batches ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def logits(self, waves: Sequence[np.ndarray], names: Sequence[str | None]) -> list[torch.Tensor]:
        """One (frames, vocabulary) tensor a wave, fp32 on the CPU, each equal to that wave alone with the
        adapter that `names` has at its place.

        Raises:
            AdapterError: as `rows`.
        """
        if len(waves) != len(names):
            raise AdapterError(f"{len(waves)} waves and {len(names)} names (None is the base's)")
        with self.rows(names):
            return self.base.logits(waves)

    @contextmanager
    def rows(self, names: Sequence[str | None]) -> Iterator[None]:
        """While it is open, row i of each batch that goes through the model has the adapter `names[i]`.

        Args:
            names: residents, None for the base, or sums such as `scots:0.7+medical`; an exact name wins.

        Raises:
            AdapterError: no such resident (the nearest names are told); another number of rows comes; the
                model carries another adapter; this thread is in the middle of a batch.
        """
        with self.alone():
            ia3.refuse_merged(self.base.model)
            if getattr(self.base.model, "ia3_config", None) is not self.config:  # somebody called detach
                self.attach(list(self.tables.of))
            vectors, heads = self.pick(names)
            handles = [self.base.model.register_forward_pre_hook(counted(len(names)), with_kwargs=True)]
            if heads:
                head = self.base.model.get_submodule(self.head_path)
                handles.append(head.register_forward_hook(own_heads(self.head, heads)))
            for place, rows in vectors.items():
                self.vectors[place].rows = rows
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()
                for vector in self.vectors.values():
                    vector.rows = None

    @torch.no_grad()
    def pick(self, names: Sequence[str | None]) -> tuple[dict[TargetModule, torch.Tensor], dict[int, Head]]:
        """Copies of what a batch needs: place → (batch, 1, d), fp32, and row → head where it has its own."""
        with self.writing:
            wanted = [self.residents.parts(name) for name in names]
            vectors = self.tables.pick([[(part.slot, weight) for part, weight in parts] for parts in wanted])
        having = {row: [(p.head, w) for p, w in parts if p.head] for row, parts in enumerate(wanted)}
        return vectors, {row: sum_of_heads(self.head, heads) for row, heads in having.items() if heads}

    # --- whose turn it is -------------------------------------------------------------------------------

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No batch runs meanwhile, and none starts."""
        self.refuse_within_a_batch()
        with self.running:
            self.runner = get_ident()
            try:
                yield
            finally:
                self.runner = None

    def refuse_within_a_batch(self) -> None:
        if self.runner == get_ident():
            raise AdapterError("a batch of this bank is running in this thread (leave its `rows` first)")


def counted(rows: int) -> Callable:
    """A hook: a batch must have as many rows as were named."""

    def check(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        sizes = [len(value) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        if sizes and sizes[0] != rows:
            raise AdapterError(f"a batch of {sizes[0]} rows came, and the bank was given {rows} names for it")

    return check
