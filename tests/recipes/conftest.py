"""The modules of recipes/utils, which are no package, for the tests that look at them."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

UTILS = str(Path(__file__).parents[2] / "recipes/utils")
NAMES = ("coverage",)


@pytest.fixture(scope="module")
def utils():
    """The modules; forgotten afterwards."""
    sys.path.insert(0, UTILS)
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    finally:
        sys.path.remove(UTILS)
        for name in NAMES:
            sys.modules.pop(name, None)
