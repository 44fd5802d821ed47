"""Intervals and tests: against real sc_stats, against known theory, and exact strings."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from ia3_speech.scoring.significance import (
    BootCI,
    MatchedPairsTest,
    UtteranceBootstrap,
    bootstrap_sums,
    mapsswe,
    percentile_interval,
    ratio,
    ratio_of_sums,
    segment_errors,
    standard_error,
    sums_by_cluster,
    utterance_bootstrap,
)

REFERENCE = Path(__file__).parents[3] / "shared/reference/mapsswe"
EXPECTED = REFERENCE / "expected.json"


def trn(path):
    lines = path.read_text().splitlines()
    return [re.sub(r"\(\S+\)$", "", line).split() for line in lines]


@pytest.mark.skipif(not EXPECTED.is_file(), reason="the numbers of sc_stats (../shared) are not here")
@pytest.mark.parametrize("case", ["case1", "case2"])
def test_mapsswe_is_that_of_sc_stats(case):
    expected = json.loads(EXPECTED.read_text())[case]
    reference, a, b = (trn(REFERENCE / f"{case}.{side}.trn") for side in ("ref", "a", "b"))
    result = mapsswe(reference, a, b)
    assert result.segments == expected["segments"]
    for name in ("mean", "std_dev", "z"):
        assert round(getattr(result, name), 3) == expected[name]
    assert (result.p < 0.05) == expected["different_at_95"]
    errors = [pair for texts in zip(reference, a, b, strict=True) for pair in segment_errors(*texts)]
    assert sum(one for one, _ in errors) == expected["errors_a"]
    assert sum(other for _, other in errors) == expected["errors_b"]


def segments(reference, a, b):
    return list(segment_errors(reference.split(), a.split(), b.split()))


def test_a_segment_ends_after_two_words_that_both_got_right():
    assert segments("a b c d e f", "x b c d e y", "a b c d e f") == [(1, 0), (1, 0)]
    assert segments("a b c d", "x b y d", "a b c d") == [(2, 0)]  # a single good word is not enough
    assert segments("a b c d e", "x b c d e", "a b z d e") == [(1, 1)]  # both must have got it right
    assert segments("a b c d e", "x b uh c d e", "a b c d e") == [(2, 0)]  # nor with an insertion between
    assert segments("a b", "a b", "a b") == []
    assert segments("a b", "a b", "a b uh") == [(0, 1)]  # sc_stats, too, counts insertions at the end
    assert segments("", "x", "") == [(1, 0)]


def test_mapsswe_without_a_spread():
    assert mapsswe([], [], []) == MatchedPairsTest(0, 0.0, 0.0, 0.0, 1.0)
    assert mapsswe([["a"]], [["a"]], [["a"]]) == MatchedPairsTest(0, 0.0, 0.0, 0.0, 1.0)
    assert mapsswe([["a"]], [["b"]], [["a"]]) == MatchedPairsTest(1, 1.0, 0.0, 0.0, 1.0)
    assert mapsswe([["a"]] * 3, [["b"]] * 3, [["a"]] * 3) == MatchedPairsTest(3, 1.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError):
        mapsswe([["a"]], [["a"]], [])


def test_speakers_give_a_wider_interval_than_utterances():
    # one speaker in two is all wrong: a rate over n such units has a deviation of √(¼ / n)
    errors = np.repeat(np.tile([0, 1], 10), 20)
    columns = {"errors": errors, "words": np.ones(400)}

    def width(clusters):
        drawn = bootstrap_sums(sums_by_cluster(columns, clusters), 5000)
        low, high = percentile_interval(ratio(drawn["errors"], drawn["words"]))
        return high - low

    speakers = np.repeat(np.arange(20), 20).tolist()
    assert width(speakers) == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 20), rel=0.1)
    assert width(range(400)) == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 400), rel=0.1)


def test_wer_bootci_lines():
    alone = UtteranceBootstrap(BootCI(0.13451, 0.02))
    assert str(alone) == "Set1: %WER 13.45 95% Conf Interval [ 11.45, 15.45 ]\n"
    both = UtteranceBootstrap(BootCI(0.11, 0.03), baseline=BootCI(0.5, 0.0625), improvement=0.98765)
    assert str(both) == (
        "Set1: %WER 50.00 95% Conf Interval [ 43.75, 56.25 ]\n"
        "Set2: %WER 11.00 95% Conf Interval [ 8.00, 14.00 ]\n"
        "Probability of Set2 improving Set1: 98.77\n"
    )


def test_the_standard_error_is_the_bootstraps():
    draw = np.random.default_rng(0)
    words = draw.integers(1, 20, 300)
    errors = draw.binomial(words, draw.beta(2, 5, 300))
    drawn = utterance_bootstrap(errors, words).system.margin / 1.96
    assert standard_error(errors, words) == pytest.approx(drawn, rel=0.03)
    assert standard_error([1, 2], [2, 4]) == 0  # every utterance has the same rate
    assert math.isnan(standard_error([], []))


def test_a_ratio_of_sums_is_drawn_over_clusters():
    part, whole, speakers = np.array([1, 3, 2, 2]), np.array([4, 4, 4, 4]), ["a", "a", "b", "b"]
    assert ratio_of_sums(part, whole, speakers) == (0.5, (0.5, 0.5))  # each speaker has a half
    value, (low, high) = ratio_of_sums(part, whole)
    assert value == 0.5 and low < 0.5 < high
    value, (low, high) = ratio_of_sums(0 * part, -whole)
    assert [f"{bound:+.1f}" for bound in (low, high)] == ["+0.0", "+0.0"]  # not −0.0
