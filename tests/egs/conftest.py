"""The modules of egs/medical_dictation/local, which are no package, for the tests that look at them."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
PLACES = [str(ROOT / "egs/medical_dictation/local")]
NAMES = ("wording", "grammar", "prepare", "terms")


@pytest.fixture(scope="module")
def local():
    """wording, grammar, prepare and terms; forgotten afterwards, another recipe has its own."""
    sys.path[:0] = PLACES
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    finally:
        for place in PLACES:
            sys.path.remove(place)
        for name in NAMES:
            sys.modules.pop(name, None)
