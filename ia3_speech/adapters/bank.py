"""Many adapters of one base in memory at once, one of them for each row of a batch.

    bank = Bank(load_base("mini"))
    bank.add("scots")                                   # a registered name,
    bank.add("medical", "exp/medical/adapter")          # a folder, a sum of such, or an `Adapter`
    bank.logits(waves, ["scots", None, "scots:0.5+medical"])
    with bank.rows(["medical", None]):                  # or the transformers model, called as usual
        model(batch, attention_mask=mask)

In: waves, and for each the name of an adapter, None for the base, or a sum of names as `expressions` reads
it. Out: logits, each row's equal to that row alone with its adapter. A row of the base is bit for bit what
the same batch gives with no bank, for 1·x is x: in bfloat16 too, since vectors are kept in the bank's type
and multiply in fp32. (WavLM computes its attention another way while it has vectors: see `attach`.)

Any thread may run batches and edit the bank, and use the base's own `logits`. A batch starts by copying its
rows out of the tables, under the lock that an edit takes to write: what is added, replaced or dropped later
affects the next batch, and waits for none. Its rows belong to its thread (`ia3.using_rows`), so that batches
run side by side. Only an edit that needs vectors in target modules that had none, or ends the last use of
one, changes the model and waits for current batches (`Base.lock`); a target module that no adapter uses costs
no time.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NoReturn

import numpy as np
import torch

from ia3_speech.adapters.adapter import Adapter, Metadata
from ia3_speech.adapters.bank_hooks import BATCHES, Batch, apply_heads, check_batch_rows
from ia3_speech.adapters.bank_storage import Head, VectorTables, sum_heads
from ia3_speech.adapters.expressions import parse_terms
from ia3_speech.adapters.load import read_sum
from ia3_speech.adapters.loaded_adapters import LoadedAdapter, LoadedAdapters
from ia3_speech.adapters.record import describe_base, read_metadata, same_base
from ia3_speech.model.architectures import AdapterError, IA3Config
from ia3_speech.model.attach import check_liveness, detach, insert_vectors, is_attached, refuse_merged
from ia3_speech.model.base import DTYPES, Base
from ia3_speech.model.ia3 import (
    IA3Vector,
    TargetModule,
    all_target_modules,
    head_of,
    using_rows,
    vector_size,
    vectors,
)
from ia3_speech.model.int8 import is_int8

FIRST_CAPACITY = 16  # adapters that a bank has space for before it grows


class Bank:
    """Loaded adapters of one base, to be chosen from row by row.

    The base's model must carry no adapter. While the bank holds any, the model carries the bank's vectors,
    which are ones except while a batch of the bank runs, so it still computes what the base does; when the
    last adapter is dropped, the model is as it was.

    Args:
        base: the base of all adapters, in any precision.
        dtype: of the tables: float32, or bfloat16 for half the memory (parameters near 1 then keep 8 bits).
        capacity: adapters to allocate space for at once.

    Raises:
        AdapterError: the model carries an adapter, or its architecture is unknown.
    """

    def __init__(self, base: Base, *, dtype: str = "float32", capacity: int = FIRST_CAPACITY):
        if dtype not in ("float32", "bfloat16"):
            raise AdapterError(f"a bank's dtype is float32 or bfloat16, not {dtype!r}")
        refuse_merged(base.model)
        if is_attached(base.model):
            raise AdapterError(f"{base.name} carries an adapter already (call detach(base.model) first)")
        self.base = base
        self.tables = VectorTables(max(1, capacity), DTYPES[dtype], base.device)
        self.sizes = {target: vector_size(base.model, target) for target in all_target_modules(base.model)}
        self.head_path = head_of(base.model)
        self.head = copy.deepcopy(base.model.get_submodule(self.head_path))  # runs with the rows' parameters
        self.loaded = LoadedAdapters()
        # A set of target modules → how many loaded adapters have vectors for just these.
        self.users: Counter[frozenset[TargetModule]] = Counter()
        self.free: list[int] = []  # slots that were dropped
        self.vectors: dict[TargetModule, IA3Vector] = {}  # those in the model
        self.config: IA3Config | None = None  # of the vectors in the model
        self.hooks: list[torch.utils.hooks.RemovableHandle] = []  # in the model, while an adapter is loaded
        # For one edit at a time; for the tables and loaded adapters. `base.lock` is taken between them.
        self.edit_lock, self.table_lock = Lock(), Lock()

    def __len__(self) -> int:
        return len(self.loaded)

    def __contains__(self, name: str) -> bool:
        return name in self.loaded

    def __reduce__(self) -> NoReturn:
        raise AdapterError(
            "a Bank can't be pickled or copied, since its batches belong to threads of one process (pickle "
            "its base, and add the adapters to a Bank of the copy)"
        )

    def names(self) -> list[str]:
        """The loaded adapters' names, in the order in which they were added."""
        return list(self.loaded)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, with the space that is free in them, and of the heads."""
        heads = [tensor for adapter in list(self.loaded.values()) for tensor in adapter.head.values()]
        return self.tables.nbytes + sum(tensor.nbytes for tensor in heads)

    # --- edits ----------------------------------------------------------------------------------------------

    def add(self, name: str, adapter: Adapter | Path | str | None = None) -> None:
        """Load an adapter under `name`.

        Args:
            adapter: in memory, or what `--adapter` takes: a folder, a registered name, a sum of such. None
                stands for `name`.

        Raises:
            AdapterError: the name is taken; the adapter is of another base (both are named) or vocabulary, or
                doesn't fit; this thread is running a batch.
            UnknownAdapter: there is no such adapter.
        """
        with self.edit():
            if name in self.loaded:
                raise AdapterError(f"{name}: is in the bank already (replace it, or drop it first)")
            found = self.load(name, name if adapter is None else adapter)
            self.write(name, self.free[-1] if self.free else len(self.loaded) + 1, found)

    def replace(self, name: str, adapter: Adapter | Path | str | None = None) -> None:
        """Put another adapter under the name of a loaded one. Raises as `add`; the older one then stays."""
        with self.edit():
            slot = self.loaded[name].slot
            self.write(name, slot, self.load(name, name if adapter is None else adapter))

    def drop(self, name: str) -> None:
        """Unload an adapter; the next one takes its slot. Raises AdapterError where there is none."""
        with self.edit():
            self.write(name, self.loaded[name].slot, None)

    @contextmanager
    def edit(self) -> Iterator[None]:
        """One edit at a time, and none by the thread that runs a batch: it might wait for itself."""
        self.refuse_within_batch()
        # Tensors made in a server's inference mode could not be written to outside of it.
        with self.edit_lock, torch.inference_mode(False), torch.no_grad():
            yield

    def load(self, name: str, adapter: Adapter | Path | str) -> Adapter:
        """The adapter in memory, proven to fit the base."""
        if not isinstance(adapter, Adapter):
            terms = parse_terms(adapter)
            for term in terms:
                self.check_base(term.name, read_metadata(term.folder))
            adapter = read_sum(self.base.model, terms)
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
        for target, vector in adapter.vectors.items():
            if self.sizes.get(target) != vector.numel():
                raise AdapterError(
                    f"{name}: {target.vector_path} has {vector.numel()} parameters, and the base "
                    f"{self.base.name} has {self.sizes.get(target, 'no target module')} there"
                )
        values = torch.cat([tensor.flatten() for tensor in adapter.tensors.values()])
        if not bool(values.to(self.tables.dtype).isfinite().all()):
            raise AdapterError(f"{name}: holds NaN or infinite values")
        return adapter

    def check_base(self, name: str, metadata: Metadata | None) -> None:
        if metadata and not same_base(metadata.fingerprint, self.base.fingerprint):
            raise AdapterError(
                f"{name} was trained on another base, {metadata.base or 'unnamed'} "
                f"({describe_base(metadata.fingerprint)}); this bank is of {self.base.name} "
                f"({describe_base(self.base.fingerprint)})"
            )

    def write(self, name: str, slot: int, adapter: Adapter | None) -> None:
        """Fill a slot, or free it where `adapter` is None, and have vectors in the model exactly where a
        loaded adapter has any."""
        old, users, new = self.loaded.get(name), self.users.copy(), None
        if old:
            users[old.targets] -= 1
        if adapter:
            targets = frozenset(adapter.vectors)
            targets = next(
                (known for known in users if known == targets), targets
            )  # one object for thousands
            users[targets] += 1
            new = LoadedAdapter(slot, targets, self.head_parameters(adapter))
        users = +users
        used = frozenset().union(*users)
        any_loaded = bool(new or self.loaded.keys() - {name})
        changes_model = used != self.tables.by_target.keys() or any_loaded != bool(self.hooks)
        with self.base.lock.exclusive() if changes_model else nullcontext(), self.table_lock:
            if changes_model:
                self.set_targets(used)
                self.set_hooks(any_loaded)
            self.users = users
            if new:
                self.tables.write(slot, adapter.vectors)
                self.loaded[name] = new
                if self.free[-1:] == [slot]:
                    self.free.pop()
            else:
                del self.loaded[name]
                self.free.append(slot)

    def head_parameters(self, adapter: Adapter) -> Head:
        """Its head's parameters by their names in the head, fp32, on the base's device."""
        return {
            name.removeprefix(f"{self.head_path}."): tensor.to(self.base.device, torch.float32)
            for name, tensor in adapter.head.items()
        }

    def set_targets(self, used: frozenset[TargetModule]) -> None:
        """Have vectors and tables for these target modules only. Raises AdapterError and changes nothing."""
        before, targets = list(self.tables.by_target), [target for target in self.sizes if target in used]
        try:
            self.insert_vectors(targets)
            if not used <= self.tables.by_target.keys():
                check_liveness(self.base.model)
        except AdapterError:
            self.insert_vectors(before)
            raise
        self.tables.set_targets({target: self.sizes[target] for target in targets})

    def set_hooks(self, wanted: bool) -> None:
        """Have hooks in the model that apply what `rows` says of this thread's batch."""
        for handle in self.hooks:
            handle.remove()
        self.hooks = []
        if wanted:
            model, key = self.base.model, id(self)
            head = model.get_submodule(self.head_path)
            self.hooks = [
                model.register_forward_pre_hook(partial(check_batch_rows, key), with_kwargs=True),
                head.register_forward_hook(partial(apply_heads, key, self.head)),
            ]

    def insert_vectors(self, targets: list[TargetModule]) -> None:
        """Put vectors of ones into these modules of the model, instead of the bank's other vectors."""
        model = self.base.model
        if is_attached(model) and model.ia3_config is not self.config:
            raise AdapterError(f"{self.base.name} carries another adapter (call detach(base.model) first)")
        detach(model)
        self.config = None
        if targets:
            self.config = IA3Config(tuple({target.placement for target in targets}))
            insert_vectors(model, targets, self.config)
        self.vectors = {vector.target: vector for vector in vectors(model).values()}

    # --- batches --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def logits(
        self, waves: Sequence[np.ndarray], names: Sequence[str | None], *, any_length: bool = False
    ) -> list[torch.Tensor]:
        """One (frames, vocabulary) tensor a wave, fp32 on the CPU, each equal to that wave alone with the
        adapter that `names` gives for it.

        Args:
            any_length: as for `Base.logits`.

        Raises:
            AdapterError: as `rows`.
            BaseError: as `Base.logits`.
        """
        if len(waves) != len(names):
            raise AdapterError(f"{len(waves)} waves and {len(names)} names (None is the base's)")
        if is_int8(self.base.model) and len(waves) > 1:  # see `Base.logits`
            pairs = zip(waves, names, strict=True)
            return [self.logits([wave], [name], any_length=any_length)[0] for wave, name in pairs]
        with self.rows(names):
            return self.base.logits(waves, any_length=any_length)

    @contextmanager
    def rows(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within this context, row i of each batch that the model computes has the adapter `names[i]`.

        Args:
            names: loaded adapters, None for the base, or sums such as `scots:0.7+medical`.

        Raises:
            AdapterError: no such adapter is loaded (the nearest names are given); a batch has another number
                of rows; the model carries another adapter; this thread is running a batch.
        """
        self.refuse_within_batch()
        self.put_vectors_back()
        with self.base.lock.shared():
            values, heads = self.select(names)
            batches = BATCHES.set({**BATCHES.get(), id(self): Batch(len(names), heads)})
            try:
                with using_rows({self.vectors[target].l: rows for target, rows in values.items()}):
                    yield
            finally:
                BATCHES.reset(batches)

    def put_vectors_back(self) -> None:
        """Where somebody has called `detach` on the base's model."""
        refuse_merged(self.base.model)
        if getattr(self.base.model, "ia3_config", None) is not self.config:
            with self.base.lock.exclusive():
                self.insert_vectors(list(self.tables.by_target))

    @torch.no_grad()
    def select(self, names: Sequence[str | None]) -> tuple[dict[TargetModule, torch.Tensor], dict[int, Head]]:
        """Copies of what a batch needs: target module → (batch, 1, d), fp32, and row → head where the row has
        its own."""
        with self.table_lock:
            rows = [self.loaded.terms(name) for name in names]
            values = self.tables.select([[(a.slot, weight) for a, weight in terms] for terms in rows])
        heads = {row: [(a.head, w) for a, w in terms if a.head] for row, terms in enumerate(rows)}
        return values, {row: sum_heads(self.head, found) for row, found in heads.items() if found}

    def refuse_within_batch(self) -> None:
        if self.base.lock.held_here():
            raise AdapterError("a batch of this bank is running in this thread (leave its `rows` first)")
