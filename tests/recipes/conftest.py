"""The scripts of recipes/utils can be imported."""

from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "recipes/utils"


@pytest.fixture(autouse=True)
def utils(monkeypatch) -> Path:
    monkeypatch.syspath_prepend(str(UTILS))
    return UTILS
