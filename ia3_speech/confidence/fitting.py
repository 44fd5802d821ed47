"""Calibration of word confidences: slope and bias of their log-odds (see `Scaling`), fitted on a dev set.

The texts, and the order of words by confidence, never change.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from ia3_speech.confidence.reliability import REVIEWED, Calibration, measure
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import normalize
from ia3_speech.decoding.decode_directory import dev_logits
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.word_times import Scaling, log_odds, probability, words_of
from ia3_speech.model.hypotheses import TimedWord
from ia3_speech.scoring.alignment import align

PRIOR = 1.0  # inverse variance of the Gaussian priors of a scaling's log slope and bias, with means of 0
STEPS = 100  # of the fit: some ten are enough


def calibrate(
    recognizer: Recognizer, data: Path, allow_pipes: bool = False
) -> tuple[Calibration, Calibration] | None:
    """Measure the confidences of a data directory with text, without a scaling and with a fitted scaling;
    None if no word is recognised. Raises as `dev_logits`."""
    base = recognizer.base
    references, logits_by_id = dev_logits(recognizer, data, allow_pipes)
    words: list[tuple[str, TimedWord]] = []
    confidences: list[float] = []
    for name, pieces in logits_by_id.items():
        for logits in (piece.astype(np.float32) for piece in pieces):
            hypothesis = recognizer.search(logits)
            for word in hypothesis.words:  # a phrase becomes words, as in `word_times`
                words += [(name, replace(word, text=part)) for part in word.text.split()]
            timed = words_of(base, logits, hypothesis, len(logits) * base.stride / SAMPLE_RATE)
            confidences += [word.confidence for word in timed]
    if not words:
        return None
    right, uncalibrated = np.array([*right_words(references, words)]), np.array(confidences)
    scaled = np.array([word.confidence is None for _, word in words])  # others keep the search's confidence
    scaling = fit_scaling(uncalibrated[scaled], right[scaled])
    calibrated = np.where(scaled, scaling(uncalibrated), uncalibrated)
    return measure(uncalibrated, right), measure(calibrated, right, scaling)


def right_words(
    references: Mapping[str, Sequence[str]], words: Sequence[tuple[str, TimedWord]]
) -> Iterator[bool]:
    """Whether all normalised parts (`X-ray`: x ray) of each recognised word are in the reference."""
    for name, group in groupby(words, lambda pair: pair[0]):
        parts = [normalize(word.text).split() for _, word in group]
        hypothesis = [part for each in parts for part in each]
        pairs = align(references[name], hypothesis)
        matches = iter([reference == part for reference, part in pairs if part])
        yield from (sum(next(matches) for _ in each) == len(each) for each in parts)


def fit_scaling(confidences: np.ndarray, right: np.ndarray) -> Scaling:
    """Slope and bias by maximum a posteriori, from (words,) arrays; Fisher scoring, steps of at most 1."""
    known = confidences > 0
    odds, right = log_odds(confidences[known]), right[known]
    parameters = np.zeros(2)  # log slope, bias
    for _ in range(STEPS):
        slope = np.exp(parameters[0])
        p = probability(slope * odds + parameters[1])
        slopes = np.stack([slope * odds, np.ones_like(odds)])  # of the log-odds in the two parameters
        information = slopes * p * (1 - p) @ slopes.T + PRIOR * np.eye(2)
        step = np.linalg.solve(information, slopes @ (right - p) - PRIOR * parameters)
        parameters += step / max(1.0, np.abs(step).max())
    return Scaling(slope=round(float(np.exp(parameters[0])), 4), bias=round(float(parameters[1]), 4))


def format_calibration(calibration: Calibration) -> str:
    """A table for people: the measures in sentences, then `mean confidence    words    right` of each bin."""
    lines = [
        f"{calibration.scaling}: {calibration.words:,} words, {calibration.errors:,} wrong; cross-entropy "
        f"{calibration.cross_entropy:.2f} bits a word, calibration error {calibration.calibration_error:.1%}",
        f"wrong words are separated from right words with an area under the ROC curve of "
        f"{calibration.area:.3f}",
        f"the least certain {REVIEWED:.0%} of the words contain {calibration.found:.0%} of the errors",
        "mean confidence    words    right",
    ]
    lines += [f"{row.confidence:>15.0%} {row.words:>8,} {row.right:>8.0%}" for row in calibration.bins]
    return "\n".join(lines)
