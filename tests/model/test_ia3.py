"""ia3, attach: target modules, the operation, identity at the start, liveness."""

import pytest
import torch
from tiny_models import random_vectors

from ia3_speech import attach, detach, merge, unmerge
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.architectures import IA3Config, format_layers
from ia3_speech.model.attach import is_attached
from ia3_speech.model.ia3 import vectors


def test_the_formulas_of_the_paper(tiny_model):
    """One layer computed by hand: l on keys and values after the bias, on the activation before W₂."""
    model = attach(tiny_model(stable=True), IA3Config(("key", "value", "ffn"), "1"))
    random_vectors(model)
    layer = model.wav2vec2.encoder.layers[1]
    x = torch.randn(1, 7, 32)
    key, value, ffn = (vector.l for vector in vectors(model).values())
    attention, network = layer.attention, layer.feed_forward

    def split(y):
        return y.view(1, 7, 4, 8).transpose(1, 2)  # heads

    def plain(linear, y):
        return torch.nn.functional.linear(y, linear.weight, linear.bias)

    k, v = split(plain(attention.k_proj, x) * key), split(plain(attention.v_proj, x) * value)
    weights = ((split(plain(attention.q_proj, x)) / 8**0.5) @ k.transpose(2, 3)).softmax(-1)
    by_hand = plain(attention.out_proj, (weights @ v).transpose(1, 2).reshape(1, 7, 32))
    torch.testing.assert_close(attention(x)[0], by_hand)
    inner = torch.nn.functional.gelu(plain(network.intermediate_dense, x)) * ffn
    torch.testing.assert_close(network(x), plain(network.output_dense, inner))
    given = x.clone()
    with torch.no_grad():  # in place, but for what came in
        torch.testing.assert_close(attention(x)[0], by_hand)
        torch.testing.assert_close(network(x), plain(network.output_dense, inner))
    assert torch.equal(x, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_vectors_stay_in_fp32_and_their_product_is_rounded_once(tiny_model, dtype):
    model = attach(tiny_model(), IA3Config(("value",)))
    exact = random_vectors(model)
    model.to(dtype)
    assert model.lm_head.weight.dtype == dtype
    x = torch.randn(2, 5, 32).to(dtype)
    for name, vector in vectors(model).items():
        assert vector.l.dtype == torch.float32 and torch.equal(vector.l, exact[name])
        assert torch.equal(vector.scale(x), (x.float() * vector.l).to(dtype))
        expected = vector.scale(x)
        with torch.no_grad():
            assert torch.equal(vector.scale(x), expected)


def test_detached_the_model_trains_as_it_did(tiny_model):
    model = tiny_model(layerdrop=0.1)
    model.lm_head.weight.requires_grad_(False)
    wanting = {name for name, p in model.named_parameters() if p.requires_grad}
    attach(model)
    merge(model)
    assert model.config.layerdrop == 0.1 and not any(p.requires_grad for p in model.parameters())
    unmerge(model)
    assert model.config.layerdrop == 0
    detach(model)
    assert model.config.layerdrop == 0.1
    assert {name for name, p in model.named_parameters() if p.requires_grad} == wanting


@pytest.mark.parametrize(
    ("layers", "numbers", "written"),
    [
        ("all", [0, 1, 2], "0-2"), ("0-1", [0, 1], "0-1"), ("2", [2], "2"), ("0,2", [0, 2], "0,2"),
        ("1-2,0", [0, 1, 2], "0-2"),
    ],
)  # fmt: skip
def test_ranges_of_layers_are_read_and_written_short(layers, numbers, written):
    assert IA3Config(layers=layers).layer_numbers(3) == numbers
    assert format_layers(numbers) == written


@pytest.mark.parametrize("layers", ["3", "1-3", "2-1", "x", "-1", "0;1", ""])
def test_layers_that_are_not_there(layers):
    with pytest.raises(AdapterError, match="`layers` is"):
        IA3Config(layers=layers).layer_numbers(3)


def test_configurations_that_can_not_be_meant(tiny_model):
    with pytest.raises(AdapterError, match=r"no placement keys \(there are key, value"):
        IA3Config(("keys",))
    with pytest.raises(AdapterError, match="nothing would be trained"):
        IA3Config(())
    assert IA3Config(("ffn", "key")) == IA3Config(("key", "ffn"))
    with pytest.raises(AdapterError, match="already"):
        attach(attach(tiny_model()))


def test_a_base_that_computes_around_a_module_is_refused_and_left_as_it_was(tiny_model):
    """What some optimised models do: the weights are used, the module is never called, so no hook runs."""
    model = tiny_model()
    layer = model.wav2vec2.encoder.layers[1].feed_forward

    def around(hidden):
        inner = layer.intermediate_act_fn(layer.intermediate_dense(hidden))
        return torch.nn.functional.linear(inner, layer.output_dense.weight, layer.output_dense.bias)

    layer.forward = around
    with pytest.raises(AdapterError, match=r"1 of 9 IA³ vectors .*layers\.1\.feed_forward\.output_dense"):
        attach(model, IA3Config(("key", "value", "ffn")))
    assert not is_attached(model) and not vectors(model)
    attach(model, IA3Config(("key", "value")))
