"""Many adapters of one base in memory at once, one of them for each row of a batch.

    bank = Bank(load_base("mini"))
    bank.add("scots")                                   # a registered name,
    bank.add("medical", "exp/medical/adapter")          # a folder, a sum of such, or an `Adapter`
    bank.logits(waves, ["scots", None, "scots:0.5+medical"])
    with bank.rows(["medical", None]):                  # or the transformers model, called as usual
        model(batch, attention_mask=mask)

In: waves, and for each the name of an adapter, None for the base, or a sum of names as `spec` reads it. Out:
logits, each row's equal to that row alone with its adapter. A row of the base equals bit for bit the row of
the same batch without a bank, since 1·x is x; in bfloat16 too, since vectors multiply in fp32. (WavLM
computes its attention another way while it has vectors: see `attach`.)

An adapter's vectors are one tensor, in the order of the model's target modules. A batch makes a tensor
(batch, parameters) of them, with ones where an adapter has no vector, and each target module gets its part.

Any thread may run batches and edit the bank, and use the base's own `logits`. A batch first copies the
vectors it needs, under the lock that an edit takes to write: a later edit affects the next batch, and waits
for none. The rows of a batch belong to its thread (`ia3.using_rows`), so batches run side by side. An edit
changes the model, and waits for current batches (`Base.lock`), only if it adds the first vector of a target
module or removes the last; a target module that no adapter uses costs no time.
"""

