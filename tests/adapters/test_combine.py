"""combine: weight 0 is the base and 1 the adapter, bit for bit; where an adapter has no vector it is 1."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia3_speech import IA3Config, attach, detach
from ia3_speech.adapters.adapter import Adapter, Metadata
from ia3_speech.adapters.combine import combine, weighted_product, weighted_sum
from ia3_speech.adapters.io import adapter_of
from ia3_speech.adapters.load import attach_adapter
from ia3_speech.model import ia3
from ia3_speech.model.architectures import AdapterError
from ia3_speech.model.attach import trainable

WAVE = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))
KEY = ia3.TargetModule("wav2vec2.encoder.layers.1.attention.k_proj", "out", "key", 1)

WEIGHTS = st.floats(-3, 3)
VECTORS = st.lists(st.floats(-20, 20, width=32), min_size=5, max_size=5).map(
    lambda values: torch.tensor(values, dtype=torch.float32)
)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(WAVE).logits


def draw(model, seed: int, low: float, high: float) -> None:
    """Random numbers into all that is trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.copy_((high - low) * torch.rand(parameter.shape, generator=generator) + low)


def make(
    model, seed, placements=("key", "value", "ffn"), layers="all", head=False, low=-2.0, high=3.0, name="a"
) -> Adapter:
    """An adapter in memory; the model is the base again."""
    attach(model, IA3Config(placements, layers, head), check=False)
    draw(model, seed, low, high)
    made = adapter_of(model)
    detach(model)
    made.name = name
    return made


def same(a: Adapter, b: Adapter) -> bool:
    """Bit for bit."""
    mine, other = a.tensors, b.tensors
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def close(a: Adapter, b: Adapter, atol: float = 1e-5) -> bool:
    mine, other = a.tensors, b.tensors
    assert mine.keys() == other.keys()
    return all(torch.allclose(mine[name], other[name], rtol=1e-5, atol=atol) for name in mine)


# ---- tensors


@few
@given(st.lists(st.tuples(WEIGHTS, VECTORS), min_size=1, max_size=5))
def test_a_sum_is_one_and_the_weighted_differences_from_it(pairs):
    """≤ 1e-10 in float64. PEFT's fault 6: there 1 + 1 gives vectors of about 2, far from the base."""
    weights, vectors = [w for w, _ in pairs], [v for _, v in pairs]
    wanted = 1 + sum(w * (v.numpy().astype(np.float64) - 1) for w, v in pairs)
    found = weighted_sum(vectors, weights)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-10)


@few
@given(st.lists(st.tuples(WEIGHTS, VECTORS), min_size=1, max_size=5))
def test_a_product_is_one_of_powers(pairs):
    weights, vectors = [w for w, _ in pairs], [v.abs() / 10 + 0.1 for _, v in pairs]
    wanted = np.prod(
        [v.numpy().astype(np.float64) ** w for w, v in zip(weights, vectors, strict=True)], axis=0
    )
    np.testing.assert_allclose(weighted_product(vectors, weights).numpy(), wanted, rtol=1e-10)


@few
@given(VECTORS, VECTORS, WEIGHTS)
def test_weights_of_one_and_zero_are_exact(a, b, weight):
    assert torch.equal(weighted_sum([a], [1]).float(), a) and torch.equal(
        weighted_sum([a], [0]).float(), torch.ones(5)
    )
    assert torch.equal(weighted_sum([a, b], [1, 0]).float(), a)
    assert torch.equal(weighted_sum([a], [1], b.double()).float(), a) and torch.equal(
        weighted_sum([a], [0], b.double()).float(), b
    )
    positive = a.abs() + 0.1
    assert torch.equal(weighted_product([positive], [1]).float(), positive)
    assert torch.equal(weighted_product([positive, positive], [0, 0]).float(), torch.ones(5))
    assert torch.equal(weighted_sum([a, b], [weight, 0.5]), weighted_sum([b, a], [0.5, weight]))


