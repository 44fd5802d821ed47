"""CTC segmentation: where the words of a long transcript are in its recording, and where to cut between them.

In: log-probabilities of a CTC base over a recording, and the words of its transcript. Out: segments of at
most a few seconds, each with its words, its place and a score that says how well they fit. Kürzinger et al.
2020, "CTC-Segmentation of Large Corpora for German End-to-end Speech Recognition" (arXiv 2007.09127): the
Viterbi path through the whole recording, and as a segment's score the lowest mean log-probability of any 30
frames of it.

    words      take    two  tablets          and     rest
    frames  ___t_a_ke__t_wo_t_a_bl_ets_______a_nd____r_est___
    cuts                                 |  the longest pause within the maximum
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.numbers_in_words import needs_words, verbalize_numbers
from ia3_speech.data.text import Vocabulary, normalize
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS, best_cuts, cut_at_pauses, quietest
from ia3_speech.decoding.word_times import IMPOSSIBLE, spans, spell, viterbi

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

SCORE_FRAMES = 30  # 0.6 s: the window of the score (L in the paper)
FINEST_SECONDS = 3.0  # to which segments that do not align are cut, to save what fits
MARGIN = 0.3  # seconds kept beside the first and the last word


@dataclass(frozen=True)
class AlignedWord:
    """A word in a recording, from `start` to `end` in seconds.

    `text` is as the transcript has it, with what stands beside it and cannot be written by the base.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Segment:
    """A part of a recording with its words.

    Attributes:
        start, end: seconds.
        text: its words.
        score: the lowest mean log-probability of 30 frames between its first and last word; 0 is a perfect
        fit.
    """

    start: float
    end: float
    text: str
    score: float


@dataclass(frozen=True)
class Alignment:
    """The Viterbi path of a transcript through a recording.

    Attributes:
        words: in order, those that the base can write.
        path_scores: `(frames,)`, the log-probability of the path's symbol in each frame.
        frame_times: `(frames,)`, seconds.
    """

    words: list[AlignedWord]
    path_scores: np.ndarray
    frame_times: np.ndarray

    def score(self, start: float, end: float) -> float:
        """The lowest mean of `path_scores` over 30 frames, from `start` to `end` seconds."""
        first, last = np.searchsorted(self.frame_times, (start, end))
        scores = self.path_scores[first : max(last, first + 1)]
        if len(scores) <= SCORE_FRAMES:
            return float(scores.mean()) if len(scores) else IMPOSSIBLE
        sums = np.cumsum(np.concatenate(([0.0], scores)))
        return float((sums[SCORE_FRAMES:] - sums[:-SCORE_FRAMES]).min() / SCORE_FRAMES)


def segment_recording(
    wave: np.ndarray,
    text: str,
    base: "Base",
    maximum_seconds: float = MAXIMUM_SECONDS,
    minimum_score: float = IMPOSSIBLE,
) -> list[Segment]:
    """Align `text` with `wave`, float32 (samples,), 16 kHz, and cut both at pauses.

    Args:
        base: of the language of the text.
        maximum_seconds: of a segment.
        minimum_score: a segment below it is cut again, into shorter ones, so that what fits of it is found.

    Raises:
        ValueError: the text needs more frames than the recording has, or the base can write none of it.
    """
    log_probabilities, times = recording_log_probabilities(wave, base, maximum_seconds)
    words = align_words(log_probabilities, times, text.split(), base.vocabulary, base.stride / SAMPLE_RATE)
    return cut_between_words(wave, words, maximum_seconds, minimum_score)


def recording_log_probabilities(
    wave: np.ndarray, base: "Base", maximum_seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """(frames, vocabulary) of pieces that end in pauses, one after another; and each frame's start,
    seconds.
    """
    parts, times = [], []
    for first, end in cut_at_pauses(wave, maximum_seconds):
        if end - first >= base.minimum_samples:
            (logits,) = base.logits([wave[first:end]])
            parts.append(logits.log_softmax(-1).numpy())
            times.append((first + base.stride * np.arange(len(logits))) / SAMPLE_RATE)
    return np.concatenate(parts), np.concatenate(times)


def align_words(
    log_probabilities: np.ndarray,
    times: np.ndarray,
    words: Sequence[str],
    vocabulary: Vocabulary,
    frame_seconds: float,
) -> Alignment:
    """Where each word is; see `segment_recording` for what is raised."""
    in_words = needs_words(vocabulary.letters)
    spoken = [normalize(verbalize_numbers(word) if in_words else word) for word in words]
    symbols = spell(spoken, vocabulary)
    if not symbols:
        raise ValueError("the base can write nothing of the text")
    tokens = np.array([token for token, _ in symbols])
    states = viterbi(log_probabilities, tokens, vocabulary.blank)
    path = np.where(states % 2, tokens[np.minimum(states // 2, len(tokens) - 1)], vocabulary.blank)
    scores = log_probabilities[np.arange(len(states)), path]
    frames: dict[int, tuple[int, int]] = {}  # the first and the last of each word that can be written
    for (_, owner), first, last in zip(symbols, *spans(states, len(tokens)), strict=True):
        frames[owner] = frames.get(owner, (first, last))[0], last
    aligned: list[AlignedWord] = []
    waiting: list[str] = []  # words before the first that can be written
    for number, word in enumerate(words):
        if number in frames:
            first, last = frames[number]
            text = " ".join([*waiting, word])
            aligned.append(AlignedWord(text, times[first], times[last] + frame_seconds))
            waiting = []
        elif aligned:
            aligned[-1] = replace(aligned[-1], text=f"{aligned[-1].text} {word}")
        else:
            waiting.append(word)
    return Alignment(aligned, scores, times)


def cut_between_words(
    wave: np.ndarray, alignment: Alignment, maximum_seconds: float, minimum_score: float
) -> list[Segment]:
    """Segments of at most `maximum_seconds`, cut where the pauses between words are longest, in their
    quietest place; a single longer word is cut alone."""
    starts, ends = (np.array([getattr(word, side) for word in alignment.words]) for side in ("start", "end"))
    length = len(wave) / SAMPLE_RATE
    cuts = [0.0, *map(lambda a, b: quiet_place(wave, a, b), ends[:-1], starts[1:]), length]
    lefts = np.maximum(cuts[:-1], starts - MARGIN)  # of a segment that begins with word n
    rights = np.minimum(cuts[1:], ends + MARGIN)  # of one that ends with it

    def segments(first: int, last: int, maximum: float) -> Iterator[Segment]:
        """Of words `first` to `last`; what does not fit its text is cut again, at half the maximum."""
        part = slice(first, last + 1)
        for a, b in best_cuts(starts[part], ends[part], lefts[part], rights[part], maximum):
            begin, end = first + a, first + b
            score = alignment.score(starts[begin], ends[end])
            if score < minimum_score and begin < end and maximum / 2 >= FINEST_SECONDS:
                yield from segments(begin, end, maximum / 2)
            else:
                text = " ".join(word.text for word in alignment.words[begin : end + 1])
                yield Segment(float(lefts[begin]), float(rights[end]), text, score)

    return list(segments(0, len(starts) - 1, maximum_seconds))


def quiet_place(wave: np.ndarray, end: float, start: float) -> float:
    """Seconds: the quietest place between the end of one word and the start of the next."""
    if start <= end:
        return (start + end) / 2
    return quietest(wave, round(end * SAMPLE_RATE), round(start * SAMPLE_RATE)) / SAMPLE_RATE
