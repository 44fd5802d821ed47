"""Segments: words with times → segments of the length of a sentence, which end in pauses.

In: the words of a recording, one after another. Out: segments, each as soon as it is complete, so that long
recordings are shown while they are transcribed. A pause of 0.6 s ends a segment; what is longer than 8 s
without one is cut in its longest pauses (`segmentation.best_cuts`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ia3_speech.decoding.segmentation import best_cuts
from ia3_speech.decoding.transcript import TranscriptSegment, Word

PAUSE_SECONDS = 0.6  # between two sentences: longer than most pauses within one
MAXIMUM_SECONDS = 8.0  # of a segment: two lines of subtitles, read at 17 characters a second
WAITING_SECONDS = 24.0  # of speech without such a pause, after which segments are given away all the same

PostProcess = Callable[[str], str]  # recognised text → text as it is shown, such as dictation


def make_segments(
    words: Iterable[Word], post_process: PostProcess | None = None, channel: str | None = None
) -> Iterator[TranscriptSegment]:
    """The segments of words in the order of time. `words` is read as far as each segment needs."""
    waiting: list[Word] = []
    for word in words:
        if waiting and word.start - waiting[-1].end >= PAUSE_SECONDS:
            yield from (segment(part, post_process, channel) for part in cut_words(waiting))
            waiting = []
        waiting.append(word)
        if waiting[-1].end - waiting[0].start > WAITING_SECONDS:
            *parts, waiting = cut_words(waiting)
            yield from (segment(part, post_process, channel) for part in parts)
    yield from (segment(part, post_process, channel) for part in cut_words(waiting))


def cut_words(words: Sequence[Word]) -> list[list[Word]]:
    """Words in parts of at most `MAXIMUM_SECONDS`, unless a word is longer."""
    if not words:
        return []
    starts, ends = np.array([w.start for w in words]), np.array([w.end for w in words])
    return [list(words[a : b + 1]) for a, b in best_cuts(starts, ends, starts, ends, MAXIMUM_SECONDS)]


def segment(
    words: Sequence[Word], post_process: PostProcess | None, channel: str | None
) -> TranscriptSegment:
    """One segment of these words."""
    text = " ".join(word.text for word in words)
    shown = post_process(text) if post_process else text
    return TranscriptSegment(words[0].start, words[-1].end, shown, tuple(words), channel)
