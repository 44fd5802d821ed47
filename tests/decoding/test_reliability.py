"""Confidences against whether words are right: calibration, ranking, and where they come from."""

import numpy as np
import pytest

from ia3_speech.decoding.reliability import area_under_roc, fit_scaling, match_confidences, measure
from ia3_speech.decoding.transcript import Word
from ia3_speech.decoding.word_times import Scaling, probability
from ia3_speech.scoring.alignment import align


def test_measures_of_a_few_words():
    confidences = np.array([0.9, 0.9, 0.2, 0.6, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    right = np.array([True, True, False, True, False, True, True, True, True, False])
    found = measure(confidences, right, Scaling(2.0))
    assert (found.scaling, found.words, found.errors) == (Scaling(2.0), 10, 3)
    expected = -np.log2([0.9] * 6 + [0.8, 0.6, 0.9, 0.1]).mean()
    assert found.cross_entropy == pytest.approx(expected)
    assert found.found == pytest.approx(1 / 3)  # the one least certain word is wrong
    bins = [
        (0.1, 0.2, 1, 0.1, 0.0),
        (0.2, 0.3, 1, 0.2, 0.0),
        (0.6, 0.7, 1, 0.6, 1.0),
        (0.9, 1, 7, 0.9, 6 / 7),
    ]
    assert np.allclose([list(vars(row).values()) for row in found.bins], bins)
    assert found.calibration_error == pytest.approx((0.1 + 0.2 + 0.4 + 7 * abs(0.9 - 6 / 7)) / 10)
    assert found.area == pytest.approx((3 * 7 - 0.5 * 6 - 1) / 21)


def miscalibrated(words: int, slope: float, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidences that are probabilities after Scaling(slope, bias), and which words are right."""
    rng = np.random.default_rng(0)
    odds = rng.normal(1, 2, words)
    return probability((odds - bias) / slope), rng.random(words) < probability(odds)


@pytest.mark.parametrize(("slope", "bias"), [(0.4, 1.6), (1.0, 0.0), (1.5, -0.5)])
def test_slope_and_bias_are_recovered_and_hold_for_other_words(slope, bias):
    confidences, right = miscalibrated(20_000, slope, bias)
    fitted = fit_scaling(confidences[::2], right[::2])
    assert (fitted.slope, fitted.bias) == pytest.approx((slope, bias), abs=0.1)
    before, after = (measure(scale(confidences[1::2]), right[1::2]) for scale in (Scaling(), fitted))
    assert after.calibration_error < 0.02 and after.cross_entropy < before.cross_entropy + 0.001
    if bias:
        assert after.calibration_error < before.calibration_error / 3
    assert (after.area, after.found) == (before.area, before.found)  # the order of the words is the same


def test_the_area_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    confidences, right = rng.integers(0, 9, 200) / 9, rng.random(200) < 0.6
    pairs = [(a > b) + 0.5 * (a == b) for a in confidences[right] for b in confidences[~right]]
    assert area_under_roc(confidences, right) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_roc(confidences, np.ones(200, bool)))


def test_normalised_words_keep_their_confidence_and_changed_ones_are_left_out():
    spoken = ["take", "x", "ray", "b", "twelve"]
    alignments = {"a": align(["an", *spoken], [*spoken, "then"])}
    heard = [("um", 0.1), ("take", 0.9), ("X-ray", 0.6), ("B12", 0.8), ("later", 0.2)]
    words = {"a": [Word(word, 0.0, 1.0, confidence) for word, confidence in heard]}
    confidences, right, utterances = match_confidences(alignments, words, "ctc")
    assert confidences.tolist() == [0.9, 0.6, 0.6, 0.8, 0.8] and right.all() and utterances == 5 * ["a"]
    assert not len(match_confidences(alignments, {}, "ctc")[0])
