"""load: weight 0 is the base and 1 the adapter, bit for bit; sums by name, everywhere an adapter is taken."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import attach_random

from ia3_speech import IA3Config, detach, load_adapter, load_base, save_adapter
from ia3_speech.adapters import registry
from ia3_speech.adapters.io import adapter_of
from ia3_speech.adapters.load import attach_adapter, combine, read_sum, weighted_sum
from ia3_speech.adapters.record import Adapter, read_record
from ia3_speech.adapters.spec import parse_sum
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.model import ia3

NOISE = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))
KEY = ia3.TargetModule("wav2vec2.encoder.layers.1.attention.k_proj", "out", "key", 1)

WEIGHTS = st.floats(-3, 3)
VECTORS = st.lists(st.floats(-20, 20, width=32), min_size=5, max_size=5).map(
    lambda values: torch.tensor(values, dtype=torch.float32)
)
few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(NOISE).logits


def make(model, seed, *placements, name="a", **options) -> Adapter:
    """An adapter in memory; the model is the base again."""
    placements = placements or (() if options.get("head") else ("key", "value", "ffn"))
    adapter = adapter_of(attach_random(model, *placements, seed=seed, **{"low": -2, "high": 3} | options))
    detach(model)
    adapter.name = name
    return adapter


def same(a: Adapter, b: Adapter) -> bool:
    """Bit for bit."""
    assert a.tensors.keys() == b.tensors.keys()
    return all(torch.equal(a.tensors[n], b.tensors[n]) for n in a.tensors)


@few
@given(st.lists(st.tuples(WEIGHTS, VECTORS), min_size=1, max_size=5))
def test_a_sum_is_one_and_the_weighted_differences_from_it(pairs):
    """≤ 1e-10 in float64. PEFT's fault 6: there 1 + 1 gives vectors of about 2, far from the base."""
    weights, vectors = zip(*pairs, strict=True)
    expected = 1 + sum(w * (v.numpy().astype(np.float64) - 1) for w, v in pairs)
    np.testing.assert_allclose(weighted_sum(vectors, weights).numpy(), expected, rtol=0, atol=1e-10)


@few
@given(VECTORS, VECTORS, WEIGHTS)
def test_weights_of_one_and_zero_are_exact(a, b, weight):
    assert torch.equal(weighted_sum([a], [1]).float(), a)
    assert torch.equal(weighted_sum([a], [0]).float(), torch.ones(5))
    assert torch.equal(weighted_sum([a, b], [1, 0]).float(), a)
    assert torch.equal(weighted_sum([a], [1], b.double()).float(), a)
    assert torch.equal(weighted_sum([a], [0], b.double()).float(), b)
    assert torch.equal(weighted_sum([a, b], [weight, 0.5]), weighted_sum([b, a], [0.5, weight]))


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "data2vec-audio"])
def test_weight_zero_is_the_base_and_one_the_adapter_bit_for_bit(tiny_model, model_type):
    model = tiny_model(model_type)
    base, a = logits(model), make(model, 1, "key", "value", "ffn", head=True)
    b = make(model, 2, "ffn_output", layers="1")
    nothing = combine(model, [a, b], [0, 0])
    assert all(bool((vector == 1).all()) for vector in nothing.vectors.values())
    assert torch.equal(nothing.head["lm_head.weight"], model.lm_head.weight)
    assert torch.equal(logits(attach_adapter(model, nothing)), base)
    assert same(combine(model, [a], [1]), a) and same(combine(model, [b], [1]), b)
    alone = logits(attach_adapter(model, a))
    assert not torch.equal(alone, base)
    assert torch.equal(logits(attach_adapter(model, combine(model, [a, b], [1, 0]))), alone)
    assert torch.equal(logits(detach(model)), base)


def test_what_one_adapter_lacks_is_one(tiny_model):
    """PEFT's fault 6: its add_weighted_adapter fills a missing vector with 0, so 1·a + 1·b would be l_a there
    and 0.5·a + 0.5·b half of it, with half of the keys gone."""
    model = tiny_model()
    a, b = make(model, 1, "key", layers="0-1"), make(model, 2, "value", layers="1-2")
    both = combine(model, [a, b], [0.5, 0.5])
    assert both.config == IA3Config(("key", "value"), "all")
    assert list(both.vectors) == ia3.target_modules(model, both.config)  # a full product
    for target, vector in both.vectors.items():
        alone = a.vectors.get(target, b.vectors.get(target, torch.ones(32)))
        assert torch.equal(vector, (0.5 * alone.double() + 0.5).float())
    assert torch.equal(combine(model, [a, b], [1, 1]).vectors[KEY], a.vectors[KEY])  # b changes no key


