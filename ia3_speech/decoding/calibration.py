"""Calibration of word confidences: a temperature that makes them probabilities, fitted on a dev set.

In: a dev set with text, a recogniser. Out: the temperature by which the logits are divided before confidences
are taken (Guo et al. 2017, arXiv 1706.04599), and how well confidences tell right words from wrong ones.
Texts never change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.tuning import dev_logits
from ia3_speech.decoding.word_times import word_times
from ia3_speech.scoring.alignment import align

TEMPERATURES = tuple(np.geomspace(0.25, 8, 26).round(3))
BINS = 10
REVIEWED = 0.1  # of the words: the least certain ones, which a person would look at


@dataclass(frozen=True)
class Calibration:
    """Confidences of the words of hypotheses against whether they are right.

    Attributes:
        temperature: the logits were divided by it.
        words, errors: words of the hypotheses, and those that are substitutions or insertions. Words that
            were not written have no confidence.
        cross_entropy: mean −log₂ of the probability that was given to what is true, in bits a word.
        calibration_error: expected calibration error over ten bins of equal width, a fraction.
        area: under the ROC curve of telling wrong words from right ones; NaN without words of both kinds.
        found: the share of the errors that the least certain 10 % of the words hold.
        bins: (words, mean confidence, share that is right) of each bin that holds words, lowest first.
    """

    temperature: float
    words: int
    errors: int
    cross_entropy: float
    calibration_error: float
    area: float
    found: float
    bins: tuple[tuple[int, float, float], ...]


def calibrate(
    recognizer: Recognizer,
    data: Path,
    temperatures: Sequence[float] = TEMPERATURES,
    allow_pipes: bool = False,
) -> list[Calibration]:
    """Measure each temperature on a data directory with text; the first result has the least cross-entropy.

    Raises:
        UserError: the directory holds no words, or nothing is recognised.
        AudioError: a recording cannot be used.
    """
    search, base = recognizer.search, recognizer.base
    references, pieces = dev_logits(recognizer, data, allow_pipes)
    recognizer.search = search
    frame = base.stride / SAMPLE_RATE
    texts = {name: [search(logits.float()) for logits in own] for name, own in pieces.items()}
    right = np.array([one for name in texts for one in are_right(references[name], " ".join(texts[name]))])
    if not len(right):
        raise UserError(f"{data}: no word was recognised")
    found = []
    for temperature in temperatures:
        confidences = [
            word.confidence
            for name, own in pieces.items()
            for logits, text in zip(own, texts[name], strict=True)
            for word in word_times(logits.float(), text, base.vocabulary, frame, temperature=temperature)
        ]
        found.append(measure(np.array(confidences), right, float(temperature)))
    return sorted(found, key=lambda one: one.cross_entropy)


def are_right(reference: Sequence[str], hypothesis: str) -> list[bool]:
    """For each word of the hypothesis whether the alignment has it in the reference."""
    return [said == heard for said, heard in align(reference, hypothesis.split()) if heard is not None]


def measure(confidences: np.ndarray, right: np.ndarray, temperature: float) -> Calibration:
    """(words,) confidences and whether each word is right."""
    given = np.clip(np.where(right, confidences, 1 - confidences), 1e-6, 1)
    places = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = tuple(
        (int(inside.sum()), float(confidences[inside].mean()), float(right[inside].mean()))
        for inside in (places == place for place in range(BINS))
        if inside.any()
    )
    order = np.argsort(confidences, kind="stable")
    reviewed = order[: max(1, round(REVIEWED * len(order)))]
    errors = int((~right).sum())
    return Calibration(
        temperature=temperature,
        words=len(right),
        errors=errors,
        cross_entropy=float(-np.log2(given).mean()),
        calibration_error=sum(count * abs(mean - share) for count, mean, share in bins) / len(right),
        area=area_under_roc(confidences, right),
        found=float((~right[reviewed]).sum() / errors) if errors else 0.0,
        bins=bins,
    )


def area_under_roc(confidences: np.ndarray, right: np.ndarray) -> float:
    """The probability that a right word has more confidence than a wrong one, ties counted half."""
    positive, negative = confidences[right], np.sort(confidences[~right])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left")
    up_to = np.searchsorted(negative, positive, "right")
    return float((below + up_to).sum() / 2 / len(positive) / len(negative))


def format_calibration(one: Calibration) -> str:
    """A table for people:

    temperature 1.52: 2,247 words, 812 wrong; cross-entropy 0.71 bits a word, calibration error 3.1 %
    wrong words are told from right ones with an area under the ROC curve of 0.886
    looking at the least certain 10 % of the words finds 24 % of the errors
    confidence   words   right
      0 to  10     512     9 %
    """
    lines = [
        f"temperature {one.temperature:g}: {one.words:,} words, {one.errors:,} wrong; cross-entropy "
        f"{one.cross_entropy:.2f} bits a word, calibration error {one.calibration_error:.1%}",
        f"wrong words are told from right ones with an area under the ROC curve of {one.area:.3f}",
        f"looking at the least certain {REVIEWED:.0%} of the words finds {one.found:.0%} of the errors",
        "mean confidence    words    right",
    ]
    lines += [f"{mean:>15.0%} {count:>8,} {share:>8.0%}" for count, mean, share in one.bins]
    return "\n".join(lines)
