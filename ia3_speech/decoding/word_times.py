"""Word times and confidences: the positions of a hypothesis's words in the audio, by CTC forced alignment.

In: the logits of a piece, and a search's hypothesis. Out: `Word`s with start, end and confidence, from the
most probable path that writes the text (torchaudio's forced alignment), for any search and base.

    text      t w o           t a b l e t s
    path      t _ w _ _ o _ | t a _ b l _ e t _ _ s _ _
    word     [- - - - - - - -]                           start: a frame before its first symbol
                           [- - - - - - - - - - - - - -] end: two frames after its last

A CTC model writes a symbol near the end of its sound, and then a blank; scripts/bench_word_times.md has the
errors of these times.

Confidence is the product of the peak posterior probabilities of the word's symbols and of the delimiters at
its sides: an estimate of the probability that all of them are right. Frames between the peaks do not count,
since their probabilities depend on the peakedness of the model, not on the word. Of 15 measures this product
separates wrong words from right words best (scripts/bench_confidence.md). A `Scaling` that was fitted on a
dev set makes the confidences probabilities (`ia3-speech calibrate`); it never changes the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import Vocabulary, required_frames
from ia3_speech.decoding.transcript import UNSURE, Word
from ia3_speech.model.hypotheses import Hypothesis, Logits, collapse

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

START_FRAMES, END_FRAMES = 1, 2  # from a word's start to its first symbol, from its last symbol to its end
MAX_CELLS = 2**28  # frames × tokens of an alignment: some ten minutes of speech, 0.2 GB
WINDOW_FRAMES = 15_000  # of a longer recording: five minutes
LIMIT = 1e-9  # scaling keeps confidences at least this far from 0 and 1


@dataclass(frozen=True)
class Scaling:
    """Makes a word's confidence p a probability: Platt scaling (1999). The single parameter of temperature
    scaling (Guo et al. 2017) is not enough, since a language model corrects words whose p stays low. Raises
    ValueError if the slope is not positive, or a value is not finite."""

    # The log-odds become slope · log(p / (1 − p)) + bias. A p of 0 stays 0: the base cannot write the word
    slope: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isfinite(value) or (name == "slope" and value <= 0):
                kind = "positive" if name == "slope" else "finite"
                raise ValueError(f"{name} is {value:g}, and must be a {kind} number")

    def __call__(self, confidences: np.ndarray) -> np.ndarray:
        """The calibrated confidences."""
        if (self.slope, self.bias) == (1.0, 0.0):
            return confidences
        scaled = probability(self.slope * log_odds(confidences) + self.bias)
        return np.where(np.asarray(confidences) > 0, scaled, 0.0)

    def __str__(self) -> str:
        """`slope 0.38, bias 1.61`"""
        return f"slope {self.slope:g}, bias {self.bias:g}"


def log_odds(confidences: np.ndarray) -> np.ndarray:
    inside = np.clip(confidences, LIMIT, 1 - LIMIT)
    return np.log(inside) - np.log1p(-inside)


def probability(log_odds: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -log_odds))


def words_of(
    base: "Base",
    row: Logits,
    hypothesis: Hypothesis,
    seconds: float,
    offset: float = 0.0,
    *,
    scaling: Scaling = Scaling(),
) -> list[Word]:
    """The words of a hypothesis for a row of `Base.logits`, with times and confidences; by forced alignment,
    unless the base's kind finds them itself. `seconds`: of the piece; `offset`: its start, in seconds."""
    frame = base.stride / SAMPLE_RATE
    timed = base.timed(row, hypothesis, seconds)
    if timed is None:
        words = word_times(row, hypothesis, base.vocabulary, frame, duration=seconds, scaling=scaling)
        texts = hypothesis.alternatives()
        words = [
            replace(word, alternatives=texts.get(number, ())) if word.confidence < UNSURE else word
            for number, word in enumerate(words)
        ]
    else:
        edges = [(min(w.first * frame, seconds), min((w.last + 1) * frame, seconds)) for w in timed]
        words = [
            Word(word.text, *times, float(scaling(word.confidence)))
            for word, times in zip(timed, edges, strict=True)
        ]
    return [replace(word, start=offset + word.start, end=offset + word.end) for word in words]


