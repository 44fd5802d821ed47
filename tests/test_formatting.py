"""Formats by exact strings."""

import math

from ia3_speech.formatting import in_columns, interval, numeric_order, percent, plural, with_interval


def test_percent():
    assert percent(0.4567) == "45.7"
    assert percent(0.4567, 2) == "45.67"
    assert percent(-0.0567, signed=True) == "-5.7"
    assert percent(0.0567, signed=True) == "+5.7"
    assert percent(None) == percent(math.nan) == "–"


def test_interval():
    assert interval((-0.1, 0.02), signed=True) == "[-10.0, +2.0]"
    assert interval([0.401, 0.513], 2) == "[40.10, 51.30]"
    assert interval(None) == ""
    assert with_interval(0.457, (0.401, 0.513)) == "45.7 [40.1, 51.3]"
    assert with_interval(0.457, None) == "45.7"
    assert with_interval(None, None) == "–"


def test_plural():
    assert plural(1, "word") == "1 word"
    assert plural(2345, "word") == "2,345 words"
    assert plural(0, "hypothesis", "hypotheses") == "0 hypotheses"


def test_columns():
    rows = [("accent", "words", "note"), ("indian", "9", "")]
    assert in_columns(rows, left=(0, 2)) == ["accent  words  note", "indian      9"]


def test_numeric_order():
    names = ["k10", "k5", "11-15", "6-10", "base"]
    assert sorted(names, key=numeric_order) == ["6-10", "11-15", "base", "k5", "k10"]
