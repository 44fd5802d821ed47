"""egs/federated_accent: which replies the server uses, without Flower."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "egs/federated_accent/app"))
from federated_accent.replies import fault_of, weights_of

START = {"key": np.ones(4, np.float32), "value": np.ones(2, np.float32)}


@pytest.mark.parametrize(
    ("arrays", "metrics", "base", "words"),
    [
        ({}, {}, {}, ""),
        ({"key": np.ones(5, np.float32)}, {}, {}, "other names, sizes or types"),
        ({"key": np.ones(4)}, {}, {}, "other names, sizes or types"),
        ({"query": np.ones(4, np.float32)}, {}, {}, "other names, sizes or types"),
        ({"key": np.full(4, np.inf, np.float32)}, {}, {}, "NaN or infinite"),
        ({}, {"num-examples": 0}, {}, "claims 0 utterances"),
        ({}, {"num-examples": [9]}, {}, r"claims [9] utterances"),
        ({}, {}, {"sha256": "another"}, "another base"),
    ],
)
def test_a_fault_is_named(arrays, metrics, base, words):
    fault = fault_of(START | arrays, {"num-examples": 20} | metrics, {"sha256": "ours"} | base, START, "ours")
    assert words in fault and bool(words) == bool(fault)


def test_a_missing_record_is_a_fault():
    assert fault_of({}, {"num-examples": 20}, {"sha256": "ours"}, START, "ours")
    assert fault_of(START, {}, {"sha256": "ours"}, START, "ours")
    assert fault_of(START, {"num-examples": 20}, {}, START, "ours")


def test_nobody_takes_the_mean_over():
    assert weights_of([20, 20, 18, 20, 10**9]) == [20, 20, 18, 20, 40]
    assert weights_of([20, 10**9]) == [20, 40]
    assert weights_of([]) == []
