"""An adapter's files, of no base: enough to be found, listed and registered."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file


@pytest.fixture
def adapter(tmp_path):
    """A function that writes an adapter's files, all of whose numbers are `value`."""

    def make(value: float = 1.0, folder="adapter"):
        path = tmp_path / folder
        path.mkdir(parents=True, exist_ok=True)
        save_file({"a.ia3_key": np.full(4, value)}, path / "ia3_speech.safetensors")
        (path / "ia3_speech.json").write_text(json.dumps({"schema": 1, "base": "mini"}))
        return path

    return make
