"""The words of a decode directory, each with its confidence and whether it is right.

In: aligned utterances as they were scored, and the confidences that decode wrote. Out: `WordConfidences`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ia3_speech.scoring.alignment import Pair, align
from ia3_speech.scoring.error_rates import normalized_words


@dataclass(frozen=True)
class WordConfidences:
    """The words of hypotheses.

    Attributes:
        confidences: (words,), 0 to 1.
        right: (words,), whether the alignment has the word in the reference.
        utterances: the id of each word's utterance.
        left_out: scored words whose confidence is not known, since a filter or the text normalisation has
            made them of others.
    """

    confidences: np.ndarray
    right: np.ndarray
    utterances: list[str]
    left_out: int


def match_confidences(
    alignments: Mapping[str, Sequence[Pair]],
    confidences: Mapping[str, Sequence[tuple[str, float]]],
    normalize: str,
) -> WordConfidences:
    """Join the words of the alignments with their confidences.

    Args:
        alignments: {utterance id: aligned words}.
        confidences: {utterance id: its words, each with its confidence}; see `ctm.read_confidences`.
        normalize: the text normalisation that was scored with, a mode of `data.text.normalize`.
    """
    found: list[tuple[float, bool, str]] = []
    scored_words = 0
    for name, pairs in alignments.items():
        right = [reference == word for reference, word in pairs if word is not None]
        scored = [word for _, word in pairs if word is not None]
        decoded = [(w, c) for word, c in confidences.get(name, ()) for w in normalized_words(word, normalize)]
        scored_words += len(scored)
        place = known = 0
        for word, other in align(scored, [word for word, _ in decoded]):
            if word is not None and word == other:
                found.append((decoded[known][1], right[place], name))
            place, known = place + (word is not None), known + (other is not None)
    return WordConfidences(
        np.array([one for one, _, _ in found], dtype=float),
        np.array([one for _, one, _ in found], dtype=bool),
        [one for _, _, one in found],
        scored_words - len(found),
    )