@few
@given(WEIGHTS, WEIGHTS, WEIGHTS)
def test_order_and_brackets_do_not_matter(tiny_model, x, y, z):
    model = tiny_model()
    a, c = make(model, 1, "key", "ffn", layers="0-1", head=True), make(model, 3, "key", head=True)
    b = make(model, 2, "value", layers="1")
    assert same(combine(model, [a, b], [x, y]), combine(model, [b, a], [y, x]))
    left = combine(model, [combine(model, [a, b], [x, y]), c], [1, z])
    right = combine(model, [a, combine(model, [b, c], [y, z])], [x, 1])
    at_once = combine(model, [a, b, c], [x, y, z])
    assert left.config == right.config == at_once.config
    for total in (left, right):
        torch.testing.assert_close(total.tensors, at_once.tensors, rtol=1e-5, atol=1e-5)


def test_heads_add_up_from_the_bases_own(tiny_model):
    """PEFT's fault 10: adapters with different saved heads can't be added at all."""
    model = tiny_model()
    a, b, c = make(model, 1, "key", head=True), make(model, 2, head=True), make(model, 3)
    b.head = {name: 2 * tensor for name, tensor in b.head.items()}
    total = combine(model, [a, b, c], [0.7, -0.4, 2.0])
    assert total.config == IA3Config(("key", "value", "ffn"), "all", True)
    for name, parameter in model.lm_head.named_parameters("lm_head"):
        base = parameter.detach().double().numpy()
        expected = base + 0.7 * (a.head[name].numpy() - base) - 0.4 * (b.head[name].numpy() - base)
        np.testing.assert_allclose(total.head[name].numpy(), expected, rtol=1e-6, atol=1e-6)
    attach_adapter(model, a)  # what is attached meanwhile doesn't count
    assert same(combine(model, [a, b, c], [0.7, -0.4, 2.0]), total)


@pytest.fixture
def pair(tiny_folder, tmp_path, monkeypatch) -> Path:
    """accent and medical, registered, for the base that is returned; they share their language."""
    base = load_base(tiny_folder)
    for name, labels, placements, options in (
        ("accent", {"accent": "scots"}, ("key", "value", "ffn"), {"layers": "0-1", "seed": 1}),
        ("medical", {}, ("ffn", "attention_output"), {"layers": "1-2", "seed": 2, "head": True}),
    ):
        attach_random(base.model, *placements, low=-6, high=8, **options)
        save_adapter(base.model, tmp_path / "made" / name, base=base, labels={"language": "en"} | labels)
        detach(base.model)
        registry.register(tmp_path / "made" / name, name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tiny_folder


def test_combine_writes_an_adapter_and_how_it_was_made(run_command, pair):
    expression, home = "accent:0.7+medical:0.5", registry.adapters_dir()
    count = 3 * (32 + 32 + 48 + 32) + 29 * 32 + 29
    combined = run_command("adapters", "combine", expression, "--out", "exp/both")
    assert combined == (0, f"exp/both: {expression}, {count:,} parameters\n", "")
    model = load_base(pair).model
    assert same(read_sum(model, parse_sum("exp/both")), read_sum(model, parse_sum(expression)))
    record = read_record(Path("exp/both"))
    assert (record["base"], record["labels"]) == (str(pair), {"language": "en"})
    assert record["training"] == {
        "expression": expression,
        "terms": [
            {"name": name, "weight": weight, "sha256": weights_sha256(home / name)}
            for name, weight in (("accent", 0.7), ("medical", 0.5))
        ],
    }
    assert record["fingerprint"] == read_record(home / "accent")["fingerprint"]
    words = ("medical+accent:-1", "--name", "clinic", "--base", pair)
    assert run_command("adapters", "combine", *words).out == (
        f"{home / 'clinic'}: medical+accent:-1, {count:,} parameters\n"
    )
    assert same(adapter_of(load_adapter(model, "clinic")), read_sum(model, parse_sum("medical+accent:-1")))


def test_combine_replaces_nothing_unasked(run_command, pair):
    """PEFT's fault 6: add_weighted_adapter with an existing name returns without a word."""

    def run(*words):
        return run_command("adapters", "combine", *words)

    assert "another adapter has this name" in run("accent:2", "--name", "medical").err
    assert run("accent:2", "--name", "medical", "--force").code == 0
    assert read_record(registry.adapters_dir() / "medical")["training"]["expression"] == "accent:2"
    assert run("accent:2", "--out", "x").code == 0
    assert "--force" in run("accent:3", "--out", "x").err
    assert run("accent:3", "--out", "x", "--force").code == 0
    assert run("accent:3", "--out", ".", "--force").code == run("accent").code == 1
