"""Adapters that an earlier version wrote load with the logits that they gave there."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ia3_speech import detach, load_adapter, save_adapter
from ia3_speech.adapters.record import read_metadata

FIXTURES = Path(__file__).parent / "fixtures/version_0_1"


@pytest.fixture(scope="module")
def earlier_base():
    """(model, wave): the base of the fixtures, its weights drawn by name, and the wave that it heard."""
    from transformers import AutoConfig, AutoModelForCTC

    sizes = json.loads((FIXTURES / "base_config.json").read_text())
    model = AutoModelForCTC.from_config(AutoConfig.for_model("wav2vec2", **sizes)).eval()
    random = np.random.RandomState(0)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            values = random.standard_normal(parameter.shape).astype("float32") / 4
            parameter.copy_(torch.from_numpy(values))
    wave = np.random.RandomState(1).standard_normal((1, 3000)).astype("float32")
    return model, torch.from_numpy(wave)


@torch.no_grad()
def logits(model, wave) -> torch.Tensor:
    return model(wave).logits


@pytest.mark.parametrize("name", ["peft_layout", "own_layout"])
def test_an_adapter_of_version_0_1_gives_equal_logits(earlier_base, tmp_path, name):
    model, wave = earlier_base
    expected = load_file(FIXTURES / "logits.safetensors")
    torch.testing.assert_close(logits(model, wave), expected["base"], atol=1e-5, rtol=1e-5)
    load_adapter(model, FIXTURES / name)  # the fingerprint is that of this base
    torch.testing.assert_close(logits(model, wave), expected[name], atol=1e-5, rtol=1e-5)
    assert float((expected[name] - expected["base"]).abs().max()) > 0.05
    metadata = read_metadata(FIXTURES / name)
    assert (metadata.labels, metadata.training["dev_wer"]) == ({"accent": "scots"}, 0.25)
    save_adapter(model, tmp_path / name)
    for file in sorted((FIXTURES / name).glob("*.safetensors")):
        assert file.read_bytes() == (tmp_path / name / file.name).read_bytes()
    detach(model)
