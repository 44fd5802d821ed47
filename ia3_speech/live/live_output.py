"""Where live texts go: a terminal, whose last line is rewritten; a pipe, a line for each; a file.

In: `StreamEvent`s. Out, with --format json: {"type": "final", "start": 0.31, "end": 2.48, "text": "no fever"}
and the adapter and the base, an object a line; "partial" where those are wanted. Of dictation a final one has
raw_text too.
"""

import json
import os
import shutil
import time
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.live.streaming import StreamEvent

TEXT, JSON = ("text", "txt", "dictation"), ("json", "jsonl")  # formats
SAVE_SECONDS = 10.0  # between writings of the file, which is written whole: what a crash may lose
CLEAR_LINE = "\r\x1b[K"  # to the line's beginning, and erase it (ECMA-48)


@dataclass
class LiveOutput:
    """Prints and writes texts as they come.

    Attributes:
        stream: stdout.
        format: text, txt or dictation is a line for each final text, or several where line breaks were
            dictated; json or jsonl an object.
        partials: whether partial texts are wanted; as text they are for a terminal, which always gets them.
        file: where all final lines are written too; then they are printed on a terminal only.
        recognizer: what JSON names: its adapter and its base.
    """

    stream: TextIO
    format: str = "text"
    partials: bool = False
    file: Path | None = None
    recognizer: Recognizer | None = None
    lines: list[str] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.format not in (*TEXT, *JSON):
            raise UserError(f"--format {self.format}: live input is written as {' or '.join((*TEXT, *JSON))}")
        as_text = self.format in TEXT
        self.terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        if self.partials and as_text and not self.terminal:
            raise UserError("--partials needs --format json, or a terminal")
        self.in_place = self.terminal and as_text
        self.partials = self.partials or self.in_place

    def show(self, event: StreamEvent) -> None:
        """Tell one event. An empty text is no line."""
        line = event.text.removesuffix("\n") if self.format in TEXT else self.record(event)
        if event.final and event.text:
            self.keep(line)
        if self.file is not None and not self.terminal:
            return
        if self.in_place:
            self.stream.write(CLEAR_LINE + (line if event.final else fitting(on_one_line(line), columns())))
        if event.text and (event.final or not self.in_place):
            self.stream.write("\n" if self.in_place else f"{line}\n")
        self.stream.flush()

    def record(self, event: StreamEvent) -> str:
        """One JSON object, on one line."""
        value = {"type": "final" if event.final else "partial", "start": round(event.start, 3)}
        value |= {"end": round(event.end, 3), "text": event.text}
        if event.raw_text is not None:
            value["raw_text"] = event.raw_text
        if self.recognizer is not None:
            value |= {"adapter": self.recognizer.name, "base": self.recognizer.base.name}
        return json.dumps(value, ensure_ascii=False)

    def keep(self, line: str) -> None:
        """Remember a final line for the file, and now and then write it."""
        if self.file is None:
            return
        self.lines.append(line)
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file."""
        if self.file is not None:
            write_text(self.file, "".join(f"{line}\n" for line in self.lines))
            self.saved = time.monotonic()

    def close(self) -> None:
        """Write the file, and leave the terminal on an empty line."""
        self.save()
        if self.in_place:
            self.stream.write(CLEAR_LINE)
            self.stream.flush()


def columns() -> int:
    return shutil.get_terminal_size().columns


def on_one_line(text: str) -> str:
    """Line breaks that were dictated, as characters."""
    return text.replace("\n", "⏎")


def fitting(text: str, width: int) -> str:
    """The end of `text` that fits into a terminal's line, with an ellipsis where it was cut."""
    left = width - 2  # the ellipsis, and no wrapping at the last column
    for start in range(len(text) - 1, -1, -1):
        left -= 2 if unicodedata.east_asian_width(text[start]) in "WF" else 1
        if left < 0:
            return f"…{text[start + 1 :]}"
    return text