def word_times(
    logits: Logits,
    hypothesis: Hypothesis,
    vocabulary: Vocabulary,
    frame_seconds: float,
    *,
    duration: float | None = None,
    scaling: Scaling = Scaling(),
) -> list[Word]:
    """The words of a hypothesis, each with its time and confidence.

    A word with a confidence from the search keeps it, and the search's frames; the words before and after it
    are aligned with the logits before and after it. A phrase becomes words.

    Args:
        logits: (frames, vocabulary) of the piece.
        frame_seconds: seconds per frame.
        duration: of the piece, in seconds; None: duration of its frames. No word ends later.
        scaling: of the confidences of aligned words.

    Words that the base cannot write have no symbols: they get the time between their neighbours, and
    confidence 0. So do all words of a text that needs more frames than the piece has.
    """
    duration = len(logits) * frame_seconds if duration is None else duration
    words: list[Word] = []
    texts: list[str] = []  # not yet aligned; their frames start at `begin`
    begin = 0

    def align(end: int, until: float) -> None:
        start = begin * frame_seconds
        for word in aligned_words(logits[begin:end], texts, vocabulary, frame_seconds, until - start):
            confidence = float(scaling(word.confidence))
            words.append(replace(word, start=word.start + start, end=word.end + start, confidence=confidence))
        texts.clear()

    for word in hypothesis.words:
        if word.confidence is None:
            texts += word.text.split()
            continue
        first = min(max(0, word.first - START_FRAMES) * frame_seconds, duration)
        align(word.first, first)
        end = min((word.last + 1 + END_FRAMES) * frame_seconds, duration)
        parts = spread_words(word.text.split(), first, end)
        words += [replace(part, confidence=word.confidence) for part in parts]
        begin = word.last + 1
    align(len(logits), duration)
    ends = [min(word.end, max(word.start, following.start)) for word, following in pairwise(words)]
    ends += [word.end for word in words[-1:]]
    return [replace(word, end=end) for word, end in zip(words, ends, strict=True)]


def aligned_words(
    logits: Logits, words: Sequence[str], vocabulary: Vocabulary, frame_seconds: float, duration: float
) -> list[Word]:
    """Words with their times in `logits`, (frames, vocabulary), and unscaled confidences."""
    if not words:
        return []
    symbols = spell_as_recognized(logits, words, vocabulary)
    tokens, owners = [token for token, _ in symbols], [owner for _, owner in symbols]
    if not tokens or required_frames(tokens) > len(logits):
        return spread_words(words, 0.0, duration)
    scores = np.asarray(logits, np.float32)
    log_probabilities = scores - np.logaddexp.reduce(scores, -1, keepdims=True)
    frames = spans(forced_path(log_probabilities, tokens, vocabulary.blank), vocabulary.blank)
    peaks = [
        float(log_probabilities[first : last + 1, token].max())
        for token, (first, last) in zip(tokens, frames, strict=True)
    ]
    places: list[list[int]] = [[] for _ in words]  # of each word's symbols
    for place, owner in enumerate(owners):
        if owner >= 0:
            places[owner].append(place)
    timed: list[Word | None] = []
    for text, inside in zip(words, places, strict=True):
        if not inside:
            timed.append(None)
            continue
        sides = [i for i in (inside[0] - 1, inside[-1] + 1) if 0 <= i < len(owners) and owners[i] == -1]
        start = max(0, frames[inside[0]][0] - START_FRAMES) * frame_seconds
        end = (frames[inside[-1]][1] + 1 + END_FRAMES) * frame_seconds
        confidence = float(np.exp(min(0.0, sum(peaks[i] for i in inside + sides))))
        word_tokens = tuple(tokens[i] for i in inside)
        timed.append(Word(text, min(start, duration), min(end, duration), confidence, word_tokens))
    return place_unwritten(words, timed, duration)


def spell_as_recognized(
    logits: Logits, words: Sequence[str], vocabulary: Vocabulary
) -> list[tuple[int, int]]:
    """The symbols of the best path if it writes exactly these words, since a text has many spellings in word
    pieces, and the model has chosen among them; else `spell`."""
    tokens = collapse(logits.argmax(-1).tolist(), vocabulary.blank)
    if vocabulary.decode(tokens).split() == list(words):
        symbols = with_owners(tokens, vocabulary)
        if {owner for _, owner in symbols} - {-1} == set(range(len(words))):
            return symbols
    return spell(words, vocabulary)


