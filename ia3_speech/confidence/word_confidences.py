"""The words of a decode directory, each with its confidence and whether it is right.

In: aligned utterances as they were scored, and the confidences that decode wrote (hyp.ctm). Out:
`WordConfidences`, and how reliable they are.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ia3_speech.confidence.reliability import Calibration, found_interval, measure
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.scoring.alignment import Pair, align
from ia3_speech.scoring.ctm import read_confidences
from ia3_speech.scoring.error_rates import normalized_words

CONFIDENCES = "hyp.ctm"  # in a decode directory


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


def read_word_confidences(
    folder: Path, alignments: Mapping[str, Sequence[Pair]], normalize: str
) -> WordConfidences | None:
    """Those of a decode directory; None where decode wrote none.

    Args:
        folder: the decode directory.
        alignments, normalize: as for `match_confidences`.

    Raises:
        UserError: hyp.ctm is damaged.
    """
    file = folder / CONFIDENCES
    return match_confidences(alignments, read_confidences(file), normalize) if file.is_file() else None


def recorded_scaling(decoding: Mapping[str, Any]) -> Scaling | None:
    """The scaling in a decode.json; None: not calibrated."""
    scaling = decoding.get("confidence_scaling")
    return Scaling(**scaling) if scaling else None


def measure_reliability(
    words: WordConfidences,
    scaling: Scaling | None,
    clusters: Mapping[str, Hashable],
    replications: int,
    seed: int,
) -> Calibration | None:
    """How well confidences are calibrated, and how many of the errors the least certain words hold, with its
    interval; None where there is no word.

    Args:
        words: with confidences that are scaled already.
        scaling: that they were scaled by.
        clusters: {utterance id: what the bootstrap draws}.
        replications: replicates of the bootstrap.
        seed: of the bootstrap.
    """
    if not len(words.right):
        return None
    found, owners = measure(words.confidences, words.right, scaling), [clusters[u] for u in words.utterances]
    bounds = found_interval(words.confidences, words.right, owners, replications, seed)
    return replace(found, found_ci=bounds)


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
