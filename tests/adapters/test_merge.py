"""Merged logits are the unmerged ones, unmerged weights the base's; a written checkpoint loads without us."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import TINY, attach_random, probe_logits, tiny, tiny_processor
from transformers import AutoModelForCTC, AutoProcessor

from ia3_speech import detach, load_adapter, load_base, merge, save_adapter, unmerge
from ia3_speech.adapters.merge import write_checkpoint
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.attach import is_attached, is_merged
from ia3_speech.model.base import make_base
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.ia3 import vectors

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LAYER = "wav2vec2.encoder.layers.1"


def state(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit, names and their order too."""
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float64) for name in TINY), *((n, torch.float32) for n in ("wav2vec2", "wavlm", "bert"))],
)
def test_merged_logits_equal_unmerged_ones_on_a_plain_model(name, dtype):
    """PEFT's fault 2: on WavLM its key and value vectors do nothing until they are merged."""
    model = tiny(name).to(dtype)
    base, names = probe_logits(model), list(model.state_dict())
    modules = [name for name, _ in model.named_modules()]
    unmerged = probe_logits(attach_random(model))
    merge(model)
    assert list(model.state_dict()) == names and [name for name, _ in model.named_modules()] == modules
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not vectors(model) and not is_attached(model) and is_merged(model)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5 * max(1.0, float(unmerged.abs().max()))
    assert float((probe_logits(model) - unmerged).abs().max()) <= tolerance
    assert float((unmerged - base).abs().max()) > 1e-3  # there was something to fold
    assert torch.equal(probe_logits(unmerge(model)), unmerged)
    assert torch.equal(probe_logits(detach(model)), base)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_bias_and_columns_by_hand(dtype):
    """adapter-hub's fault: its merge leaves the bias unscaled."""
    model = tiny("wav2vec2").to(dtype)
    before = state(model)
    attach_random(model, "value", "ffn", "ffn_output")
    by_path = vectors(model)
    value = by_path[f"{LAYER}.attention.v_proj.ia3_value"].l.double()
    inner = by_path[f"{LAYER}.feed_forward.output_dense.ia3_ffn"].l.double()
    outer = by_path[f"{LAYER}.feed_forward.output_dense.ia3_ffn_output"].l.double()
    after = state(merge(model))
    expected = {
        f"{LAYER}.attention.v_proj.weight": value[:, None],
        f"{LAYER}.attention.v_proj.bias": value,
        f"{LAYER}.feed_forward.output_dense.weight": outer[:, None] * inner,  # both on one module
        f"{LAYER}.feed_forward.output_dense.bias": outer,
    }
    for name, scale in expected.items():  # one rounding, from float64
        assert torch.equal(after[name], (before[name].double() * scale).to(dtype)), name
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert changed == {name.replace(".1.", f".{n}.") for name in expected for n in range(2)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_taken_out_leaves_the_base_bit_for_bit(dtype):
    """PEFT's fault 8: it divides by l + 1e-8, which drifts, most of all in bf16, and can't undo a zero."""
    model = tiny("wav2vec2").to(dtype)
    before, digest = state(model), fingerprint(model)
    for vector in vectors(attach_random(model)).values():
        vector.l.data[::5] = 0
    attached, unmerged = state(model), probe_logits(model)
    parameters = [id(vector.l) for vector in vectors(model).values()]
    merged = state(merge(model))
    key = f"{LAYER}.attention.k_proj.weight"
    assert not torch.equal(merged[key], before[key]) and bool((merged[key][::5] == 0).all())
    unmerge(model)
    assert same(state(model), attached) and torch.equal(probe_logits(model), unmerged)
    for _ in range(2):  # again and again
        assert same(state(merge(model)), merged) and same(state(unmerge(model)), attached)
    assert [id(vector.l) for vector in vectors(model).values()] == parameters  # an optimiser goes on
    assert all(p.requires_grad == ("ia3_" in name) for name, p in model.named_parameters())
    assert same(state(detach(model)), before) and fingerprint(model) == digest


@pytest.mark.parametrize(
    ("weight", "scale", "message"),
    [(60_000, 1.5, r"9e\+04, and float16 ends at 6\.55e\+04 \(merge in"), (1, float("nan"), "nan")],
)
def test_what_float16_can_not_hold_is_refused_before_anything_changes(tiny_model, weight, scale, message):
    """PEFT writes infinity, or with safe_merge leaves the modules before this one merged."""
    model = attach_random(tiny_model().half())
    module = f"{LAYER}.attention.v_proj"
    with torch.no_grad():
        model.get_submodule(module).weight.fill_(weight)
        vectors(model)[f"{module}.ia3_value"].l.fill_(scale)
    before, attached = state(model), vectors(model)
    with pytest.raises(AdapterError, match=rf"not merged: {module}\.weight would hold {message}"):
        merge(model)
    assert vectors(model) == attached and is_attached(model) and not is_merged(model)
    vectors(model)[f"{module}.ia3_value"].l.data.fill_(1)
    assert same(state(model), before | {f"{module}.ia3_value.l_as_bias": torch.ones(32)})
    merge(model)


WAVE = np.random.default_rng(0).standard_normal(12_000).astype(np.float32)


@pytest.fixture
def scots(tiny_folder, tmp_path):
    """An adapter of `tiny_folder` on disk, with a head of its own."""
    base = load_base(tiny_folder, device="cpu")
    attach_random(base.model, "key", "value", "ffn", head=True)
    labels = {"speaker": "042", "accent": "scots"}
    return save_adapter(base.model, tmp_path / "scots", base=base, labels=labels)


@pytest.fixture
def export(run_command):
    return lambda *words: run_command("adapters", "export", *words)


def test_an_export_loads_without_us_and_says_the_same(tiny_folder, scots, tmp_path, export):
    out = tmp_path / "out/merged"
    printed = f"{out}: {scots}, merged into {tiny_folder}\n"
    assert export(scots, "--out", out) == (0, printed, "")
    (tiny_folder / "lm.arpa.gz").touch()
    printed += f"without the base's language model: transcribe with --lm {tiny_folder}/lm.arpa.gz\n"
    assert export(scots, "--out", out, "--force") == (0, printed, "")
    base = load_base(tiny_folder, device="cpu")
    plain = base.logits([WAVE])[0]
    load_adapter(base.model, scots)
    (expected,) = base.logits([WAVE])
    limit = 1e-5 * max(1.0, float(expected.abs().max()))
    model, processor = AutoModelForCTC.from_pretrained(out), AutoProcessor.from_pretrained(out)
    values = processor(WAVE, sampling_rate=16_000, return_tensors="pt").input_values
    alone = model.eval()(values).logits[0].detach()
    assert float((alone - expected).abs().max()) <= limit < float((plain - expected).abs().max())
    names = load_file(tiny_folder / "model.safetensors").keys()
    assert load_file(out / "model.safetensors").keys() == names
    assert [path.name for path in out.parent.iterdir()] == ["merged"]


@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_of_each_kind_loads_without_us(name, processor, tmp_path):
    base = make_base(tiny(name), tiny_processor(name, processor.tokenizer), "tiny")
    merged = probe_logits(merge(attach_random(base.model)))
    write_checkpoint(base, tmp_path / "out", adapter="a", labels={})
    plain = AutoModelForCTC.from_pretrained(tmp_path / "out")
    assert type(plain) is type(base.model) and torch.equal(probe_logits(plain), merged)
    assert type(AutoProcessor.from_pretrained(tmp_path / "out")) is type(base.processor)