def spell(words: Sequence[str], vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """(token, number of its word) for each symbol that writes `words`; -1 for delimiters between them."""
    symbols: list[tuple[int, int]] = []
    for number, word in enumerate(words):
        tokens = vocabulary.encode(word, drop_unknown=True)
        if tokens and symbols and vocabulary.delimiter_id is not None:
            symbols.append((vocabulary.delimiter_id, -1))
        symbols += [(token, number) for token in tokens]
    return symbols


def with_owners(tokens: Sequence[int], vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """(token, number of its word) for the tokens of a path; -1 for tokens that write nothing."""
    word, within_word, symbols = -1, False, []
    for token in tokens:
        if token in vocabulary.boundaries:
            within_word = False
        writes = token in vocabulary.written
        if writes and not within_word:
            word, within_word = word + 1, True
        symbols.append((token, word if writes else -1))
    return symbols


def forced_path(log_probabilities: np.ndarray, tokens: Sequence[int], blank: int) -> np.ndarray:
    """(frames,): the symbols of the most probable path through (frames, vocabulary) that writes `tokens`.

    torchaudio's memory grows with frames × tokens, so a long recording is aligned in windows. Frames in which
    every symbol is free follow each window, for the tokens that are spoken later. Only the first half of each
    window is used. Raises ValueError if the tokens need more frames.
    """
    if required_frames(tokens) > len(log_probabilities):
        raise ValueError(f"{len(tokens)} symbols do not fit into {len(log_probabilities)} frames")
    parts, begin, written = [], 0, 0
    while (len(log_probabilities) - begin) * (len(tokens) - written) > MAX_CELLS:
        window = log_probabilities[begin : begin + WINDOW_FRAMES]
        some = tokens[written : written + WINDOW_FRAMES // 3]
        free = np.zeros((2 * len(some), window.shape[1]), window.dtype)
        path = torchaudio_path(np.concatenate([window, free]), some, blank)[: WINDOW_FRAMES // 2]
        runs = np.flatnonzero(np.diff(path, prepend=blank) != 0)  # frames at which another symbol begins
        # The last symbol may go on; at frame 0 it is the only one, before a pause longer than half a window.
        end = next((int(run) for run in reversed(runs) if run and path[run] != blank), len(path))
        parts.append(path[:end])
        begin, written = begin + end, written + int((path[runs[runs < end]] != blank).sum())
    rest = log_probabilities[begin:]
    if required_frames(tokens[written:]) > len(rest):
        raise ValueError(f"{len(tokens) - written} symbols do not fit into the last {len(rest)} frames")
    return np.concatenate([*parts, torchaudio_path(rest, tokens[written:], blank)])


def torchaudio_path(log_probabilities: np.ndarray, tokens: Sequence[int], blank: int) -> np.ndarray:
    if not len(tokens):
        return np.full(len(log_probabilities), blank)
    import torch
    from torchaudio.functional import forced_align

    values = torch.from_numpy(log_probabilities).double()[None]
    path, _ = forced_align(values, torch.tensor([[*map(int, tokens)]]), blank=blank)
    return path[0].numpy()


def spans(path: np.ndarray, blank: int) -> list[tuple[int, int]]:
    """The first and the last frame of each token on a path of `forced_path`."""
    import torch
    from torchaudio.functional import merge_tokens

    tokens = torch.from_numpy(path)
    return [(span.start, span.end - 1) for span in merge_tokens(tokens, torch.zeros(len(tokens)), blank)]


def place_unwritten(words: Sequence[str], timed: Sequence[Word | None], duration: float) -> list[Word]:
    """All words; words without symbols share the time between their neighbours."""
    placed: list[Word] = []
    for unwritten, group in groupby(range(len(words)), lambda number: timed[number] is None):
        numbers = [*group]
        if not unwritten:
            placed += [timed[number] for number in numbers]
            continue
        following = timed[numbers[-1] + 1] if numbers[-1] + 1 < len(words) else None
        end = following.start if following else duration
        start = min(placed[-1].end, end) if placed else 0.0
        placed += spread_words([words[number] for number in numbers], start, end)
    return placed


def spread_words(words: Sequence[str], start: float, end: float) -> list[Word]:
    """Words without symbols from `start` to `end`, in proportion to their lengths, with confidence 0."""
    edges = start + (end - start) * np.cumsum([0, *map(len, words)]) / max(1, sum(map(len, words)))
    return [Word(word, float(a), float(b), 0.0) for word, (a, b) in zip(words, pairwise(edges), strict=True)]
