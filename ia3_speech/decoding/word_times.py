"""Word times and confidences: where the words of a hypothesis are in its audio, by CTC forced alignment.

In: the logits of a piece, and the hypothesis that a search has found in them. Out: `Word`s with start, end
and confidence. Of all paths through the logits that write the text, the most probable one is taken
(`viterbi`), so greedy and beam search and any base are served alike.

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
BEAM_STATES = 8000  # of the Viterbi search, around the best: 4000 symbols, some five minutes of speech
IMPOSSIBLE = -1e30
LIMIT = 1e-9  # confidences nearer to 0 or 1 are scaled as this far from it


@dataclass(frozen=True)
class Scaling:
    """What makes a word's confidence p a probability: Platt scaling (1999). Temperature scaling (Guo et al.
    2017), of one parameter, is too little where a language model's corrections make words right whose p is
    low. Raises ValueError where the slope is not positive, or one is no finite number."""

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
        logits: (frames, vocabulary) of the piece in which a search has found the hypothesis.
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
    ends = [min(one.end, max(one.start, other.start)) for one, other in pairwise(words)]
    ends += [word.end for word in words[-1:]]
    return [
        replace(word, start=word.start + offset, end=end + offset)
        for word, end in zip(words, ends, strict=True)
    ]


def aligned_words(
    logits: Logits,
    words: Sequence[str],
    vocabulary: Vocabulary,
    frame_seconds: float,
    duration: float,
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
    firsts, lasts = spans(viterbi(log_probabilities, tokens, vocabulary.blank), len(tokens))
    peaks = [
        float(log_probabilities[first : last + 1, token].max())
        for token, first, last in zip(tokens, firsts, lasts, strict=True)
    ]
    places: list[list[int]] = [[] for _ in words]  # of each word's symbols
    for place, owner in enumerate(owners):
        if owner >= 0:
            places[owner].append(place)
    timed: list[Word | None] = []
    for text, own in zip(words, places, strict=True):
        if not own:
            timed.append(None)
            continue
        sides = [i for i in (own[0] - 1, own[-1] + 1) if 0 <= i < len(owners) and owners[i] == -1]
        start = max(0, int(firsts[own[0]]) - START_FRAMES) * frame_seconds
        end = (int(lasts[own[-1]]) + 1 + END_FRAMES) * frame_seconds
        confidence = float(np.exp(min(0.0, sum(peaks[i] for i in own + sides))))
        word_tokens = tuple(tokens[i] for i in own)
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


def viterbi(log_probabilities: np.ndarray, tokens: Sequence[int], blank: int) -> np.ndarray:
    """The best path of `tokens` through (frames, vocabulary), as a state for each frame: 2n + 1 is token n,
    an even number a blank. Only `BEAM_STATES` states around the best are searched.

    torchaudio's forced_align finds the same path four times as fast, in memory of frames × symbols, which is
    18 GB for an hour of speech. Beside the model, either takes less than 1 % of the time on a CPU. Raises
    ValueError where there are fewer frames than the tokens need, or the beam has lost the end of the text.
    """
    symbols = np.full(2 * len(tokens) + 1, blank)
    symbols[1::2] = tokens
    skips = np.full(len(symbols), IMPOSSIBLE)  # a token may follow an unequal one without a blank
    skips[3::2][symbols[3::2] != symbols[1:-2:2]] = 0.0
    width, frames, first = min(BEAM_STATES, len(symbols)), len(log_probabilities), 0
    steps = np.zeros((frames, width), np.int8)
    firsts = np.zeros(frames, np.int64)
    scores = np.full(width + 2, IMPOSSIBLE)  # of states first - 2 … first + width - 1
    scores[2:4] = log_probabilities[0, symbols[:2]]
    window, window_skips = symbols[:width], skips[:width]
    for frame in range(1, frames):
        if width < len(symbols):  # the window follows the best state
            best = first + int(scores[2:].argmax())
            moved = min(max(first, best - width // 2), len(symbols) - width) - first
            scores = np.append(scores[moved:], np.full(moved, IMPOSSIBLE))
            first += moved
            window, window_skips = symbols[first : first + width], skips[first : first + width]
        stay, step, skip = scores[2:], scores[1:-1], scores[:-2] + window_skips
        best_of_two = np.maximum(stay, step)
        np.greater(step, stay, out=steps[frame], casting="unsafe")
        steps[frame][skip > best_of_two] = 2
        scores[2:] = np.maximum(best_of_two, skip) + log_probabilities[frame, window]
        firsts[frame] = first
    final = len(symbols) + 1 - first  # of the last blank, in `scores`
    if final >= len(scores) or max(scores[final], scores[final - 1]) < IMPOSSIBLE / 2:
        raise ValueError(f"{len(tokens)} symbols do not fit into {frames} frames")
    state = len(symbols) - 1 - int(scores[final - 1] > scores[final])
    states = np.empty(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        states[frame] = state
        state -= int(steps[frame, state - firsts[frame]])
    return states


def spans(states: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last frame of each of the `count` tokens on a path of `viterbi`."""
    tokens = 2 * np.arange(count) + 1
    return np.searchsorted(states, tokens), np.searchsorted(states, tokens, side="right") - 1


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
