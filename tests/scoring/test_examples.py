"""The functions return the examples in their docstrings."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["common.formatting", "scoring.alignment", "scoring.table", "report.charts"])
def test_examples(name):
    results = doctest.testmod(import_module(f"ia3_speech.{name}"))
    assert results.attempted and not results.failed