import copy
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from ia3_speech.adapters.io import check_base, check_fit
from ia3_speech.adapters.load import Head, read_sum, sum_heads, weighted_sum, window_of_sum
from ia3_speech.adapters.record import Adapter, is_ours
from ia3_speech.adapters.registry import MAX_NEAREST
from ia3_speech.adapters.spec import parse_expression, parse_sum
from ia3_speech.common.errors import AdapterError
from ia3_speech.model import ia3
from ia3_speech.model.architectures import IA3Config, is_in_decoder
from ia3_speech.model.attach import check_liveness, detach, insert_vectors, is_attached, refuse_merged
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import IA3Vector, TargetModule
from ia3_speech.model.int8 import is_int8
from ia3_speech.model.sharing import structural_copy


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter in the bank."""

    targets: frozenset[TargetModule]  # the target modules for which it has vectors
    # (parameters,), fp32: these vectors, one after another in the order of the model's target modules
    values: torch.Tensor
    head: Head  # its head's parameters by their names in the model; empty if it has none
    window: str | None = None  # as `IA3Config.window`


# A row's adapter: a name, a sum such as `scots:0.7+medical`, or (name, weight) pairs; None is the base.
RowAdapter = str | None | tuple[tuple[Hashable, float], ...]
Names = Sequence[RowAdapter]


class Bank:
    """Loaded adapters of one base; each row of a batch chooses among them.

    The base's model must carry no adapter. While the bank holds adapters, the model carries the bank's
    vectors, which are ones except while a batch of the bank runs.

    Args:
        base: the base of all adapters, in any precision.

    Raises:
        AdapterError: the model carries an adapter, its architecture is unknown, or its head holds a parameter
            outside of modules (`use_weighted_layer_sum`).
    """

    def __init__(self, base: Base):
        refuse_merged(base.model)
        if is_attached(base.model):
            raise AdapterError(f"{base.name} carries an adapter already (call detach(base.model) first)")
        self.base, self.is_int8 = base, is_int8(base.model)
        self.sizes = {t: ia3.vector_size(base.model, t) for t in ia3.all_target_modules(base.model)}
        # The modules of the head (`lm_head`; `projector`, `classifier`), which run with the rows' parameters.
        paths = dict.fromkeys(name.rpartition(".")[0] for name in ia3.head_parameters(base.model))
        if "" in paths:
            raise AdapterError(f"{base.name}: the weights of its layers can't differ by row")
        self.head_modules = {path: copy.deepcopy(base.model.get_submodule(path)) for path in paths}
        self.loaded: dict[Hashable, LoadedAdapter] = {}  # by name, in the order in which they were added
        self.vectors: dict[TargetModule, IA3Vector] = {}  # in the model
        # Columns of (batch, parameters): each target module's; those of an adapter with exactly these target
        # modules; and a row of the base.
        self.columns: dict[TargetModule, slice] = {}
        self.positions: dict[frozenset[TargetModule], torch.Tensor] = {}
        self.ones = torch.ones(0, device=base.device)
        self.config: IA3Config | None = None  # of the vectors in the model
        # Of this thread's batch: each row's head, empty for the base's
        self.heads: ContextVar[list[Head]] = ContextVar("heads", default=[])  # noqa: B039  (never changed)
        # Functions, not methods: a deep copy of the model would copy the bank with them.
        base.model.register_forward_pre_hook(lambda *call: self.check_rows(*call), with_kwargs=True)
        for path in paths:
            hook = partial(lambda path, *call: self.apply_heads(path, *call), path)
            base.model.get_submodule(path).register_forward_hook(hook)
        # The first admits one edit at a time, the second guards `loaded`. `base.lock` is taken between them.
        self.edit_lock, self.loaded_lock = Lock(), Lock()

    def __contains__(self, name: Hashable) -> bool:
        return name in self.loaded

    def names(self) -> list[Hashable]:
        """The loaded adapters' names, in the order in which they were added."""
        return list(self.loaded)

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors and of the heads."""
        adapters = list(self.loaded.values())
        return sum(tensor.nbytes for a in adapters for tensor in (a.values, *a.head.values()))

    def add(self, name: str, adapter: Adapter | Path | str | None = None) -> None:
        """Load an adapter under `name`.

        Args:
            adapter: an adapter in memory, or a folder, a registered name, or a sum of these. None stands for
                `name`.

        Raises:
            AdapterError: the name is taken; the adapter is of another base (both are named) or vocabulary, or
                doesn't fit.
            UnknownAdapter: there is no such adapter.
        """
        with self.edit():
            if name in self.loaded:
                raise AdapterError(f"{name}: is in the bank already (replace it, or drop it first)")
            self.write(name, self.read(name, name if adapter is None else adapter))

    def replace(self, name: str, adapter: Adapter | Path | str | None = None) -> None:
        """Replace the loaded adapter of this name. Raises as `add`; the older adapter then stays."""
        with self.edit():
            self.refuse_unknown(name)
            self.write(name, self.read(name, name if adapter is None else adapter))

    def drop(self, name: str) -> None:
        """Unload an adapter. Raises AdapterError if there is none of this name."""
        with self.edit():
            self.refuse_unknown(name)
            self.write(name, None)

    @contextmanager
    def edit(self) -> Iterator[None]:
        """Admit one edit at a time."""
        # Tensors made in a server's inference mode could not be written to outside of it.
        with self.edit_lock, torch.inference_mode(False), torch.no_grad():
            yield

    def refuse_unknown(self, name: str) -> None:
        if name not in self.loaded:
            raise self.unknown(name, name)

    def unknown(self, name: str, expression: str) -> AdapterError:
        near = get_close_matches(str(name), map(str, self.loaded), n=MAX_NEAREST, cutoff=0.5)
        where = "" if name in (expression, str(expression).strip()) else f', in "{expression}"'
        hint = f"nearest names: {', '.join(near)}" if near else "add it first"
        return AdapterError(f"{name or '(empty)'}: no adapter of the bank has this name{where} ({hint})")

    def read(self, name: str, adapter: Adapter | Path | str) -> Adapter:
        """An adapter that is checked to fit the base."""
        if not isinstance(adapter, Adapter):
            return read_sum(self.base.model, parse_sum(adapter))
        if is_ours(adapter.record):
            check_base(name, adapter.record, self.base.fingerprint)
        check_fit(self.base.model, adapter)
        return adapter

    def write(self, name: str, adapter: Adapter | None) -> None:
        """Load `adapter` under a name; None unloads the adapter of that name."""
        sets, new = {loaded.targets for other, loaded in self.loaded.items() if other != name}, None
        if adapter:
            targets = frozenset(adapter.vectors)
            targets = next((known for known in sets if known == targets), targets)  # thousands share a set
            sets.add(targets)
            device = self.base.device
            flat = [adapter.vectors[t].flatten() for t in self.sizes if t in targets]
            values = torch.cat([torch.empty(0), *flat]).to(device)
            head = {name: tensor.to(device, torch.float32) for name, tensor in adapter.head.items()}
            new = LoadedAdapter(targets, values, head, adapter.config.window)
        # A row that was computed keeps its decoder's vectors, and the search needs their target modules.
        used = frozenset().union(*sets, (t for t in self.columns if is_in_decoder(t.placement)))
        changes_model = used != self.columns.keys()
        with self.base.lock.exclusive() if changes_model else nullcontext(), self.loaded_lock:
            if changes_model:
                self.set_targets(used)
            if new:
                self.loaded[name] = new
            else:
                del self.loaded[name]

    def set_targets(self, used: frozenset[TargetModule]) -> None:
        """Put vectors into these target modules only. If it raises AdapterError, nothing has changed."""
        before, targets = list(self.columns), [target for target in self.sizes if target in used]
        try:
            self.insert_vectors(targets)
            if not used <= self.columns.keys():
                check_liveness(self.base.model)
        except AdapterError:
            self.insert_vectors(before)
            raise
        ends = list(accumulate((self.sizes[target] for target in targets), initial=0))
        self.columns = {target: slice(*ends[n : n + 2]) for n, target in enumerate(targets)}
        self.positions, self.ones = {}, torch.ones(ends[-1], device=self.base.device)

    def check_rows(self, _model: nn.Module, args: tuple, kwargs: dict) -> None:
        """Raises AdapterError unless a batch has as many rows as names: one name would serve all rows."""
        named = len(self.heads.get())
        sizes = [len(value) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        if named and sizes[0] != named:
            raise AdapterError(f"a batch of {sizes[0]} rows came, and the bank has {named} names for it")

    def apply_heads(self, path: str, _module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        """A hook: the output of a module of the head; rows with a head use its parameters."""
        heads = self.heads.get()
        different = {id(head): head for head in heads if head}
        if not different:
            return output
        output, module = output.clone(), structural_copy(self.head_modules[path])
        for head in different.values():
            rows = [row for row, row_head in enumerate(heads) if row_head is head]
            parameters = {n: head[f"{path}.{n}"].to(output.dtype) for n, _ in module.named_parameters()}
            output[rows] = functional_call(module, parameters, (args[0][rows],))
        return output

    def insert_vectors(self, targets: list[TargetModule]) -> None:
        """Replace the bank's vectors in the model by vectors of ones in these modules."""
        model = self.base.model
        if is_attached(model) and ia3.attachment(model).config is not self.config:
            raise AdapterError(f"{self.base.name} carries another adapter (call detach(base.model) first)")
        detach(model)
        self.config = None
        if targets:
            self.config = IA3Config(tuple({target.placement for target in targets}))
            insert_vectors(model, targets, self.config)
        self.vectors = {vector.target: vector for vector in ia3.vectors(model).values()}

    @torch.no_grad()
    def logits(
        self,
        waves: Sequence[np.ndarray],
        names: Names,
        *,
        any_length: bool = False,
        features: Sequence[torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """One (frames, vocabulary) tensor for each wave, fp32 on the CPU, equal to that wave alone with its
        adapter.

        Args:
            names: as for `rows`.
            any_length: as for `Base.logits`.
            features: as for `Base.logits`.

        Raises:
            AdapterError: as `rows`.
            BaseError: as `Base.logits`.
        """
        if features is None and len(shared := {id(wave): wave for wave in waves}) < len(waves):
            with self.base.lock.shared():  # once for all rows of a wave
                computed = {key: self.base.features(wave) for key, wave in shared.items()}
            features = [computed[id(wave)] for wave in waves]
        if len(waves) != len(names):
            raise AdapterError(f"{len(waves)} waves and {len(names)} names (None is the base's)")
        if not len(waves):
            return []
        if self.is_int8 and len(waves) > 1:  # see `Base.logits`
            pairs = zip(waves, names, strict=True)
            return [self.logits([wave], [name], any_length=any_length)[0] for wave, name in pairs]
        with self.rows(names):
            if any(target.placement == "conv" for target in self.columns):
                features = None  # each row has vectors in its front end
            return self.base.logits(waves, any_length=any_length, features=features)

    @contextmanager
    def rows(self, names: Names) -> Iterator[None]:
        """Give row i of each batch that the model computes within this context the adapter `names[i]`.

        Args:
            names: loaded adapters, None for the base, or sums such as `scots:0.7+medical`.

        Raises:
            AdapterError: no such adapter is loaded (the nearest names are given), or the model carries
                another adapter.
        """
        refuse_merged(self.base.model)
        if ia3.attachment(self.base.model).config is not self.config:  # somebody has called `detach`
            with self.base.lock.exclusive():
                self.insert_vectors(list(self.columns))
        with self.base.lock.shared():
            values, heads, windows = self.select(names)
            token = self.heads.set(heads)
            try:
                with ia3.using_rows({self.vectors[t].l: rows for t, rows in values.items()}, windows):
                    yield
            finally:
                self.heads.reset(token)

    @torch.no_grad()
    def select(self, names: Names) -> tuple[dict[TargetModule, torch.Tensor], list[Head], list[str | None]]:
        """The rows of a batch: target module → (batch, 1, d), fp32; each row's head, empty for the base's,
        and window. A sum is computed as `load.combine` does it."""
        values: dict[RowAdapter, torch.Tensor] = {}
        with self.loaded_lock:
            rows = {name: self.adapters_of(name) for name in dict.fromkeys(names)}
            for name, adapters in rows.items():
                parts, weights = [self.widen(a) for a, _ in adapters], [weight for _, weight in adapters]
                values[name] = weighted_sum(parts, weights).float() if adapters else self.ones
        with_heads = {name: [(a.head, w) for a, w in adapters if a.head] for name, adapters in rows.items()}
        base = ia3.head_parameters(self.base.model) if any(with_heads.values()) else {}
        heads = {name: sum_heads(pairs, base) if pairs else {} for name, pairs in with_heads.items()}
        values = torch.stack([values[name] for name in names])[:, None]
        heads = [heads[name] for name in names]
        windows = [window_of_sum(adapter.window for adapter, _ in rows[name]) for name in names]
        return {target: values[..., columns] for target, columns in self.columns.items()}, heads, windows

    def widen(self, adapter: LoadedAdapter) -> torch.Tensor:
        """(parameters,): an adapter's vectors in the order of `columns`, ones where it has none."""
        if adapter.targets == self.columns.keys():
            return adapter.values
        if adapter.targets not in self.positions:
            columns = [c for target, c in self.columns.items() if target in adapter.targets]
            indices = [index for c in columns for index in range(c.start, c.stop)]
            self.positions[adapter.targets] = torch.tensor(indices, dtype=torch.long, device=self.base.device)
        values = self.ones.clone()
        values[self.positions[adapter.targets]] = adapter.values
        return values

    def adapters_of(self, name: RowAdapter) -> list[tuple[LoadedAdapter, float]]:
        """A row's loaded adapters with their weights, none for the base. An exact name wins over a sum."""
        if isinstance(name, tuple):
            for part, _ in name:
                self.refuse_unknown(part)
            return [(self.loaded[part], weight) for part, weight in name]
        terms = () if name is None else parse_expression(name, self.loaded.get, self.unknown)
        return [(adapter, weight) for _, adapter, weight in terms]
