"""architectures: every entry on a small random model: identity, liveness, gradients, mixed rows, back."""

import numpy as np
import pytest
import torch
from tiny_models import TINY, attach_random, noise_waves, random_vectors, tiny, tiny_processor
from torch.nn.functional import linear

from ia3_speech import attach, detach
from ia3_speech.model.architectures import ARCHITECTURES, IA3Config, noise
from ia3_speech.model.attach import is_attached, probe_input, trainable
from ia3_speech.model.base import WAVEFORM, make_base
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.ia3 import all_target_modules, vectors

CONVOLUTIONAL = [name for name, (model_type, _) in TINY.items() if ARCHITECTURES[model_type].convolutions]


def test_every_architecture_is_tested():
    others = {"whisper"}  # test_whisper.py
    assert {model_type for model_type, _ in TINY.values()} | others == ARCHITECTURES.keys()


@pytest.fixture(scope="module")
def built(request):
    """(name, model), made once for all tests of an architecture."""
    return request.param, tiny(request.param)


@pytest.fixture
def model(built):
    """The model, plain; what a test attaches is taken out after it."""
    yield built[1]
    detach(built[1])
    built[1].eval().requires_grad_(False)


@pytest.fixture
def base(built, model, processor):
    return make_base(model, tiny_processor(built[0], processor.tokenizer), "tiny")


def each(names=tuple(TINY)):
    return pytest.mark.parametrize("built", names, indirect=True)


def every_placement(model) -> IA3Config:
    return IA3Config(tuple({target.placement for target in all_target_modules(model)}))


def sound(model, rows: int = 1) -> dict[str, torch.Tensor]:
    """The probe; each further row is another noise."""
    probe = probe_input(model)
    return {name: torch.cat([x.roll(n, 1) * (1 + n) for n in range(rows)]) for name, x in probe.items()}


@torch.no_grad()
def logits(model, inputs) -> torch.Tensor:
    return model(**inputs).logits


def close(found, wanted) -> None:
    """The tolerance of two ways to compute the same thing in fp32."""
    largest = max(1.0, float(wanted.detach().abs().max()))
    torch.testing.assert_close(found, wanted, atol=1e-5 * largest, rtol=0)


@each()
def test_vectors_of_ones_change_no_bit_and_leave_without_a_trace(model):
    before, names, digest = logits(model, sound(model)), list(model.state_dict()), fingerprint(model)
    attach(model, every_placement(model), check=False)
    assert len(vectors(model)) == len(all_target_modules(model))
    assert torch.equal(logits(model, sound(model)), before)
    random_vectors(model)
    assert float((logits(model, sound(model)) - before).abs().max()) > 1e-3
    assert fingerprint(model) == digest
    detach(model)
    assert torch.equal(logits(model, sound(model)), before) and not is_attached(model)
    assert list(model.state_dict()) == names and fingerprint(model) == digest
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert "torch_multi_head_self_attention" not in vars(module)


@each()
def test_every_vector_is_alive_and_gets_a_gradient_and_nothing_else_moves(model):
    """Catches PEFT's fault 2: on WavLM its key and value vectors do nothing and get no gradient."""
    attach(model, every_placement(model))  # raises where a vector has no effect
    assert [target.placement for target in all_target_modules(model)].count("key") == 2
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    torch.manual_seed(0)
    model.train()
    model(**sound(model)).logits.square().mean().backward()
    for name, parameter in trainable(model):
        assert parameter.grad is not None and bool(parameter.grad.any()), name
    assert all(n.endswith(".l_as_bias") for n, p in model.named_parameters() if p.grad is not None)
    for name, buffer in model.named_buffers():  # a batch norm's running statistics are part of the base
        assert torch.equal(buffer, buffers[name]), name
    assert not any(getattr(module, "layerdrop", 0) for module in model.modules())


@each(CONVOLUTIONAL)
def test_training_does_not_go_back_through_the_frozen_convolutions(model):
    """Catches PEFT's fault 4: as users write it, it computes gradients there, which nobody uses."""
    attach(model, check=False)
    asked: list[bool] = []
    path = ARCHITECTURES[model.config.model_type].convolutions.format(body=model.base_model_prefix)
    for layer in model.get_submodule(path):
        layer.register_forward_hook(lambda _m, _a, output: asked.append(output.requires_grad))
    model.train()
    assert model(**sound(model)).logits.requires_grad
    assert len(asked) == 3 and not any(asked)
    for layer in model.get_submodule(path):
        layer._forward_hooks.clear()


