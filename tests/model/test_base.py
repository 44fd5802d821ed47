"""base: found, fingerprinted, and its frozen part computed once."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import noise_waves, tiny

from ia3_speech import Bank, attach, detach, load_adapter, load_base, save_adapter
from ia3_speech.adapters.record import same_base
from ia3_speech.common.errors import AdapterError, BaseError
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.base import make_base
from ia3_speech.model.fingerprint import fingerprint


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize(("kind", "stable"), [("wav2vec2", False), ("wav2vec2", True), ("hubert", False)])
@pytest.mark.parametrize("depth", [0, 2])
def test_going_on_from_a_depth_gives_the_same_logits(tiny_base, kind, stable, norm, depth):
    base = tiny_base(kind, stable=stable, norm=norm)
    several = noise_waves(0.4, 1.0)
    with torch.no_grad():
        whole, frames = base.forward([base.features(wave) for wave in several])
        part, _ = base.forward([base.features(wave, depth) for wave in several], depth)
    for n, a, b in zip(frames.tolist(), whole, part, strict=True):
        torch.testing.assert_close(a[:n], b[:n], atol=1e-5, rtol=1e-4)


def test_bases_that_are_none(tiny_model, processor, tmp_path):
    with pytest.raises(BaseError, match="no base 'nobody/nothing'"):
        load_base("nobody/nothing")
    with pytest.raises(BaseError, match="holds no recogniser"):
        load_base(tmp_path)
    with pytest.raises(BaseError, match="`dtype` is 'int4'"):
        load_base(tmp_path, dtype="int4")
    with pytest.raises(BaseError, match="not a CTC model with a tokenizer"):
        make_base(tiny_model().wav2vec2, processor, "body alone")


def test_a_checkpoint_that_lacks_a_tensor(tiny_folder):
    """transformers draws what is missing at random, another one each time, and only warns. A head is needed;
    what masked frames are is the same each time."""
    file = tiny_folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["wav2vec2.masked_spec_embed"]
    save_file(tensors, file, {"format": "pt"})
    one, other = (load_base(tiny_folder).model.base_model.masked_spec_embed for _ in range(2))
    assert torch.equal(one, other) and 0 < float(one.min()) < float(one.max()) < 1
    del tensors["lm_head.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(BaseError, match=r"lacks lm_head.weight, so it is no recogniser \(take a checkpoint"):
        load_base(tiny_folder)


def test_logits_are_without_dropout_and_masks_in_train_mode_too(tiny_base):
    base = tiny_base(mask_time_prob=0.5, hidden_dropout=0.5)
    several = noise_waves(1.0)
    [expected] = base.logits(several)
    base.model.train()
    assert torch.equal(base.logits(several)[0], expected)
    assert base.model.training and base.logits([]) == []


def test_pickled_weights_are_not_opened(tiny_folder):
    torch.save(load_file(tiny_folder / "model.safetensors"), tiny_folder / "pytorch_model.bin")
    (tiny_folder / "model.safetensors").unlink()
    with pytest.raises(BaseError, match="safetensors"):
        load_base(tiny_folder)


def test_the_fingerprint_sees_every_weight_and_nothing_else(tiny_model):
    model = tiny_model()
    known = fingerprint(model)
    assert {name: known[name] for name in known if name != "sha256"} == {
        "architecture": "Wav2Vec2ForCTC", "model_type": "wav2vec2", "layers": 3, "hidden": 32, "ffn": 48,
        "vocabulary": 29, "dtype": "float32",
    }  # fmt: skip
    assert fingerprint(tiny_model(seed=1))["sha256"] != known["sha256"]
    for name, parameter in model.named_parameters():
        index = (0,) * parameter.ndim
        kept = parameter.data[index].clone()
        with torch.no_grad():
            parameter[index] += 0.5
        seen = fingerprint(model)["sha256"] != known["sha256"]
        assert seen == (name != "wav2vec2.masked_spec_embed"), name
        with torch.no_grad():
            parameter[index] = kept
    assert fingerprint(model) == known


def test_the_fingerprint_of_an_old_checkpoint(tiny_model, tmp_path):
    """Old checkpoints store g and v under other names: the same base all the same."""
    from transformers import AutoModelForCTC

    model = tiny_model()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    for key in [key for key in tensors if ".parametrizations." in key]:
        old = key.replace("parametrizations.weight.original0", "weight_g")
        tensors[old.replace("parametrizations.weight.original1", "weight_v")] = tensors.pop(key)
    assert any(key.endswith("weight_g") for key in tensors)
    save_file(tensors, file, {"format": "pt"})
    assert fingerprint(AutoModelForCTC.from_pretrained(tmp_path)) == fingerprint(model)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_the_fingerprint_is_that_of_the_weights_before_a_cast(save_base, tiny_folder, tmp_path, dtype):
    base, exact = load_base(tiny_folder, dtype=dtype, device="cpu"), load_base(tiny_folder, device="cpu")
    assert base.dtype == dtype and base.fingerprint == fingerprint(base.model) == exact.fingerprint
    if dtype != "int8":
        assert fingerprint(exact.model.to(getattr(torch, dtype))) == base.fingerprint
    other = load_base(save_base(tmp_path / "other", seed=5), dtype=dtype, device="cpu")
    save_adapter(attach(base.model, check=False), tmp_path / "a")
    with pytest.raises(AdapterError, match="was trained on another base"):
        load_adapter(other.model, tmp_path / "a")
    with torch.no_grad():
        base.model.lm_head.weight[0] += 1
    assert fingerprint(base.model)["sha256"] != base.fingerprint["sha256"]


def test_the_fingerprint_sees_statistics_of_batch_norms(tmp_path):
    model = tiny("hubert-stable")
    known = fingerprint(model)
    save_adapter(attach(model), tmp_path / "a")
    detach(model)
    with torch.no_grad():
        model.hubert.encoder.pos_conv_embed.batch_norm.running_var[0] += 0.5
    found = fingerprint(model)
    assert found["sha256"] == known["sha256"] and found["buffers"] != known["buffers"]
    assert not same_base(known, found)
    with pytest.raises(AdapterError, match="was trained on another base"):
        load_adapter(model, tmp_path / "a")


def test_what_is_too_long_is_refused(tiny_base):
    base = tiny_base(num_conv_pos_embeddings=512, conv_kernel=(10, 8, 4), conv_stride=(5, 8, 8))
    assert base.maximum_seconds == 256 * 320 / 16_000
    (wave,) = noise_waves(base.maximum_seconds + 0.1)
    for logits in (base.logits, lambda found: Bank(base).logits(found, [None])):
        with pytest.raises(BaseError, match=r"5\.2 s of audio, and tiny drops words beyond 5\.1 s \(load"):
            logits([wave])
        assert len(logits([wave[:80_000]])) == 1
    assert len(base.logits([wave], any_length=True)[0]) == base.frames(len(wave))
    recognizer = Recognizer(base, max_seconds=base.maximum_seconds)
    assert len(recognizer.texts([wave])) == 1
