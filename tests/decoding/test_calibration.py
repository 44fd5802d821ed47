"""Confidences against whether words are right: the measures, and the command on real speech."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from ia3_speech.calibrate import main
from ia3_speech.cli import UserError
from ia3_speech.decoding.calibration import are_right, area_under_roc, measure
from ia3_speech.decoding.search import SearchOptions

OUT_OF_DOMAIN = Path(__file__).parents[2] / "ia3_speech/out_of_domain/librispeech_dev"


def test_a_word_is_right_where_the_alignment_has_it():
    assert are_right(["no", "fever", "no", "cough"], "no feather no a cough") == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert are_right(["yes"], "") == []


def test_measures_of_a_few_words():
    confidences = np.array([0.9, 0.9, 0.2, 0.6, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    right = np.array([True, True, False, True, False, True, True, True, True, False])
    one = measure(confidences, right, 2.0)
    assert (one.temperature, one.words, one.errors) == (2.0, 10, 3)
    expected = -np.log2([0.9] * 6 + [0.8, 0.6, 0.9, 0.1]).mean()
    assert one.cross_entropy == pytest.approx(expected)
    assert one.found == pytest.approx(1 / 3)  # the one least certain word is wrong
    bins = [(1, 0.1, 0.0), (1, 0.2, 0.0), (1, 0.6, 1.0), (7, 0.9, 6 / 7)]
    assert np.allclose(np.array(one.bins), np.array(bins))
    assert one.calibration_error == pytest.approx((0.1 + 0.2 + 0.4 + 7 * abs(0.9 - 6 / 7)) / 10)
    assert one.area == pytest.approx((3 * 7 - 0.5 * 6 - 1) / 21)


def test_the_area_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    confidences, right = rng.integers(0, 9, 200) / 9, rng.random(200) < 0.6
    pairs = [(a > b) + 0.5 * (a == b) for a in confidences[right] for b in confidences[~right]]
    assert area_under_roc(confidences, right) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_roc(confidences, np.ones(200, bool)))


def test_the_temperature_that_is_fitted_has_the_smallest_cross_entropy(tmp_path, capsys):
    greedy, out = SearchOptions("greedy"), tmp_path / "confidence.yaml"
    main(OUT_OF_DOMAIN, search_options=greedy, base="mini", out=out)
    shown = capsys.readouterr().out.splitlines()
    fitted = yaml.safe_load(out.read_text())["confidence_temperature"]
    assert shown[1].startswith(f"temperature {fitted:g}: ") and shown[-1].startswith(f"{out}: take it as ")
    before, after = (float(line.split("cross-entropy ")[1].split()[0]) for line in shown[:2])
    assert after < before
    main(OUT_OF_DOMAIN, search_options=greedy, base="mini", temperature=fitted)
    assert capsys.readouterr().out.splitlines() == shown[1:-1]


def test_a_temperature_that_is_measured_is_not_written(tmp_path):
    for options in ({"temperature": 2.0, "out": tmp_path / "a.yaml"}, {"temperature": -1.0}):
        with pytest.raises(UserError, match="--temperature is a positive number, and is measured"):
            main(OUT_OF_DOMAIN, search_options=SearchOptions(), **options)
