"""Hypotheses, and the search that needs nothing but a base. Loads no torch.

    search = GreedySearch(base.vocabulary)      # or decoding/beam_search.py, or a function of your own
    search(logits).text                         # (frames, vocabulary) of an utterance

In: the logits of an utterance. Out: a `Hypothesis`. Greedy (best path) search takes the best symbol of every
frame, merges repeats and drops blanks: Graves et al. 2006, "Connectionist Temporal Classification", section
3.2. It does not sum over alignments and uses neither lexicon nor language model.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ia3_speech.common.errors import SearchError
from ia3_speech.common.formatting import plural, shorten
from ia3_speech.data.text import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

Logits: TypeAlias = "Tensor | np.ndarray"  # of any float type

NAN = (
    "the model's output holds NaN: the base or adapter is broken, or float16 is too narrow for it "
    "(try `dtype=float32`)"
)


@dataclass(frozen=True)
class TimedWord:
    """A word of a hypothesis."""

    text: str  # a phrase from the search, such as a hot word, may contain spaces
    first: int  # frames of its first and its last symbol
    last: int
    # 0 to 1, if the search itself gives it, as for a spotted hot word; `first` and `last` are then its times.
    # None: forced alignment finds times and confidence (`decoding.word_times`).
    confidence: float | None = None


@dataclass(frozen=True)
class Hypothesis:
    """The words that a search recognises in an utterance, in order."""

    words: tuple[TimedWord, ...] = ()
    # The part of the score from the language model and `word_score`; None: the search has no language model
    lm_score: float | None = None
    # Less likely texts, the likeliest first, and their scores relative to this hypothesis, in nats
    others: tuple[tuple[str, float], ...] = ()
    tokens: tuple[int, ...] = ()  # of a base that writes tokens one after another
    prompt_tokens: tuple[int, ...] = ()  # before them
    scores: tuple[float, ...] = field(default=(), compare=False)  # their log-probabilities
    # of a Whisper base: (heads, tokens, d), the queries of the heads that align tokens with frames
    queries: Any = field(default=None, compare=False, repr=False)
    language: str | None = None  # code, of a base that writes several

    @property
    def text(self) -> str:
        """The words, separated by spaces."""
        return " ".join(word.text for word in self.words)

    def alternatives(self) -> dict[int, tuple[str, ...]]:
        """Number of a word of `text` → what the other texts have in its place, the likeliest first."""
        words, weights = self.text.split(), {}
        for text, score in self.others:
            other = text.split()
            for kind, first, last, begin, end in SequenceMatcher(None, words, other, False).get_opcodes():
                if kind == "replace" and last - first == 1:
                    alternatives = weights.setdefault(first, Counter())
                    alternatives[" ".join(other[begin:end])] += math.exp(score)
        return {number: tuple(text for text, _ in c.most_common()) for number, c in weights.items()}


# A base's output for an utterance (for CTC logits, (frames, vocabulary)) → its hypothesis. Raises SearchError
# for a NaN.
Search = Callable[[Logits], Hypothesis]


def search_rows(search: Search, rows: Sequence[Logits]) -> list[Hypothesis]:
    """The hypothesis of each row. A search with a method `many` gets all rows at once."""
    many = getattr(search, "many", None)
    return many(rows) if many else [search(np.asarray(row)) for row in rows]


def search_each(searches: Sequence[Search], rows: Sequence[Logits]) -> list[Hypothesis]:
    """The hypothesis of each row by its search; a search gets all its rows at once."""
    hypotheses: dict[int, Hypothesis] = {}
    for search in {id(each): each for each in searches}.values():
        numbers = [number for number, each in enumerate(searches) if each is search]
        hypotheses |= zip(numbers, search_rows(search, [rows[n] for n in numbers]), strict=True)
    return [hypotheses[number] for number in range(len(rows))]


def unused_hotwords(search: Search) -> str | None:
    """A note for the end of a run that recognised no hot word; else None."""
    unused = getattr(search, "unused", None)  # of lm/hotword_search.py
    return unused() if unused else None


def decoded_again(search: Search) -> str | None:
    """A note for the end of a run about texts that tripped the search's guards; else None."""
    texts = getattr(search, "again", None)  # of kinds/whisper_search.py
    if not texts:
        return None
    count = plural(len(texts), "repetitive or improbable text was", "repetitive or improbable texts were")
    return f"{count} decoded again: {shorten(texts)}"


@dataclass(frozen=True)
class GreedySearch:
    """Best path search."""

    vocabulary: Vocabulary

    def __call__(self, logits: Logits) -> Hypothesis:
        """The hypothesis of (frames, vocabulary) logits. Symbols beyond the vocabulary (a head padded for
        speed) are dropped."""
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


def collapse(path: Sequence[int], blank: int) -> list[int]:
    """The symbol of each frame → the symbols of the text: repeats are merged first, then blanks dropped.

    The order matters: a blank between two equal symbols separates them ("ll" in "hello").
    """
    return [symbol for symbol, _ in groupby(path) if symbol != blank]
