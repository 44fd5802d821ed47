"""Confidences against whether words are right: calibration, ranking, and where they come from."""

import numpy as np
import pytest

from ia3_speech.cli import UserError
from ia3_speech.confidence.reliability import (
    Scaling,
    area_under_roc,
    fit_scaling,
    found_interval,
    log_odds,
    measure,
    probability,
    share_found,
)
from ia3_speech.confidence.word_confidences import match_confidences
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.ctm import ctm_line, read_confidences
from ia3_speech.scoring.significance import wilson_interval


def test_measures_of_a_few_words():
    confidences = np.array([0.9, 0.9, 0.2, 0.6, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    right = np.array([True, True, False, True, False, True, True, True, True, False])
    one = measure(confidences, right, Scaling(2.0))
    assert (one.scaling, one.words, one.errors) == (Scaling(2.0), 10, 3)
    expected = -np.log2([0.9] * 6 + [0.8, 0.6, 0.9, 0.1]).mean()
    assert one.cross_entropy == pytest.approx(expected)
    assert one.found == pytest.approx(1 / 3)  # the one least certain word is wrong
    bins = [
        (0.1, 0.2, 1, 0.1, 0.0),
        (0.2, 0.3, 1, 0.2, 0.0),
        (0.6, 0.7, 1, 0.6, 1.0),
        (0.9, 1.0, 7, 0.9, 6 / 7),
    ]
    assert np.allclose([list(vars(row).values()) for row in one.bins], bins)
    assert one.calibration_error == pytest.approx((0.1 + 0.2 + 0.4 + 7 * abs(0.9 - 6 / 7)) / 10)
    assert one.area == pytest.approx((3 * 7 - 0.5 * 6 - 1) / 21)


def miscalibrated(words: int, slope: float, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidences that are probabilities after Scaling(slope=slope, bias=bias), and which words are right."""
    rng = np.random.default_rng(0)
    odds = rng.normal(1, 2, words)
    return probability((odds - bias) / slope), rng.random(words) < probability(odds)


@pytest.mark.parametrize(("slope", "bias"), [(0.4, 1.6), (1.0, 0.0), (1.5, -0.5)])
def test_slope_and_bias_are_recovered_and_hold_for_other_words(slope, bias):
    confidences, right = miscalibrated(20_000, slope, bias)
    fitted = fit_scaling(confidences[::2], right[::2])
    assert (fitted.slope, fitted.bias) == pytest.approx((slope, bias), abs=0.1) and fitted.temperature == 1
    before, after = (measure(scale(confidences[1::2]), right[1::2]) for scale in (Scaling(), fitted))
    assert after.calibration_error < 0.02 and after.cross_entropy < before.cross_entropy + 0.001
    if bias:
        assert after.calibration_error < before.calibration_error / 3
    assert (after.area, after.found) == (before.area, before.found)  # the order of the words is the same


def test_few_words_change_little_and_none_is_certain():
    assert fit_scaling(np.array([]), np.array([], bool)) == Scaling()
    assert fit_scaling(np.zeros(3), np.zeros(3, bool)) == Scaling()  # of words without evidence
    sure = fit_scaling(np.array([0.6, 0.7, 0.8]), np.array([True] * 3))
    assert 1 < sure.slope < 2 and 0 < sure.bias < 1
    swapped = fit_scaling(np.array([0.001] * 50 + [0.999] * 50), np.array([True] * 50 + [False] * 50))
    assert 0 < swapped.slope < 0.1 and abs(swapped.bias) < 0.5
    few = fit_scaling(*miscalibrated(10, 0.4, 1.6))
    assert 0.4 < few.slope < 1 and 0 < few.bias < 1.6


def test_confidences_stay_between_0_and_1_and_those_of_a_temperature_alone_as_they_are():
    edges = np.array([0.0, 1e-300, 0.3, 1.0])
    assert Scaling(2.0)(edges) is edges
    scaled = Scaling(slope=0.4, bias=1.6)(edges)
    assert scaled[0] == 0 < scaled[1] < scaled[2] < scaled[3] < 1
    assert np.isfinite(log_odds(edges)).all()
    assert list(Scaling(slope=1e3)(edges[1:])) == [0, 0, 1]
    for bad in ({"temperature": 0}, {"slope": -1.0}, {"bias": float("nan")}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} is .*, and has to be a .* number"):
            Scaling(**bad)


def test_the_area_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    confidences, right = rng.integers(0, 9, 200) / 9, rng.random(200) < 0.6
    pairs = [(a > b) + 0.5 * (a == b) for a in confidences[right] for b in confidences[~right]]
    assert area_under_roc(confidences, right) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_roc(confidences, np.ones(200, bool)))


def test_of_equally_certain_words_the_reviewer_sees_some_by_chance():
    right = np.array([False] * 5 + [True] * 15)
    assert share_found(np.full(20, 0.5), right) == pytest.approx(0.1)
    assert share_found(np.array([0.1] * 4 + [0.9] * 16), right) == pytest.approx(2 / 5)  # two of four words
    assert share_found(np.linspace(0, 1, 20), np.ones(20, bool)) == 0


def test_the_interval_draws_clusters():
    rng = np.random.default_rng(0)
    confidences = rng.random(2000)
    right = rng.random(2000) < confidences
    found = share_found(confidences, right)
    low, high = found_interval(confidences, right, [*range(2000)], 500, 0)
    assert low < found < high and high - low < 0.06
    wider = found_interval(confidences, right, [n // 400 for n in range(2000)], 500, 0)
    assert wider[0] < found < wider[1]
    assert found_interval(confidences, right, 2000 * ["s"], 500, 0) is None


def test_wilson():
    """Against the values of Newcombe 1998, table I."""
    for count, whole, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        assert wilson_interval(count, whole) == pytest.approx((low, high), abs=5e-5)


# ---- ctm


def test_lines_to_the_byte_and_back(tmp_path):
    lines = ctm_line("s-1", 0.256, 0.48, "take", 0.98) + ctm_line("s-1", 0.5, 0.5, "two", 2.4e-5, digits=6)
    assert lines == "s-1 1 0.26 0.22 take 0.98\ns-1 1 0.50 0.01 two 0.000024\n"
    (tmp_path / "hyp.ctm").write_text(lines + ctm_line("s-2", 1, 2, "é", 1))
    assert read_confidences(tmp_path / "hyp.ctm") == {
        "s-1": [("take", 0.98), ("two", 2.4e-5)],
        "s-2": [("é", 1.0)],
    }


@pytest.mark.parametrize(
    "line", ["s-1 1 0.26 0.22 take", "s-1 1 0 0 take x", "s-1 1 0 0 take 1.5", "", "s 1 0 0 a nan"]
)
def test_what_is_no_line_is_named(tmp_path, line):
    file = tmp_path / "hyp.ctm"
    file.write_text(f"s-1 1 0.26 0.22 take 0.98\n{line}\n")
    with pytest.raises(UserError, match=r"hyp.ctm:2: is not .* decode --force writes it again"):
        read_confidences(file)
    with pytest.raises(UserError, match=r"none.ctm: .*decode writes it"):
        read_confidences(tmp_path / "none.ctm")


# ---- words and their confidences


def test_words_are_joined_with_the_alignment():
    alignments = {"a": align(["no", "fever", "today"], ["know", "fever"]), "b": align([], ["uh"]), "c": []}
    found = match_confidences(alignments, {"a": [("know", 0.3), ("fever", 0.9)], "b": [("uh", 0.5)]}, "ctc")
    assert found.confidences.tolist() == [0.3, 0.9, 0.5] and found.right.tolist() == [False, True, False]
    assert found.utterances == ["a", "a", "b"] and found.left_out == 0


def test_normalised_words_keep_their_confidence_and_changed_ones_are_counted():
    alignments = {"a": align(["take", "an", "x", "ray"], ["take", "x", "ray", "then"])}
    heard = {"a": [("um", 0.1), ("take", 0.9), ("X-ray", 0.6), ("later", 0.2)]}
    found = match_confidences(alignments, heard, "ctc")
    assert found.confidences.tolist() == [0.9, 0.6, 0.6] and found.right.tolist() == [True, True, True]
    assert found.left_out == 1
    assert match_confidences(alignments, {}, "ctc").left_out == 4