# ---- adapters in memory


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "data2vec-audio"])
def test_weight_zero_is_the_base_and_one_the_adapter_bit_for_bit(tiny_model, model_type):
    model = tiny_model(model_type)
    base, a, b = logits(model), make(model, 1, head=True), make(model, 2, ("ffn_output",), "1")
    nothing = combine(model, [a, b], [0, 0])
    assert all(bool((vector == 1).all()) for vector in nothing.vectors.values())
    assert torch.equal(nothing.head["lm_head.weight"], model.lm_head.weight)
    assert torch.equal(logits(attach_adapter(model, nothing)), base)
    assert same(combine(model, [a], [1]), a) and same(combine(model, [b], [1]), b)
    alone = logits(attach_adapter(model, a))
    assert not torch.equal(alone, base)
    assert torch.equal(logits(attach_adapter(model, combine(model, [a, b], [1, 0]))), alone)
    assert torch.equal(logits(detach(model)), base)


def test_a_place_that_one_side_lacks_is_one(tiny_model):
    """PEFT's fault 6: its add_weighted_adapter fills a missing vector with 0, so 1·a + 1·b would be l_a there
    and 0.5·a + 0.5·b half of it, with half of the keys gone."""
    model = tiny_model()
    a, b = make(model, 1, ("key",), "0-1"), make(model, 2, ("value",), "1-2")
    both = combine(model, [a, b], [0.5, 0.5])
    assert both.config == IA3Config(("key", "value"), "all")
    assert list(both.vectors) == ia3.target_modules(model, both.config)  # a full product
    for target, vector in both.vectors.items():
        given = a.vectors.get(target, b.vectors.get(target, torch.ones(32)))
        assert torch.equal(vector, (0.5 * given.double() + 0.5).float())
    added = combine(model, [a, b], [1, 1])
    assert torch.equal(added.vectors[KEY], a.vectors[KEY])  # b changes no key


def test_convolutions_stand_below_all_layers(tiny_model):
    model = tiny_model()
    a, b = make(model, 1, ("conv",)), make(model, 2, ("key",), "1")
    both = combine(model, [a, b], [1, -2])
    assert both.config == IA3Config(("key", "conv"), "1")
    assert both.vectors.keys() == {*a.vectors, *b.vectors}
    assert all(torch.equal(both.vectors[target], vector) for target, vector in a.vectors.items())


def test_one_and_one_is_not_two(tiny_model):
    """PEFT's fault 6: two adapters that change little add up to vectors of about 2."""
    model = tiny_model()
    a, b = (make(model, seed, low=0.95, high=1.05) for seed in (1, 2))
    for vector in combine(model, [a, b], [1, 1]).vectors.values():
        assert bool(((vector - 1).abs() <= 0.1 + 1e-6).all())


@few
@given(WEIGHTS, WEIGHTS, WEIGHTS)
def test_order_and_brackets_do_not_matter(tiny_model, x, y, z):
    model = tiny_model()
    a = make(model, 1, ("key", "ffn"), "0-1", head=True)
    b, c = make(model, 2, ("value",), "1"), make(model, 3, ("key",), "all", head=True)
    assert same(combine(model, [a, b], [x, y]), combine(model, [b, a], [y, x]))
    left = combine(model, [combine(model, [a, b], [x, y]), c], [1, z])
    right = combine(model, [a, combine(model, [b, c], [y, z])], [x, 1])
    at_once = combine(model, [a, b, c], [x, y, z])
    assert left.config == right.config == at_once.config
    assert close(left, at_once) and close(right, at_once)


def test_taking_away_undoes_adding(tiny_model):
    """Negative weights: (a + b) − b is a, up to fp32's rounding of the sum."""
    model = tiny_model()
    a, b = make(model, 1, head=True), make(model, 2, ("key",), "2", head=True)
    assert close(combine(model, [combine(model, [a, b], [1, 1]), b], [1, -1]), a)
    mirrored = combine(model, [b], [-1])
    for target, vector in b.vectors.items():
        torch.testing.assert_close(mirrored.vectors[target], 2 - vector)


