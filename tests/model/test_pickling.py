"""Attached models, bases and what holds them: pickled, copied, saved by torch, sent to spawned workers."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from tiny_models import TINY, tiny
from torch.nn.utils import parametrize

from ia3_speech import AdapterCallback, Bank, IA3Config, attach, detach, load_base
from ia3_speech.loading import load
from ia3_speech.model.attach import probe_input, trainable
from ia3_speech.model.ia3_config import AdapterError


def through_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


def through_torch(model):
    """`torch.save` of a whole model, which torch reads back only where it is told to trust the file."""
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = [through_pickle, through_torch, copy.deepcopy]


@torch.no_grad()
def with_random_vectors(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    attach(model, IA3Config(("key", "value", "ffn"), train_head=True))
    for _, parameter in trainable(model):
        parameter.mul_(torch.rand(parameter.shape, generator=generator) + 0.5)
    return model


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(**probe_input(model, torch.device("cpu"))).logits


@pytest.mark.parametrize("name", TINY)
def test_an_attached_model_of_every_architecture(name):
    model = with_random_vectors(tiny(name))
    expected, keys = logits(model), list(model.state_dict())
    for make in COPIES:
        copied = make(model)
        assert torch.equal(logits(copied), expected) and list(copied.state_dict()) == keys
        assert torch.equal(logits(through_pickle(copied)), expected)  # a copy's copy
        assert [n for n, p in copied.named_parameters() if p.requires_grad] == [
            n for n, p in model.named_parameters() if p.requires_grad
        ]
        with torch.no_grad():
            for _, parameter in trainable(copied):
                parameter.zero_()
        assert not torch.equal(logits(copied), expected) and torch.equal(logits(model), expected)
        assert torch.equal(logits(detach(copied)), logits(tiny(name)))


def test_training_goes_on_in_a_copy():
    """The hooks and methods of a copy are its own: a step changes it as it changes the original."""
    model = with_random_vectors(tiny("wavlm"))
    steps = []
    for one in (model, *(make(model) for make in COPIES)):
        for _, parameter in trainable(one):
            parameter.grad = None
        one.eval()(**probe_input(one, torch.device("cpu"))).logits.square().mean().backward()
        steps.append([parameter.grad for _, parameter in trainable(one)])
    for gradients in steps[1:]:
        assert all(map(torch.equal, steps[0], gradients))


@pytest.mark.parametrize("make", COPIES)
def test_a_copy_has_torchs_own_weight_norm(make, tmp_path):
    """transformers saves and loads it under the same names, and torch can remove it."""
    from transformers import AutoModelForCTC

    model = make(load_base("mini", device="cpu").model)
    model.save_pretrained(tmp_path)
    again = AutoModelForCTC.from_pretrained(tmp_path)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    conv = model.wav2vec2.encoder.pos_conv_embed.conv
    assert parametrize.is_parametrized(conv, "weight")
    weight = conv.weight.detach().clone()
    parametrize.remove_parametrizations(conv, "weight")
    assert type(conv) is torch.nn.Conv1d and torch.equal(conv.weight, weight)
    other = load_base("mini", device="cpu").model.wav2vec2.encoder.pos_conv_embed.conv
    assert parametrize.is_parametrized(other, "weight")


def test_old_names_of_the_weight_norm_load_into_a_copy(tiny_model):
    """Checkpoints from before 2023 call its parameters weight_g and weight_v, which a hook renames."""
    model = attach(tiny_model())
    copied = through_pickle(model)
    prefix = "wav2vec2.encoder.pos_conv_embed.conv."
    state = {
        n.replace("parametrizations.weight.original0", "weight_g"): p for n, p in model.state_dict().items()
    }
    state = {n.replace("parametrizations.weight.original1", "weight_v"): p for n, p in state.items()}
    state[f"{prefix}weight_g"] = state[f"{prefix}weight_g"] + 1
    copied.load_state_dict(state)
    conv = copied.get_submodule(prefix[:-1])
    assert torch.equal(conv.parametrizations.weight.original0, state[f"{prefix}weight_g"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_mini_base(dtype):
    base = load_base("mini", device="cpu", dtype=dtype)
    with_random_vectors(base.model)
    wave = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    (expected,) = base.logits([wave])
    for make in (through_pickle, copy.deepcopy):
        copied = make(base)
        assert torch.equal(copied.logits([wave])[0], expected)
        assert (copied.name, copied.fingerprint, copied.dtype) == ("mini", base.fingerprint, dtype)
    callback = through_pickle(AdapterCallback(base, {"accent": "scots"}))
    assert torch.equal(callback.base.logits([wave])[0], expected) and callback.labels == {"accent": "scots"}


def test_spawned_workers_compute_logits(tiny_base):
    """As a data set that prepares features with the base."""
    base = tiny_base()
    with_random_vectors(base.model)
    waves = [np.random.default_rng(n).standard_normal(n).astype(np.float32) for n in (4_000, 3_000)]
    loader = torch.utils.data.DataLoader(
        waves, 2, collate_fn=base.logits, num_workers=1, multiprocessing_context="spawn"
    )
    [found] = loader
    assert all(map(torch.equal, found, base.logits(waves)))


def test_a_recognizer_is_copied_and_a_bank_says_what_to_do(tiny_folder):
    recognizer = load(tiny_folder, device="cpu").recognizer
    wave = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    assert through_pickle(recognizer).texts([wave]) == recognizer.texts([wave])
    bank = Bank(recognizer.base)
    for make in (through_pickle, copy.copy, copy.deepcopy):
        with pytest.raises(AdapterError, match=r"a Bank can't be pickled or copied.*pickle its base"):
            make(bank)
