"""Test-time adaptation: its objective, that it adapts, and that it stays with its own request."""

from math import log

import numpy as np
import pytest
import torch
from tiny_models import noise_waves, random_adapter

from ia3_speech import load
from ia3_speech.decoding import suta
from ia3_speech.decoding.suta import ENTROPY_WEIGHT, suta_loss

WAVES = noise_waves(*(0.5 + number / 32 for number in range(8)))


def test_the_objective_is_the_published_one():
    assert float(suta_loss(torch.zeros(6, 4), blank=1)) == pytest.approx(
        ENTROPY_WEIGHT * log(4) + (1 - ENTROPY_WEIGHT) * 3 / 4
    )
    sure = 1e3 * torch.eye(4)
    assert float(suta_loss(sure, blank=0)) == pytest.approx(0, abs=1e-6)
    # A blank frame has no part in the entropy, and has one in the class confusion.
    unsure = torch.tensor([[2.5, 0.0], [0.0, 2.5]])  # softmax of 1 and 0
    p = np.exp(1) / (1 + np.exp(1))
    entropy = -(p * log(p) + (1 - p) * log(1 - p))
    assert float(suta_loss(unsure, blank=0)) == pytest.approx(
        ENTROPY_WEIGHT * entropy + (1 - ENTROPY_WEIGHT) * 2 * p * (1 - p), rel=1e-6
    )
    assert not suta_loss(1e3 * torch.eye(4)[:1].requires_grad_(), blank=0).requires_grad  # nothing was heard


def test_a_request_adapts_alone_and_the_model_stays(random_base, tmp_path, monkeypatch):
    random_adapter(random_base, tmp_path / "adapter", 2, "key", "ffn", low=0.5, high=1.5)
    asr, [wave, other] = load(random_base, test_time="suta"), WAVES[:2]
    recognizer = asr.recognizer
    state = {name: tensor.clone() for name, tensor in recognizer.base.model.state_dict().items()}
    adapted = recognizer.logits([wave])[0]
    blank = recognizer.base.vocabulary.blank
    plain = load(random_base).recognizer.logits([wave])[0]
    assert suta_loss(adapted, blank) < suta_loss(plain, blank)
    assert torch.equal(recognizer.logits([wave])[0], adapted)
    # An adapter given with the request, or for all, is the start; and 0 steps are no adaptation.
    monkeypatch.setattr(suta, "STEPS", 0)
    requested = asr.with_adapter(tmp_path / "adapter").recognizer.logits([wave])[0]
    with_adapter = load(random_base, adapter=tmp_path / "adapter").recognizer.logits([wave])[0]
    torch.testing.assert_close(requested, with_adapter)
    torch.testing.assert_close(recognizer.logits([wave])[0], plain)
    monkeypatch.undo()
    loaded = load(random_base, adapter=tmp_path / "adapter", test_time="suta")
    expected = asr.with_adapter(tmp_path / "adapter")
    assert loaded.transcribe([wave, other]) == expected.transcribe([wave, other])
    after = recognizer.base.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