def test_heads_add_up_from_the_bases_own(tiny_model):
    """PEFT's fault 10: adapters with different saved heads can't be added at all."""
    model = tiny_model()
    a, b, c = make(model, 1, head=True), make(model, 2, (), head=True), make(model, 3)
    found = combine(model, [a, b, c], [0.7, -0.4, 2.0])
    assert found.config == IA3Config(("key", "value", "ffn"), "all", True)
    for name, own in model.lm_head.named_parameters("lm_head"):
        base = own.detach().double().numpy()
        wanted = base + 0.7 * (a.head[name].numpy() - base) - 0.4 * (b.head[name].numpy() - base)
        np.testing.assert_allclose(found.head[name].numpy(), wanted, rtol=1e-6, atol=1e-6)
    attach_adapter(model, a)  # what is attached meanwhile doesn't count
    assert same(combine(model, [a, b, c], [0.7, -0.4, 2.0]), found)


def test_heads_of_different_vocabularies_are_refused(tiny_model):
    model = tiny_model()
    a, b = make(model, 1, head=True), make(tiny_model(vocab_size=31), 2, head=True, name="other")
    with pytest.raises(
        AdapterError,
        match=r"^other: its lm_head.weight is for 31 symbols, and the base's for 29: heads of different "
        r"vocabularies can't be added",
    ):
        combine(model, [a, b], [1, 1])


def test_the_ends_of_an_interpolation_and_the_mean(tiny_model):
    model = tiny_model()
    a, b, c = (make(model, seed, head=seed == 2) for seed in (1, 2, 3))
    assert same(combine(model, [b, a], [1.0, 0.0]), b)
    assert all(torch.equal(combine(model, [b, a], [0.0, 1.0]).vectors[p], v) for p, v in a.vectors.items())
    mean = combine(model, [a, b, c], [1 / 3] * 3)
    for target, vector in mean.vectors.items():
        wanted = np.mean([one.vectors[target].numpy().astype(np.float64) for one in (a, b, c)], axis=0)
        np.testing.assert_allclose(vector.numpy(), wanted, rtol=1e-6)
    assert same(combine(model, [a], [1.0]), a)


def test_the_log_method_multiplies_and_refuses_what_is_not_positive(tiny_model):
    model = tiny_model()
    a, b = make(model, 1, ("key",), low=0.5, high=2.0), make(model, 2, ("value",), "1", low=0.5, high=2.0)
    found = combine(model, [a, b], [2, -1], method="log")
    torch.testing.assert_close(found.vectors[KEY], a.vectors[KEY] ** 2)
    value = ia3.TargetModule(KEY.module.replace("k_proj", "v_proj"), "out", "value", 1)
    torch.testing.assert_close(found.vectors[value], 1 / b.vectors[value])
    assert same(combine(model, [a], [1], method="log"), a)
    b.vectors[value][7] = -0.25
    b.name = "medical"
    with pytest.raises(AdapterError) as caught:
        combine(model, [a, b], [1, 1], method="log")
    assert str(caught.value) == (
        "medical: layer 1, value holds -0.25, and the method log needs positive numbers (take the method "
        "linear)"
    )


def test_what_is_too_large_is_refused(tiny_model):
    model = tiny_model()
    with pytest.raises(
        AdapterError, match=r"a:1e\+39: too large for fp32 in .*ia3_key \(take smaller weights\)"
    ):
        combine(model, [make(model, 1)], [1e39])


def test_labels_that_all_share_and_every_speaker(tiny_model):
    model = tiny_model()
    made = [make(model, seed, ("key",), "1") for seed in range(4)]
    labels = [
        {"speaker": "042", "language": "en", "accent": "scots"},
        {"speaker": "043", "language": "en"},
        {"language": "en", "domain": "medical", "accent": "scots"},
    ]
    for one, own in zip(made, labels, strict=False):
        one.metadata = Metadata("mini", {}, {}, labels=own)
    weights = [1.0, 1.0, 1.0]
    assert combine(model, made[:3], weights).metadata.labels == {"language": "en", "speaker": "042+043"}
    assert combine(model, made[2::-2], [1, 1]).metadata.labels == {
        "language": "en", "accent": "scots", "speaker": "042",
    }  # fmt: skip
    found = combine(model, made[1:], weights).metadata  # the last one comes from another tool
    assert (found.base, found.labels) == ("mini", {"speaker": "043"})
    assert combine(model, made[3:], [1]).metadata.labels == {}
