"""What the tests of the report share."""

import pytest
from hand_made import HEARD, Recipe, make_recipe


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return make_recipe(tmp_path, HEARD)
