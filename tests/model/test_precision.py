"""model.precision: faster passes that compute the same within rounding."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TINY, noise_waves, tiny, tiny_processor

from ia3_speech import attach, load_base
from ia3_speech.common.errors import UserError
from ia3_speech.model import ia3
from ia3_speech.model.base import make_base
from ia3_speech.model.kinds.ctc import ctc_loss
from ia3_speech.model.precision import choose_precision, fft_convolution, is_long_depthwise


def gradient(base, waves, mode: str) -> torch.Tensor:
    """Of all vectors, one after another."""
    base.model.zero_grad(set_to_none=True)
    base.precision = mode
    logits, frames = base.forward([base.features(wave) for wave in waves])
    ctc_loss(logits, frames, [[3, 4, 5]] * len(waves), base.vocabulary.blank).mean().backward()
    return torch.cat([vector.l.grad.flatten() for vector in ia3.vectors(base.model).values()])


@pytest.mark.parametrize(("mode", "least", "norm"), [("no", 1 - 1e-6, 1e-4), ("bf16", 0.98, 0.15)])
def test_the_mini_base_gets_the_gradients_that_it_would_get(monkeypatch, mode, least, norm):
    """In bf16 within what processors differ by: with AMX 8 % of the norm, on Zen 5 a cosine of 0.989."""
    base = load_base("mini")
    attach(base.model)
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(samples).astype("float32") for samples in (16_000, 11_200)]
    with monkeypatch.context() as patched:
        patched.setattr("ia3_speech.model.kinds.ctc.compute_fast", lambda *_: None)  # transformers' own pass
        plain = gradient(base, waves, "no")
    fast = gradient(base, waves, mode)
    assert torch.cosine_similarity(plain, fast, dim=0) > least
    assert float(fast.norm()) == pytest.approx(float(plain.norm()), rel=norm)
    assert mode == "no" or not torch.equal(plain, fast)


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_in_the_layers_of_every_kind(processor, name):
    base = make_base(tiny(name), tiny_processor(name, processor.tokenizer), name)
    attach(base.model)
    seen = []
    inner = next(m for m in ia3.layers_of(base.model)[1][0].modules() if isinstance(m, torch.nn.Linear))
    handle = inner.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    plain, fast = (gradient(base, noise_waves(0.6), mode) for mode in ("no", "bf16"))
    handle.remove()
    assert set(seen[: len(seen) // 2]) == {False} and set(seen[len(seen) // 2 :]) == {True}
    assert not torch.is_autocast_enabled("cpu")
    assert torch.cosine_similarity(plain, fast, dim=0) > 0.9 and not torch.equal(plain, fast)


def test_auto_is_bfloat16_where_it_is_faster_here(monkeypatch):
    """By what was measured once, and stands in the user's cache: a flag of the processor says little."""
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    cache = Path(os.environ["IA3_SPEECH_HOME"]) / "precision.json"
    model, threads = load_base("mini").model, torch.get_num_threads()
    chosen, _ = choose_precision("auto", model)
    [(what, (single, half))] = json.loads(cache.read_text()).items()
    assert chosen == ("bf16" if 1.1 * half <= single else "no")
    assert torch.get_num_threads() == threads
    for seconds, expected in (([2.3, 3.9], "no"), ([1.0, 0.95], "no"), ([1.0, 0.5], "bf16")):
        cache.write_text(json.dumps({what: seconds, "another": {}}))
        assert choose_precision("auto", model, among=("bf16", "int8"))[0] == expected
    assert [choose_precision(given, model)[0] for given in ("no", "bf16")] == ["no", "bf16"]
    with pytest.raises(UserError, match="a Whisper base"):
        choose_precision("int8", model)
    monkeypatch.setattr("ia3_speech.model.precision.has_fast_int8", lambda: False)
    with pytest.raises(UserError, match="VNNI"):
        choose_precision("int8", model, among=("bf16", "int8"))
    assert choose_precision("auto", model, "int8")[0] == "no"
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert choose_precision("auto", model) == ("no", "cpu has no instructions for bfloat16")


@pytest.mark.parametrize("padding", [0, 128, 400])
@pytest.mark.parametrize("frames", [1, 700])
def test_the_convolution_by_transforms(frames, padding):
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(6, 6, 256, padding=padding, groups=6).double()
    x = torch.randn(2, 6, max(frames, 256 - 2 * padding), dtype=torch.float64)
    assert is_long_depthwise(conv) and not is_long_depthwise(torch.nn.Conv1d(6, 6, 128, groups=6))
    assert fft_convolution(conv, x).shape == conv(x).shape
    assert torch.allclose(fft_convolution(conv, x), conv(x), atol=1e-10)
