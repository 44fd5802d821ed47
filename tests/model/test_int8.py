"""int8: a rounded base is a base like any other: vectors start as nothing, train, and rows stay apart."""

import logging

import pytest
import torch
from tiny_models import TINY, random_vectors, tiny
from torch import nn

from ia3_speech import Bank, LoadOptions, attach, load, load_adapter, load_base, save_adapter
from ia3_speech.adapters.merge import merge
from ia3_speech.common.errors import AdapterError
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.ia3 import architecture_of, layers_of
from ia3_speech.model.int8 import Int8Linear, compute_int8, has_fast_int8, quantize
from ia3_speech.model.sharing import structural_copy

ARCHITECTURES = [name for name in TINY if not name.startswith("wavlm")]


def rounded(name: str) -> nn.Module:
    model = tiny(name)
    return quantize(model, layers_of(model)[1])


def test_a_linear_layer_in_int8():
    torch.manual_seed(0)
    linear = nn.Linear(96, 40)
    x = torch.randn(3, 7, 96, requires_grad=True)
    exact, low = linear(x), Int8Linear(linear)
    output = low(x)
    assert 0 < (output - exact).norm() / exact.norm() < 0.02
    assert torch.equal(low(x[1:2, 3:4]), output[1:2, 3:4])  # neither rows nor frames share a scale
    exact_gradient, gradient = (torch.autograd.grad(y.square().sum(), x)[0] for y in (exact, output))
    assert torch.cosine_similarity(gradient.flatten(), exact_gradient.flatten(), dim=0) > 0.999
    assert low.weight.dtype == torch.int8 and low.weight.shape == (40, 96)
    assert torch.equal(low(torch.zeros(1, 96))[0], linear.bias)


@pytest.mark.skipif(not has_fast_int8(), reason="this processor has no VNNI instructions")
@torch.no_grad()
def test_the_fast_kernel_computes_the_same():
    torch.manual_seed(0)
    linear, x = nn.Linear(96, 40), torch.randn(3, 7, 96)
    fast = structural_copy(linear)
    compute_int8([fast])
    torch.testing.assert_close(fast(x), Int8Linear(linear)(x), rtol=1e-6, atol=1e-6)
    assert torch.equal(fast(x[1:2, 3:4]), fast(x)[1:2, 3:4])
    linear.weight.mul_(2)  # as a merged adapter changes it
    torch.testing.assert_close(fast(x), Int8Linear(linear)(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_identity_and_gradients_on_every_kind(name):
    """`attach` runs the liveness check, by which every vector gets a gradient through the rounded weights."""
    model = rounded(name)
    noise = architecture_of(model).probe(model.config)
    with torch.no_grad():
        plain, exact = model(**noise).logits, tiny(name)(**noise).logits
    assert 0 < (plain - exact).norm() / exact.norm() < 0.2
    attach(model, IA3Config(("key", "value", "ffn", "attention_output")))
    with torch.no_grad():
        assert torch.equal(model(**noise).logits, plain)


def test_its_adapter_is_for_the_base_in_any_precision(tiny_folder, tmp_path, caplog):
    base = load_base(tiny_folder, dtype="int8")
    assert base.dtype == "int8" and base.fingerprint == load_base(tiny_folder).fingerprint
    attach(base.model)
    random_vectors(base.model, seed=1)  # 0 is what the proof draws
    with pytest.raises(AdapterError, match="quantised or parametrised: merge on the base in float32"):
        merge(base.model)
    save_adapter(base.model, tmp_path / "a", base=base)
    with caplog.at_level(logging.INFO):
        load_adapter(load_base(tiny_folder).model, tmp_path / "a")
        load_adapter(load_base(tiny_folder, dtype="bfloat16").model, tmp_path / "a")
    assert not caplog.text
    recognizer = load(tiny_folder, adapter=tmp_path / "a", options=LoadOptions(dtype="int8")).recognizer
    assert isinstance(recognizer.base.model.wav2vec2.encoder.layers[0].attention.k_proj, Int8Linear)


def test_rows_in_int8_are_independent_of_their_batch(base_folder, shared_data):
    """Scales were those of frames before; the last bit of a float still decided about a rounding."""
    base = load_base(base_folder, dtype="int8")
    utterances = list(read_data_directory(shared_data / "medical_notes/test"))[:3]
    waves = [load_utterance(utterance)[:40_000] for utterance in utterances]
    alone = [base.logits([wave])[0] for wave in waves]
    assert all(map(torch.equal, base.logits(waves), alone))
    assert all(map(torch.equal, Bank(base).logits(waves, [None] * 3), alone))
