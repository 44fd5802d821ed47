"""Hypotheses, and the search that needs nothing but a base. Loads no torch.

    search = GreedySearch(base.vocabulary)      # or decoding/beam_search.py, or a function of your own
    search(logits).text                         # (frames, vocabulary) of one utterance

In: the logits of one utterance. Out: a `Hypothesis`. Greedy (best path) search takes the best symbol of every
frame, merges repeats and drops blanks: Graves et al. 2006, "Connectionist Temporal Classification", section
3.2. It does not sum over alignments and uses neither lexicon nor language model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ia3_speech.data.text import Vocabulary
from ia3_speech.errors import SearchError

if TYPE_CHECKING:
    from torch import Tensor

Logits: TypeAlias = "Tensor | np.ndarray"  # of any float type

NAN = (
    "the model's output holds NaN: the base or adapter is broken, or float16 is too narrow for it "
    "(try --dtype float32)"
)


@dataclass(frozen=True)
class TimedWord:
    """A word of a hypothesis."""

    text: str  # the word; a phrase that the search writes as one, such as a hot word, may hold spaces
    first: int  # frames of its first and its last symbol
    last: int
    # 0 to 1, where the search itself gives one, as for a spotted hot word: then `first` and `last` are its
    # times. None: forced alignment finds times and confidence (`decoding.word_times`).
    confidence: float | None = None


@dataclass(frozen=True)
class Hypothesis:
    """The words that a search recognises in an utterance, in order."""

    words: tuple[TimedWord, ...] = ()
    # What the language model and `word_score` add to the text's score; None: the search has no language model
    lm_score: float | None = None

    @property
    def text(self) -> str:
        """The words, with a space between; "" where there are none."""
        return " ".join(word.text for word in self.words)


# What a base computes of an utterance (a CTC base: logits, (frames, vocabulary)) → its hypothesis. Raises
# SearchError where it holds a NaN.
Search = Callable[[Logits], Hypothesis]


def unused_hotwords(search: Search) -> str | None:
    """A note for the end of a run in which no hot word was recognised; else None."""
    unused = getattr(search, "unused", None)  # of lm/hotword_search.py
    return unused() if unused else None


@dataclass(frozen=True)
class GreedySearch:
    """The best path; see the module."""

    vocabulary: Vocabulary

    def __call__(self, logits: Logits) -> Hypothesis:
        """The hypothesis of (frames, vocabulary) logits. They may be wider than the vocabulary (a head padded
        for speed): symbols without a name are dropped."""
        if (logits != logits).any():  # argmax would take a NaN for the best symbol
            raise SearchError(NAN)
        vocabulary, path = self.vocabulary, logits.argmax(-1).tolist()
        boundaries, delimiter = vocabulary.boundaries, vocabulary.delimiter_id
        words: list[tuple[list[int], list[int]]] = [([], [])]  # of each: symbols, frames
        for frame, (symbol, previous) in enumerate(zip(path, [vocabulary.blank, *path], strict=False)):
            if symbol == vocabulary.blank:
                continue
            if symbol != previous and symbol in boundaries:
                words.append(([], []))
            if symbol != delimiter:
                words[-1][0].extend([symbol] * (symbol != previous))
                words[-1][1].append(frame)
        texts = [(vocabulary.decode(symbols), frames) for symbols, frames in words]
        return Hypothesis(tuple(TimedWord(text, frames[0], frames[-1]) for text, frames in texts if text))


def greedy(logits: Logits, vocabulary: Vocabulary) -> str:
    """The text along the best path through the (frames, vocabulary) logits of one utterance."""
    return GreedySearch(vocabulary)(logits).text


def collapse(path: Sequence[int], blank: int) -> list[int]:
    """One symbol a frame → the symbols of the text: repeats merged first, then blanks dropped.

    The order matters: a blank between two equal symbols separates them ("ll" in "hello").
    """
    return [symbol for symbol, _ in groupby(path) if symbol != blank]
