"""The examples in the docstrings are what the functions return."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["formatting", "scoring.alignment", "report.markup", "report.svg", "report.utterance_table"]
)
def test_examples(name):
    found = doctest.testmod(import_module(f"ia3_speech.{name}"))
    assert found.attempted and not found.failed
