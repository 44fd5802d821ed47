"""How threads share one model: a copy of its modules to run a forward pass on, and a lock for who changes it.

    copy = structural_copy(model)
    copy.wav2vec2.feature_extractor.forward = lambda *_: features
    copy(values)

    with lock.shared(): …         forward passes, any number at once
    with lock.exclusive(): …      a change of the model's modules: no forward pass runs meanwhile

In: a model. Out: new module objects that hold the same tensors, hooks and configuration. What a forward pass
replaces, caches or switches on the copy (`forward`, rotary positions, `training`) no other thread sees, and
transformers' own code runs as it is. It costs 2 µs a module, 0.5 ms for wav2vec2-base. `copy.copy` can't do
it: it copies one module, whose dictionaries and submodules both then share.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Condition, get_ident
from types import MethodType
from typing import Any

from torch import nn

from ia3_speech.model.ia3 import unwrap


def structural_copy(model: nn.Module) -> nn.Module:
    """The copy of `model` and of all modules in it; of a compiled model, of the one that was compiled.

    Hooks are shared, so none may be registered on a copy: set its `forward` instead.
    """
    return copy_module(unwrap(model), {})


def copy_module(module: nn.Module, copies: dict[nn.Module, nn.Module]) -> nn.Module:
    """A module's copy; `copies` holds those that exist, since a module may stand in two places."""
    if module in copies:
        return copies[module]
    copies[module] = new = type(module).__new__(type(module))
    attributes = vars(module).copy()
    attributes.pop("_compiled_call_impl", None)  # of `module.compile()`: bound to the original
    for name in ("_parameters", "_buffers"):
        attributes[name] = attributes[name].copy()
    for name, value in attributes.items():
        if isinstance(value, MethodType | partial):
            attributes[name] = bind_again(value, module, new)
    attributes["_modules"] = {
        name: None if child is None else copy_module(child, copies) for name, child in module._modules.items()
    }
    vars(new).update(attributes)
    return new


def bind_again(function: Any, old: nn.Module, new: nn.Module) -> Any:
    """A method that was set on the original (Accelerate's `forward`, our WavLM attention), of the copy."""
    if isinstance(function, MethodType):
        return MethodType(function.__func__, new) if function.__self__ is old else function
    if not any(argument is old for argument in function.args):
        return function
    return partial(function.func, *(new if a is old else a for a in function.args), **function.keywords)


class SharedLock:
    """A lock that many threads hold together, or one alone. A thread that holds it may take `shared` again.
    One that waits for `exclusive` comes before those that take `shared` for the first time, so that it does
    not wait forever.
    """

    def __init__(self) -> None:
        self.condition = Condition()
        self.holders: Counter[int] = Counter()  # thread → how often it holds it
        self.waiting = 0  # threads that wait for `exclusive`
        self.owner: int | None = None  # the thread that holds it alone

    def held_here(self) -> bool:
        """Whether this thread holds it."""
        return self.owner == get_ident() or get_ident() in self.holders

    @contextmanager
    def shared(self) -> Iterator[None]:
        thread = get_ident()
        with self.condition:
            if not self.held_here():
                self.condition.wait_for(lambda: self.owner is None and not self.waiting)
            self.holders[thread] += 1
        try:
            yield
        finally:
            with self.condition:
                self.holders -= Counter({thread: 1})
                self.condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Not to be taken by a thread that holds it already."""
        with self.condition:
            self.waiting += 1
            try:
                self.condition.wait_for(lambda: self.owner is None and not self.holders)
                self.owner = get_ident()
            finally:
                self.waiting -= 1
        try:
            yield
        finally:
            with self.condition:
                self.owner = None
                self.condition.notify_all()