@each()
def test_gradient_checkpointing_changes_no_gradient(model):
    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        np.random.seed(0)
        model.zero_grad()
        model(**sound(model)).logits.square().mean().backward()
        return [parameter.grad.clone() for _, parameter in trainable(model)]

    attach_random(model).train()
    plain = gradients()
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(), plain, rtol=1e-4, atol=1e-7)
    model.gradient_checkpointing_disable()


@each()
def test_a_row_alone_equals_the_row_in_a_batch(model, base):
    attach_random(model)
    several = noise_waves(0.53, 1.3, 0.62)  # an odd number of log-mel features, of frames
    for wave, row in zip(several, base.logits(several), strict=True):
        (alone,) = base.logits([wave])
        assert row.shape == alone.shape == (base.frames(len(wave)), 29)
        close(row, alone)
        plain = logits(model, base.extraction.batch([base.features(wave, WAVEFORM)]))[0]
        close(alone, plain[: len(alone)])
        assert len(plain) == len(alone)


@each()
def test_frames_and_samples_agree_with_the_model(base):
    assert base.samples(1) <= base.minimum_samples
    for samples in (base.minimum_samples, base.samples(7), base.samples(7) - 1, 9_999):
        (row,) = base.logits([np.random.default_rng(0).standard_normal(samples).astype(np.float32)])
        assert len(row) == base.frames(samples) and bool(row.isfinite().all())
    step = base.frame_multiple
    assert [base.frames(base.samples(n)) for n in (step, 10 * step)] == [step, 10 * step]
    assert base.frames(base.samples(10 * step) - 1) == 9 * step
    assert base.samples(11 * step) - base.samples(10 * step) == base.stride * step


@each(CONVOLUTIONAL)
def test_conv_scales_channels_after_the_norm_and_before_the_activation(model):
    attach(model, IA3Config(("conv",)))
    drawn = random_vectors(model)
    assert [vector.target.layer for vector in vectors(model).values()] == [0, 1, 2]
    for (name, vector), factor in zip(vectors(model).items(), drawn.values(), strict=True):
        layer = model.get_submodule(name.rsplit(".", 2)[0])
        x = noise(layer.conv.in_channels, 64)
        y = torch.nn.functional.conv1d(x, layer.conv.weight, layer.conv.bias, layer.conv.stride)
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, torch.nn.LayerNorm):
            y = torch.nn.functional.layer_norm(y.mT, norm.normalized_shape, norm.weight, norm.bias).mT
        elif norm is not None:
            y = torch.nn.functional.group_norm(y, norm.num_groups, norm.weight, norm.bias)
        close(layer(x), layer.activation(y * factor[:, None]))
        assert vector.target.module.endswith("conv" if norm is None else "layer_norm")


@each(["wavlm", "wavlm-stable"])
def test_wavlms_attention_by_its_projections_is_its_attention(model):
    """With a batch, padding and position bias: within rounding; the vectors' formulas by hand."""
    mask = torch.ones(2, 16_000, dtype=torch.long)
    mask[1, 9_000:] = 0
    inputs = sound(model, rows=2) | {"attention_mask": mask}
    before = logits(model, inputs)
    attach(model, IA3Config(("key", "value", "attention_output", "query")))
    close(logits(model, inputs)[0], before[0])
    close(logits(model, inputs)[1, :28], before[1, :28])
    random_vectors(model)
    attention, x = model.wavlm.encoder.layers[0].attention, noise(9, 32)
    k, v, q, out = (attention.get_submodule(f"{name}_proj") for name in ("k", "v", "q", "out"))
    bias = noise(4, 9, 9)[0]

    def heads(projection, vector):
        y = linear(x, projection.weight, projection.bias) * vector.l
        return y.view(9, 4, 8).transpose(0, 1)

    scores = heads(q, q.ia3_query) @ heads(k, k.ia3_key).mT / 8**0.5 + bias
    mixed = (scores.softmax(-1) @ heads(v, v.ia3_value)).transpose(0, 1).reshape(1, 9, 32)
    wanted = linear(mixed, out.weight, out.bias) * out.ia3_attention_output.l
    close(attention.torch_multi_head_self_attention(x, None, bias)[0], wanted)


@each(["conformer", "bert", "lasr", "parakeet"])
def test_a_conformers_ffn_is_both_networks_and_its_output_is_scaled_before_the_half(model):
    attach(model, IA3Config(("ffn", "ffn_output"), "0"))
    random_vectors(model)
    found = list(vectors(model).values())
    assert [v.target.placement for v in found] == ["ffn", "ffn_output"] * 2
    for inner, outer in (found[:2], found[2:]):
        last = model.get_submodule(inner.target.module)
        x = noise(3, last.in_features)
        close(last(x), linear(x * inner.l, last.weight, last.bias) * outer.l)
