"""Search: a base's logits → words. Whatever has the signature of `Search` can be handed to a recogniser.

    search = GreedySearch(base.vocabulary)                  # or BeamSearch, or a function of your own
    search(logits).text                                     # (frames, vocabulary) of one utterance

In: the logits of one utterance. Out: a `Hypothesis`. Greedy (best path) search takes the best symbol of
every frame, merges repeats and drops blanks: Graves et al. 2006, "Connectionist Temporal Classification",
section 3.2. It does not sum over alignments and uses no lexicon or language model; it is fast, needs nothing
but the base, and is what published adaptation results compare first.
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
    # 0 to 1, where the search knows it better than the alignment of the text does, such as that of a spotted
    # hot word; then these frames are its times too. None: `word_times` finds both.
    confidence: float | None = None


@dataclass(frozen=True)
class Hypothesis:
    """What a search has found in one utterance: its words, in order."""

    words: tuple[TimedWord, ...] = ()
    # What the language model and `word_score` add to the text's score; None: the search has no language model
    lm_score: float | None = None

    @property
    def text(self) -> str:
        """The words, with a space between; "" where there are none."""
        return " ".join(word.text for word in self.words)


# Logits (frames, vocabulary) of an utterance → its hypothesis. Raises SearchError where they hold a NaN.
Search = Callable[[Logits], Hypothesis]


def unused_hotwords(search: Search) -> str | None:
    """What is said at the end of a run with hot words of which none was ever found."""
    unused = getattr(search, "unused", None)  # of lm/hotword_search.py
    return unused() if unused else None


class GreedySearch:
    """The best path; see the module."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __call__(self, logits: Logits) -> Hypothesis:
        """See `Search`."""
        return Hypothesis(tuple(greedy_words(logits, self.vocabulary)))


def greedy(logits: Logits, vocabulary: Vocabulary) -> str:
    """The text along the best path through the (frames, vocabulary) logits of one utterance."""
    return GreedySearch(vocabulary)(logits).text


def greedy_words(logits: Logits, vocabulary: Vocabulary) -> list[TimedWord]:
    """The words along the best path through `logits`, (frames, vocabulary), any float type. They may be wider
    than the vocabulary (a head padded for speed): symbols without a name are dropped."""
    if (logits != logits).any():  # argmax would take a NaN for the best symbol
        raise SearchError(NAN)
    boundaries, delimiter = vocabulary.boundaries, vocabulary.delimiter_id
    path = logits.argmax(-1).tolist()
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
    return [TimedWord(text, frames[0], frames[-1]) for text, frames in texts if text]


def collapse(path: Sequence[int], blank: int) -> list[int]:
    """One symbol a frame → the symbols of the text: repeats merged first, then blanks dropped.

    The order matters: a blank between two equal symbols separates them ("ll" in "hello").
    """
    return [symbol for symbol, _ in groupby(path) if symbol != blank]
