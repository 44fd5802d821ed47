"""Edits of text that remember of which spoken word each character was written.

    text = Tracked.of(["take", "five", "hundred", "milligrams"])
    text.changed([Replacement(5, 28, "500 mg")])  # "take 500 mg", words 0 0 0 0 0 1 1 1 1 1 1

In: text, and what is to be changed in it. Out: text. Dictation is a chain of such edits, so that what is
written can be given back to the segments of a recording (`Writer.pieces`) without comparing texts.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Replacement:
    """A text in place of the characters from `start` to `end`.

    Attributes:
        begins: the character whose word the text is of; None: that at `start`.
    """

    start: int
    end: int
    text: str
    begins: int | None = None


@dataclass(frozen=True)
class Tracked:
    """A text, and for each of its characters the number of its word; the numbers never decrease."""

    text: str
    words: list[int]

    @classmethod
    def of(cls, words: Sequence[str]) -> "Tracked":
        """Words with blanks between, each of which belongs to the word before it."""
        numbers = [number for number, word in enumerate(words) for _ in range(len(word) + 1)]
        return cls(" ".join(words), numbers[:-1])

    def changed(self, changes: Iterable[Replacement]) -> "Tracked":
        """The text after changes, which are in the order of the text and do not overlap. Where only capitals
        change, characters stay with their words."""
        parts, words, at = [], [], 0
        for change in changes:
            old, new = self.text[change.start : change.end], change.text
            if old == new:
                continue
            own = self.words[change.start : change.end]
            if len(old) != len(new) or old.lower() != new.lower():
                own = len(new) * [self.words[change.start if change.begins is None else change.begins]]
            parts += [self.text[at : change.start], new]
            words += self.words[at : change.start] + own
            at = change.end
        return Tracked("".join([*parts, self.text[at:]]), words + self.words[at:]) if parts else self


Edit = Callable[[Tracked], Tracked]


def substitute(pattern: re.Pattern, written: Callable[[re.Match], str], group: int = 0) -> Edit:
    """As `re.sub`, of a group of each match."""
    return lambda text: text.changed(
        Replacement(*match.span(group), written(match)) for match in pattern.finditer(text.text)
    )
