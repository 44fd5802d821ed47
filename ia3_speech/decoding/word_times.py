"""Word times and confidences: where the words of a hypothesis are in its audio, by CTC forced alignment.

In: the logits of a piece, and a search's hypothesis. Out: `Word`s with start, end and confidence: those of
the most probable path that writes the text (torchaudio's forced alignment), whatever search and base.

    text      t w o           t a b l e t s
    path      t _ w _ _ o _ | t a _ b l _ e t _ _ s _ _
    word     [- - - - - - - -]                           start: a frame before its first symbol
                           [- - - - - - - - - - - - - -] end: two frames after its last

A CTC model writes a symbol when it has heard most of its sound, and then a blank; how far from the truth
these times are is in scripts/bench_word_times.md.

Confidence is the product, over the word's symbols and the delimiters at its sides, of the posterior
probability that each reaches at its peak: an estimate of the probability that all of them are right. Frames
between the peaks are not counted: their probabilities depend on how peaked the model is, not on the word. Of
15 measures it tells wrong words from right ones best (scripts/bench_confidence.md). A `Scaling` that was
fitted on a dev set makes the confidences probabilities (`ia3-speech calibrate`); it never changes the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import isfinite

import numpy as np

from ia3_speech.data.text import Vocabulary, required_frames
from ia3_speech.decoding.transcript import Word
from ia3_speech.model.hypotheses import Hypothesis, Logits, collapse

START_FRAMES, END_FRAMES = 1, 2  # that a word begins before its first symbol, and ends after its last
MAX_CELLS = 2**28  # frames × tokens that are aligned at once: some ten minutes of speech, 0.2 GB
WINDOW_FRAMES = 15_000  # of a longer recording: five minutes
LIMIT = 1e-9  # confidences nearer to 0 or 1 are scaled as this far from it


@dataclass(frozen=True)
class Scaling:
    """Makes a word's confidence p a probability: Platt scaling (1999). Temperature scaling (Guo et al. 2017),
    of one parameter, is too little where a language model's corrections make words right whose p is low.
    Raises ValueError where the slope is not positive, or a value is not finite."""

    # The log-odds become slope · log(p / (1 − p)) + bias. A p of 0 stays: it is that of words which the base
    # cannot write
    slope: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isfinite(value) or (name == "slope" and value <= 0):
                kind = "positive" if name == "slope" else "finite"
                raise ValueError(f"{name} is {value:g}, and has to be a {kind} number")

    def __call__(self, confidences: np.ndarray) -> np.ndarray:
        """Confidences as probabilities."""
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


def word_times(
    logits: Logits,
    hypothesis: Hypothesis,
    vocabulary: Vocabulary,
    frame_seconds: float,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    scaling: Scaling = Scaling(),
) -> list[Word]:
    """The words of a hypothesis, each with its time and confidence.

    A word whose confidence the search has given keeps it, and the search's frames; the words before it and
    those after it are aligned with the logits on that side of it. A phrase becomes words.

    Args:
        logits: (frames, vocabulary) of the piece.
        frame_seconds: from one frame to the next.
        offset: seconds from the beginning of the recording to that of the piece.
        duration: of the piece, in seconds; None: that of its frames. No word ends later.
        scaling: of the confidences of aligned words.

    Words that the base cannot write have no symbols: they stand between their neighbours, with confidence 0.
    So do all words of a text that needs more frames than there are, which no search finds.
    """
    duration = len(logits) * frame_seconds if duration is None else duration
    words: list[Word] = []
    texts: list[str] = []  # that wait for their alignment with frames from `begin` on
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
    return [
        replace(word, start=word.start + offset, end=end + offset)
        for word, end in zip(words, ends, strict=True)
    ]


def aligned_words(
    logits: Logits, words: Sequence[str], vocabulary: Vocabulary, frame_seconds: float, duration: float
) -> list[Word]:
    """Words with their times in `logits`, (frames, vocabulary), and confidences that are not scaled."""
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
    """`spell`; but where the best path writes just these words, its own symbols: a text has many spellings in
    word pieces, and the model has chosen one."""
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
    """(token, number of its word) for tokens that were read from a path; -1 for what writes nothing."""
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

    torchaudio's memory grows with frames × tokens, so a long recording is aligned in windows. Behind each
    stand frames in which every symbol is free: the tokens that are spoken later are written there. Of each
    window the first half is taken. Raises ValueError where the tokens need more frames.
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
        end = next((int(run) for run in reversed(runs) if path[run] != blank), len(path))
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
    """All words: those without symbols share the time between their neighbours."""
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
