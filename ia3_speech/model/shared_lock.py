"""A lock that many threads hold together, or one alone: readers and a writer.

with lock.shared(): …         forward passes, any number at once
with lock.exclusive(): …      a change of the model's modules: no forward pass runs meanwhile
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident


class SharedLock:
    """A thread that holds it may take `shared` again. One that waits for `exclusive` comes before those that
    take `shared` for the first time, so that it does not wait forever. A copy, or an unpickled one, is free.
    """

    def __init__(self) -> None:
        self.condition = Condition()
        self.holders: Counter[int] = Counter()  # thread → how often it holds it
        self.waiting = 0  # threads that wait for `exclusive`
        self.owner: int | None = None  # the thread that holds it alone

    def __reduce__(self) -> tuple:
        return SharedLock, ()

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
