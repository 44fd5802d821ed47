"""Word times and confidences: where the words of a hypothesis are in its audio, by CTC forced alignment.

In: the logits of a piece, and the text that a search has found in them. Out: `Word`s with start, end and
confidence. Of all paths through the logits that write the text, the most probable one is taken (Viterbi;
`torchaudio.functional.forced_align`), so greedy and beam search, hot words and any base are served alike.

    text      t w o           t a b l e t s
    path      t _ w _ _ o _ | t a _ b l _ e t _ _ s _ _
    word     [- - - - - - - -]                           start: a frame before its first symbol
                           [- - - - - - - - - - - - - -] end: two frames after its last

A CTC model writes a symbol when it has heard most of its sound, and then a blank. On an earlier mini base and
espeak-ng's known word starts, words began 23 ms after the truth and ended 43 ms before the next word's
(medians), which a frame and two frames of 20 ms make up for; what is left is in scripts/bench_word_times.md.

Confidence is the product, over the word's symbols and the delimiters at its sides, of the posterior
probability that each reaches at its peak: an estimate of the probability that all of them are right. Frames
between the peaks are not counted: their probabilities depend on how peaked the model is, not on the word.
Of the 15 measures of `scripts/bench_confidence.md`, on read_english dev (2,590 words, greedy search, 11.5 M
parameter mini base), it tells wrong words from right ones best: its area under the ROC curve is 0.887
[0.872, 0.901], that of the lowest symbol 0.876, of the least Tsallis entropy of a frame (Laptev and
Ginsburg 2022, arXiv 2212.08703) 0.866, of the CTC path score 0.844. By beam search with a 3-gram no measure
has a clearly larger area than its 0.784 [0.763, 0.804], but the least certain 10 % of the words hold fewer
of the errors by it (21 %) than by entropies (24 to 27 %). A scaling fitted on a dev set makes the
confidences probabilities (`ia3-speech calibrate`); it never changes the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.text import WORD_START, SubwordVocabulary, Vocabulary, required_frames
from ia3_speech.decoding.ctc_search import Hypothesis, collapse
from ia3_speech.decoding.transcript import Word

if TYPE_CHECKING:
    from torch import Tensor

START_FRAMES, END_FRAMES = 1, 2  # that a word begins before its first symbol, and ends after its last
LIMIT = 1e-9  # confidences nearer to 0 or 1 are scaled as this far from it


@dataclass(frozen=True)
class Scaling:
    """What makes a word's confidence p a probability: Platt scaling (1999). Temperature scaling (Guo et al.
    2017), of one parameter, is too little where a language model's corrections make words right whose p is
    low.

    Attributes:
        slope, bias: the log-odds become slope · log(p / (1 − p)) + bias. A p of 0 stays: it is that of words
            which the base cannot write.

    Raises:
        ValueError: the slope is not positive, or one is no finite number.
    """

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


@dataclass(frozen=True)
class AlignedSymbol:
    """A symbol of the text on the path.

    Attributes:
        token: its column in the logits.
        first, last: its frames.
        peak: its highest log-probability in them.
    """

    token: int
    first: int
    last: int
    peak: float


def word_times(
    logits: "Tensor",
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
        for word in align_words(logits[begin:end], texts, vocabulary, frame_seconds, until - start):
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


def align_words(
    logits: "Tensor", words: Sequence[str], vocabulary: Vocabulary, frame_seconds: float, duration: float
) -> list[Word]:
    """Words with their times in `logits`, and confidences that are not scaled."""
    if not words:
        return []
    spelt = spell(logits, words, vocabulary)
    ids = [token for token, _ in spelt]
    if not ids or required_frames(ids) > len(logits):
        return spread_words(words, 0.0, duration)
    symbols = align_symbols(logits, ids, vocabulary.blank)
    owners = [owner for _, owner in spelt]
    places: list[list[int]] = [[] for _ in words]  # of each word's symbols
    for place, owner in enumerate(owners):
        if owner >= 0:
            places[owner].append(place)
    aligned = [
        timed(text, own, symbols, owners, frame_seconds, duration)
        for text, own in zip(words, places, strict=True)
    ]
    return place_unwritten(words, aligned, duration)


def spell(logits: "Tensor", words: Sequence[str], vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """(token, number of its word) for each symbol that writes `words`; -1 for delimiters.

    Where the best path writes just these words, its own symbols are taken: a text has many spellings in word
    pieces, and the model has chosen one.
    """
    ids = collapse(logits.argmax(-1).tolist(), vocabulary.blank)
    if vocabulary.decode(ids).split() == list(words):
        spelt = owned(ids, vocabulary)
        if {owner for _, owner in spelt} - {-1} == set(range(len(words))):
            return spelt
    delimiter = vocabulary.tokens.get(vocabulary.delimiter)
    separated = delimiter is not None and not isinstance(vocabulary, SubwordVocabulary)
    spelt = []
    for number, word in enumerate(words):
        own = vocabulary.encode(word, drop_unknown=True)
        if own and spelt and separated:
            spelt.append((delimiter, -1))
        spelt += [(token, number) for token in own]
    return spelt


def owned(ids: Sequence[int], vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """(token, number of its word) for symbols that were read from a path; -1 for what writes nothing."""
    names = {number: token for token, number in vocabulary.tokens.items()}
    subwords, word, begun, found = isinstance(vocabulary, SubwordVocabulary), -1, False, []
    for token in ids:
        name = names.get(token)
        if name is None or name in vocabulary.special:
            found.append((token, -1))
            continue
        begun = begun and not (name.startswith(WORD_START) if subwords else name == vocabulary.delimiter)
        if name == WORD_START if subwords else name not in vocabulary.letters:
            found.append((token, -1))
            continue
        word, begun = word + (not begun), True
        found.append((token, word))
    return found


def align_symbols(logits: "Tensor", ids: Sequence[int], blank: int) -> list[AlignedSymbol]:
    """The frames of each symbol on the best path of `ids` through (frames, vocabulary).

    Raises:
        RuntimeError: the frames are fewer than `required_frames(ids)`.
    """
    import torch
    from torchaudio.functional import forced_align

    log_probabilities = logits.float().log_softmax(-1)
    targets = torch.tensor([list(ids)], dtype=torch.int32)
    path, scores = forced_align(log_probabilities[None], targets, blank=blank)
    path, scores = path[0].numpy(), scores[0].numpy()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(path)) + 1])
    lasts = np.concatenate([starts[1:], [len(path)]]) - 1
    runs = (path[starts], starts, lasts, np.maximum.reduceat(scores, starts))
    return [
        AlignedSymbol(token, first, last, peak)
        for token, first, last, peak in zip(*(column.tolist() for column in runs), strict=True)
        if token != blank
    ]


def timed(
    text: str,
    own: Sequence[int],
    symbols: Sequence[AlignedSymbol],
    owners: Sequence[int],
    frame_seconds: float,
    duration: float,
) -> Word | None:
    """A word in the piece, whose symbols have the places `own`; None where it has none."""
    if not own:
        return None
    sides = [i for i in (own[0] - 1, own[-1] + 1) if 0 <= i < len(owners) and owners[i] == -1]
    start = max(0, symbols[own[0]].first - START_FRAMES) * frame_seconds
    end = (symbols[own[-1]].last + 1 + END_FRAMES) * frame_seconds
    confidence = float(np.exp(min(0.0, sum(symbols[i].peak for i in own + sides))))
    tokens = tuple(symbols[i].token for i in own)
    return Word(text, min(start, duration), min(end, duration), confidence, tokens)


def place_unwritten(words: Sequence[str], found: Sequence[Word | None], duration: float) -> list[Word]:
    """All words: those without symbols share the time between their neighbours."""
    placed: list[Word] = []
    number = 0
    while number < len(words):
        if (word := found[number]) is not None:
            placed.append(word)
            number += 1
            continue
        later = next((i for i in range(number, len(words)) if found[i] is not None), len(words))
        end = found[later].start if later < len(words) else duration
        start = min(placed[-1].end, end) if placed else 0.0
        placed += spread_words(words[number:later], start, end)
        number = later
    return placed


def spread_words(words: Sequence[str], start: float, end: float) -> list[Word]:
    """Words without symbols from `start` to `end`, in proportion to their lengths, with confidence 0."""
    edges = start + (end - start) * np.cumsum([0, *map(len, words)]) / max(1, sum(map(len, words)))
    return [Word(word, float(a), float(b), 0.0) for word, (a, b) in zip(words, pairwise(edges), strict=True)]
