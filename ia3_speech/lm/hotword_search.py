"""A search that writes the terms of a hot-word file, around greedy or beam search.

In: logits (frames, vocabulary). Out: the words of the search inside. Where a term is spotted
(hotword_spotting.py), the search inside is given no other choice than the term's symbols, so that a language
model has the term as context, and the term is then written as the file has it. Where none is, the text is
that of the search inside.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.ctc_search import Hypothesis, Search
from ia3_speech.lm.hotword_list import HotwordList, spellings, unused_message
from ia3_speech.lm.hotword_spotting import Spotter, force_terms, merge_terms

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class HotwordSearch:
    """Logits → text, with the terms of a list.

    Args:
        hotwords: the terms.
        weight: nats for each character that counts, of a term whose own weight is 1.
        vocabulary: of the base.
        search: the search inside.

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
        search: Search,
    ):
        self.hotwords = hotwords
        self.texts = [term.text for term in hotwords.terms]
        self.spotter = Spotter(spellings(hotwords, vocabulary, weight), vocabulary)
        self.search = search
        self.counts = [0] * len(hotwords)

    def __call__(self, logits: "Tensor | np.ndarray", frames: Iterable[int]) -> list[Hypothesis]:
        """See `ctc_search.Search`. A phrase of the list is one word."""
        return [self.read(row[:count]) for row, count in zip(logits, frames, strict=True)]

    def read(self, logits: "Tensor | np.ndarray") -> Hypothesis:
        """The words of (frames, vocabulary) logits."""
        spotted = self.spotter.spot(logits)
        for one in spotted:
            self.counts[one.term] += 1
        forced = force_terms(logits, spotted) if spotted else logits
        [hypothesis] = self.search(forced[None], [len(forced)])
        return (
            Hypothesis(tuple(merge_terms(hypothesis.words, spotted, self.texts))) if spotted else hypothesis
        )

    def unused(self) -> str | None:
        """What is said at the end of a run where no term of the list was ever found."""
        return unused_message(self.hotwords, self.counts)
