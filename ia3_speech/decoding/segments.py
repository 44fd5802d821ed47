"""Segments: words with times → segments of the length of a sentence, which end in pauses.

In: the words of a recording, one after another. Out: segments, each as soon as it is complete, so that long
recordings are shown while they are transcribed. A pause of 0.6 s ends a segment; what is longer than 8 s
without one is cut in its longest pauses (`long_recordings.best_cuts`).

Dictation sees the running text. What it writes of words on both sides of a cut belongs to one segment, which
has these words, and their times:

    no fever | full stop the dose is five hundred | milligrams     as it was cut
    No fever. | The dose is 500 mg                                 no fever full stop | the dose … milligrams

A number, with its unit, and whatever else is one written word is in the segment in which it begins; a command
is in that of the word at which its character stands. So such a segment may be longer than 8 s, and hold a
pause.
"""

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from ia3_speech.decoding.long_recordings import best_cuts
from ia3_speech.decoding.transcript import TranscriptSegment, Word
from ia3_speech.dictation import Piece, Writer, is_plain

PAUSE_SECONDS = 0.6  # between two sentences: longer than most pauses within one
MAXIMUM_SECONDS = 8.0  # of a segment: two lines of subtitles, read at 17 characters a second
WAITING_SECONDS = 24.0  # of speech without such a pause, after which segments are given away all the same
CONTEXT_WORDS = 20  # at which dictation looks on both sides; longer than any phrase with its context

PostProcess = Callable[[str], str]  # recognised text → text as it is shown; a `Writer` is dictation


def make_segments(
    words: Iterable[Word],
    post_process: PostProcess | None = None,
    channel: str | None = None,
    *,
    at_once: bool = False,
) -> Iterator[TranscriptSegment]:
    """The segments of words in the order of time. `words` is read as far as each segment needs.

    Args:
        post_process: dictation (a `Writer`) sees the running text; any other function each segment by itself.
        at_once: dictation waits for all words. If not, a segment waits until so many words follow,
            `CONTEXT_WORDS` that belong to no number, that none behind them changes what is written of it.
    """
    parts = make_parts(words)
    if isinstance(post_process, Writer):
        yield from write_segments(parts, post_process, channel, at_once)
        return
    for part in parts:
        text = " ".join(word.text for word in part)
        yield make_segment(part, post_process(text) if post_process else text, channel)


def write_segments(
    parts: Iterable[list[Word]], write: Writer, channel: str | None, at_once: bool
) -> Iterator[TranscriptSegment]:
    """The segments of parts of words after dictation."""
    text = RunningText(write)
    for part in parts:
        text.add(part)
        if not at_once:
            yield from (make_segment(words, written.strip(), channel) for words, written in text.take_ready())
    yield from (make_segment(words, written.strip(), channel) for words, written in text.take_rest())


class RunningText:
    """Dictation of words that are still coming, in parts. A part of which nothing is written joins another;
    there is none where nothing at all is written.

    Attributes:
        words: those that wait, and before them some that are done, as their context.
        cuts: where the parts that wait end.
        done: the number of the words that are done.
    """

    def __init__(self, write: Writer) -> None:
        self.write = write
        self.words: list[Word] = []
        self.cuts: list[int] = []
        self.done = 0

    def add(self, part: Iterable[Word]) -> None:
        """The next words, up to a pause."""
        self.words += part
        self.cuts.append(len(self.words))

    def take_ready(self) -> Iterator[tuple[list[Word], str]]:
        """The words and the text of each part that no word behind can change any more: `CONTEXT_WORDS` follow
        it that belong to no number. The texts, joined, are the written text."""
        ready = self.cuts[: bisect(self.cuts, context_start(self.words, len(self.words)))]
        if ready:
            yield from self.take(ready)
            first = context_start(self.words, self.done)
            self.words, self.done = self.words[first:], self.done - first
            self.cuts = [cut - first for cut in self.cuts[len(ready) :]]

    def take_rest(self) -> Iterator[tuple[list[Word], str]]:
        """The same of all parts that wait: no word follows."""
        yield from self.take(self.cuts)

    def take(self, ready: Sequence[int]) -> Iterator[tuple[list[Word], str]]:
        """The words and the texts of the parts up to the last of these cuts."""
        for number, group in groupby(self.waiting(), lambda piece: bisect(ready, piece.anchor)):
            if number == len(ready):
                break
            own = list(group)
            yield self.words[self.done : own[-1].end], "".join(piece.text for piece in own)
            self.done = own[-1].end

    def waiting(self, following: Sequence[str] = ()) -> list[Piece]:
        """What would be written of the words that wait if nothing but these followed."""
        pieces = self.write.pieces([*(word.text for word in self.words), *following])
        return [piece for piece in pieces if piece.anchor >= self.done]


def context_start(words: Sequence[Word], end: int) -> int:
    """The last place with `CONTEXT_WORDS` words that belong to no number between it and `end`; 0 if there is
    none."""
    plain = [place for place in range(end) if is_plain(words[place].text)]
    return plain[-CONTEXT_WORDS] if len(plain) >= CONTEXT_WORDS else 0


def make_parts(words: Iterable[Word]) -> Iterator[list[Word]]:
    """The words of each segment as it is cut."""
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
    """Words in parts of at most `MAXIMUM_SECONDS`, unless a word is longer."""
    if not words:
        return []
    starts, ends = np.array([w.start for w in words]), np.array([w.end for w in words])
    return [list(words[a : b + 1]) for a, b in best_cuts(starts, ends, starts, ends, MAXIMUM_SECONDS)]


def make_segment(words: Sequence[Word], text: str, channel: str | None) -> TranscriptSegment:
    """One segment of these words."""
    return TranscriptSegment(words[0].start, words[-1].end, text, tuple(words), channel)
