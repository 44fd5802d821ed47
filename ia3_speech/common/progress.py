"""What runs, and how long it will still take: a bar on a terminal, else a line in the log every 30 seconds.

    for utterance in Progress(utterances, "decoding"): ...
    with Progress(None, "exporting the graph"): ...

In a log: `decoding: 40 %, about 45 s left`, or `exporting the graph: 40 s so far`. IA3_SPEECH_PROGRESS names
a terminal that shows the bar in place of the log (recipes/utils/run), or a file that holds the current line,
for another program (recipes/utils/stages.sh).
"""

import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

FIRST_LINE, NEXT_LINE = 10, 30  # seconds: what has ended before the first line leaves the log as it was
BAR = "{desc}: {percentage:.0f} %|{bar}| {elapsed}<{remaining}{postfix}"


class Progress(tqdm):
    """A piece of work that may take long. It is shown anew each second, however long its steps take.

    Args:
        work: the steps, or their number; None if it is unknown.
        name: what runs, such as "decoding".
        done: number of steps that were made before.
        hidden: show nothing.
    """

    monitor_interval = 0  # no thread of tqdm
    watcher: ClassVar[Callable[["Progress"], None] | None] = None  # called with the innermost, each second
    running: ClassVar[list["Progress"]] = []  # the innermost is the last

    def __init__(self, work: Iterable | int | None, name: str, done: int = 0, hidden: bool = False):
        self.name, self.epoch, self.ended = name, {}, threading.Event()
        self.done, self.last_step = done, 0.0  # seconds from the start to the last step
        stream, self.status = sys.stderr, None
        if (place := os.environ.get("IA3_SPEECH_PROGRESS")) and not hidden:
            with suppress(OSError):
                stream = self.status = Path(place).open("w", encoding="utf-8")  # noqa: SIM115
        self.is_drawn = stream.isatty()
        steps = {"total": work} if work is None or isinstance(work, int) else {"iterable": work}
        file = stream if self.is_drawn else io.StringIO()
        options = {"disable": hidden, "leave": False, "dynamic_ncols": True, "delay": 1}
        super().__init__(**steps, desc=name, initial=done, file=file, **options)
        self.bar_format = BAR if self.total else "{desc}: {elapsed}"
        if not hidden:
            self.running.append(self)
            threading.Thread(target=self.show, daemon=True).start()

    def begin_epoch(self, name: str, epoch: int, epochs: int) -> None:
        """Show the number of an epoch, from 1, with the name of what runs."""
        self.name, self.epoch = name, {"epoch": epoch, "epochs": epochs}
        self.set_description_str(f"{name}, epoch {epoch} of {epochs}", refresh=False)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.format_dict["elapsed"]

    def update(self, n: float = 1) -> bool | None:
        """Count steps."""
        self.last_step = self.seconds
        return super().update(n)

    @property
    def seconds_left(self) -> float | None:
        """By the speed so far; None if that, or the number of steps, is unknown. A step that takes longer
        than all that should be left is expected to take as long again."""
        if not self.total or not (made := self.n - self.done):
            return None
        remaining, waited = max(0, self.total - self.n), self.seconds - self.last_step
        left = self.last_step / made * remaining - waited
        return left if left > 0 else waited * (remaining > 0)

    @property
    def left(self) -> str:
        """`, about 3 min left`; empty if that is unknown, or no step is left."""
        seconds = self.seconds_left or 0
        amount = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        return f", about {amount} left" if seconds >= 0.5 else ""

    @property
    def line(self) -> str:
        """What the log shows."""
        if self.seconds_left is None:
            return f"{self.desc}: {self.seconds:.0f} s so far"
        return f"{self.desc}: {100 * self.n / self.total:.0f} %{self.left}"

    def show(self) -> None:
        """The thread, until the work has ended."""
        next_line = FIRST_LINE
        while not self.ended.wait(1):
            with self.get_lock():  # nothing is shown after `close`
                if self.ended.is_set() or self.running[-1] is not self:
                    continue
                self.refresh(nolock=True)
                if Progress.watcher:
                    Progress.watcher(self)
                self.write_status(self.line)
                is_due, line = self.seconds >= next_line and not (self.is_drawn or self.status), self.line
            if is_due:  # without the lock, since another thread may hold the log's and wait for this one
                next_line += NEXT_LINE
                logger.info("%s", line)

    def write_status(self, text: str) -> None:
        if self.status and not self.is_drawn:
            with suppress(OSError):  # a full disk
                self.status.seek(0)
                self.status.truncate()
                self.status.write(text)
                self.status.flush()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """tqdm's own, which draws the bar."""
        return self.is_drawn and super().display(msg, pos)

    def close(self) -> None:
        """End, and erase the bar."""
        with self.get_lock():
            was_running = not (self.disable or self.ended.is_set())
            self.ended.set()
        if was_running:
            self.running[:] = [other for other in self.running if other is not self]  # == is tqdm's own
            self.write_status("")
            if self.seconds > self.delay:
                self.last_print_t = self._time()  # tqdm does not count what the thread has drawn
        super().close()
        if was_running and self.status:
            self.status.close()
