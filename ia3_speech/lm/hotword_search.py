"""A search that writes the terms of a hot-word file, around greedy or beam search.

In: logits (frames, vocabulary). Out: the words of the search inside. Where a term is spotted
(hotword_spotting.py), the search inside is given no other choice than the term's symbols, so that a language
model has the term as context, and the term is then written as the file has it. Where none is, the text is
that of the search inside.
"""

from collections.abc import Callable
from typing import Any

from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.ctc_search import TimedWord
from ia3_speech.lm.hotword_list import HotwordList, spellings, unused_message
from ia3_speech.lm.hotword_spotting import SpottedTerm, Spotter, force_terms, merge_terms


class HotwordSearch:
    """Logits → text, with the terms of a list.

    Args:
        hotwords: the terms.
        weight: nats for each character that counts, of a term whose own weight is 1.
        vocabulary: of the base.
        words: the search inside: logits → words with their frames.

    Attributes:
        counts: how often each term was found so far, by its number.

    Raises:
        HotwordError: the base cannot write a term.
    """

    def __init__(
        self,
        hotwords: HotwordList,
        weight: float,
        vocabulary: Vocabulary,
        words: Callable[[Any], list[TimedWord]],
    ):
        self.hotwords = hotwords
        self.texts = [term.text for term in hotwords.terms]
        self.spotter = Spotter(spellings(hotwords, vocabulary, weight), vocabulary)
        self.search_words = words
        self.counts = [0] * len(hotwords)

    def __call__(self, logits: Any) -> str:
        """The text of (frames, vocabulary) logits. Raises SearchError where they hold a NaN."""
        return " ".join(word.text for word in self.words(logits))

    def words(self, logits: Any) -> list[TimedWord]:
        """The same as words, each with its frames; a phrase of the list is one of them."""
        return self.merged(logits, self.spotter.spot(logits))

    def merged(self, logits: Any, spotted: list[SpottedTerm]) -> list[TimedWord]:
        """The words of the search inside and the spotted terms, which are counted."""
        for one in spotted:
            self.counts[one.term] += 1
        if not spotted:
            return self.search_words(logits)
        return merge_terms(self.search_words(force_terms(logits, spotted)), spotted, self.texts)

    def unused(self) -> str | None:
        """What is said at the end of a run where no term of the list was ever found."""
        return unused_message(self.hotwords, self.counts)
