"""Search: a base's logits → text.

In: logits (frames, vocabulary) of one utterance. Out: its words. Greedy (best path) search takes the best
symbol of every frame, merges repeats and drops blanks: Graves et al. 2006, "Connectionist Temporal
Classification", section 3.2. It does not sum over alignments and uses no lexicon or language model; it is
fast, needs nothing but the base, and is what published adaptation results compare first.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data.text import WORD_START, SubwordVocabulary, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


NAN = (
    "the model's output holds NaN: the base or adapter is broken, or float16 is too narrow for it "
    "(try --dtype float32)"
)


class SearchError(UserError):
    """Logits from which no text can be read."""


@dataclass(frozen=True)
class TimedWord:
    """A word of a hypothesis.

    Attributes:
        text: the word.
        first, last: frames of its first and its last symbol.
    """

    text: str
    first: int
    last: int


def greedy(logits: "Tensor | np.ndarray", vocabulary: Vocabulary) -> str:
    """The text along the best path through `logits`, (frames, vocabulary), any float type; no frames: "".

    Logits may be wider than the vocabulary (a head padded for speed): symbols without a name are dropped.

    Raises:
        ValueError: `logits` is not a matrix.
        SearchError: it holds a NaN, which argmax would take for the best symbol.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits are (frames, vocabulary), not of shape {tuple(logits.shape)}")
    if (logits != logits).any():
        raise SearchError(NAN)
    if not len(logits):
        return ""
    best = logits.argmax(-1).tolist()
    return vocabulary.decode(collapse(best, vocabulary.blank))


def collapse(path: list[int], blank: int) -> list[int]:
    """One symbol a frame → the symbols of the text: repeats merged first, then blanks dropped.

    The order matters: a blank between two equal symbols separates them ("ll" in "hello").
    """
    previous = [blank, *path]
    return [symbol for symbol, last in zip(path, previous, strict=False) if symbol not in (last, blank)]


def greedy_words(logits: "Tensor | np.ndarray", vocabulary: Vocabulary) -> list[TimedWord]:
    """The words of `greedy`, each with its frames."""
    subwords = isinstance(vocabulary, SubwordVocabulary)
    delimiter = None if subwords else vocabulary.tokens.get(vocabulary.delimiter)
    starts = {number for token, number in vocabulary.tokens.items() if token.startswith(WORD_START)}
    path = logits.argmax(-1).tolist()
    words: list[tuple[list[int], list[int]]] = [([], [])]  # of each: symbols, frames
    for frame, (symbol, previous) in enumerate(zip(path, [vocabulary.blank, *path], strict=False)):
        if symbol == vocabulary.blank:
            continue
        if symbol != previous and (symbol == delimiter or (subwords and symbol in starts)):
            words.append(([], []))
        if symbol != delimiter:
            words[-1][0].extend([symbol] * (symbol != previous))
            words[-1][1].append(frame)
    texts = [(vocabulary.decode(symbols), frames) for symbols, frames in words]
    return [TimedWord(text, frames[0], frames[-1]) for text, frames in texts if text]
