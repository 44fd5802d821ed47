"""Segments: words with times → segments as long as a sentence, which end in pauses.

In: the words of a recording, in order. Out: segments, each as soon as it is complete, so that long recordings
are shown while they are transcribed. A pause of 0.6 s ends a segment; speech of more than 8 s without such a
pause is cut in its longest pauses (`long_recordings.best_cuts`).

A post-processor, such as dictation, sees the running text and returns pieces of it. A piece belongs to the
segment of its first word, with all its words and their times:

    no fever | full stop the dose is five hundred | milligrams     the cuts
    No fever. | The dose is 500 mg                                 no fever full stop | the dose … milligrams

So such a segment may be longer than 8 s, and contain a pause.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ia3_speech.decoding.long_recordings import best_cuts
from ia3_speech.decoding.transcript import TranscriptSegment, Word

PAUSE_SECONDS = 0.6  # between two sentences: longer than most pauses within one
SEGMENT_SECONDS = 8.0  # of a segment: two lines of subtitles, read at 17 characters a second
WAITING_SECONDS = 24.0  # of speech without such a pause, after which segments are yielded nevertheless


@dataclass(frozen=True)
class Piece:
    """A part of a written text."""

    text: str  # with the white space after it, so that the joined texts of all pieces are the whole text
    first: int  # the piece is the text of words[first:end]; the next piece begins at `end`
    end: int


class Writer(Protocol):
    """Writes a text, whose words come in any portions. A shallow copy is an independent writer."""

    def add(self, words: Sequence[Word]) -> list[Piece]:
        """Add the next words; returns the pieces that later words can't change."""

    def finish(self) -> list[Piece]:
        """The remaining pieces, after the last word."""


class PostProcessor(Protocol):
    """Makes a text of recognised words, as `dictation.Dictation` does."""

    def start(self) -> Writer:
        """A writer for a new text."""


class Unchanged:
    """The writer without a post-processor: a piece for each word."""

    count = 0

    def add(self, words: Sequence[Word]) -> list[Piece]:
        first, self.count = self.count, self.count + len(words)
        return [Piece(f"{word.text} ", n, n + 1) for n, word in enumerate(words, first)]

    def finish(self) -> list[Piece]:
        return []


def written_text(words: Sequence[Word], post_process: PostProcessor) -> str:
    """The written text of all words of a recording, without white space around it."""
    writer = post_process.start()
    return "".join(piece.text for piece in [*writer.add(words), *writer.finish()]).strip()


def make_segments(
    words: Iterable[Word], post_process: PostProcessor | None = None, channel: str | None = None
) -> Iterator[TranscriptSegment]:
    """The segments of words, which are in the order of time. Each segment reads as many words as it needs."""
    for part, text in RunningText(post_process).segments(make_parts(words)):
        yield TranscriptSegment(part[0].start, part[-1].end, text.strip(), tuple(part), channel)


class RunningText:
    """Parts of words, cut at pauses → each segment's words and written text.

    A part in which no piece begins has no segment: its words belong to the piece that began before it. A part
    with only a line break belongs to the next part, if there is a next part. A text ends in a line break if
    it was dictated, and otherwise without white space.
    """

    def __init__(self, post_process: PostProcessor | None) -> None:
        self.writer = post_process.start() if post_process else Unchanged()
        self.words: list[Word] = []  # words after those of the segments so far
        self.done = 0  # number of words in the segments so far
        self.cuts: list[int] = []  # ends of the parts that have no segment yet, as numbers of words
        self.pieces: list[Piece] = []  # of `words`, as far as they are known

    def segments(self, parts: Iterable[Sequence[Word]]) -> Iterator[tuple[list[Word], str]]:
        """All segments of all parts, each as soon as it is complete."""
        for part in parts:
            yield from self.add(part)
        yield from self.finish()

    def add(self, part: Sequence[Word]) -> list[tuple[list[Word], str]]:
        """Add the words up to the next cut; returns the segments that are complete."""
        self.words += part
        self.cuts.append(self.done + len(self.words))
        self.pieces += self.writer.add(part)
        return self.take()

    def finish(self) -> list[tuple[list[Word], str]]:
        """The remaining segments, after the last word."""
        self.pieces += self.writer.finish()
        return self.take()

    def preview(self, following: Sequence[Word]) -> str:
        """The text after the segments so far, if `following` were the last words."""
        writer = copy(self.writer)
        pieces = [*self.pieces, *writer.add(following), *writer.finish()]
        return "".join(piece.text for piece in pieces).rstrip(" ")

    def take(self) -> list[tuple[list[Word], str]]:
        segments = []
        while self.cuts and self.pieces and self.pieces[-1].end >= self.cuts[0]:
            cut = self.cuts.pop(0)
            pieces = [piece for piece in self.pieces if piece.first < cut]
            text = "".join(piece.text for piece in pieces).rstrip(" ")
            if text.strip():
                self.pieces = self.pieces[len(pieces) :]
                count = pieces[-1].end - self.done
                segments.append((self.words[:count], text))
                self.words, self.done = self.words[count:], pieces[-1].end
        return segments


def make_parts(words: Iterable[Word]) -> Iterator[list[Word]]:
    """The words of each part, cut at pauses."""
    waiting: list[Word] = []
    for word in words:
        if waiting and word.start - waiting[-1].end >= PAUSE_SECONDS:
            yield from cut_words(waiting)
            waiting = []
        waiting.append(word)
        if waiting[-1].end - waiting[0].start > WAITING_SECONDS:
            *parts, waiting = cut_words(waiting)
            yield from parts
    yield from cut_words(waiting)


def cut_words(words: Sequence[Word]) -> list[list[Word]]:
    """Words in parts of at most `SEGMENT_SECONDS`, unless a word is longer."""
    if not words:
        return []
    starts, ends = np.array([w.start for w in words]), np.array([w.end for w in words])
    return [list(words[a : b + 1]) for a, b in best_cuts(starts, ends, starts, ends, SEGMENT_SECONDS)]
