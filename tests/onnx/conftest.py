"""A base of one layer: an export takes ten seconds, and more with more layers."""

import pytest


@pytest.fixture(scope="session")
def random_base(save_base, tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("random_base"), sharpness=50, num_hidden_layers=1)
