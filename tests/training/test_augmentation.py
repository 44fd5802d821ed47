"""Noise and reverberation: exact in decibels, drawn by seed and step, as long as before."""

import numpy as np
import pytest
import soundfile
import torch

from ia3_speech.common.errors import UserError
from ia3_speech.training.augmentation import Augmentation, direct_path_first, read_augmentation
from ia3_speech.training.run import train
from tests.commands.test_train import options_of, place, record, same, tensors
from tests.training.test_methods import preset

__all__ = ["place"]  # a fixture
RNG = np.random.default_rng(0)
WAVE = RNG.standard_normal(12_000).astype(np.float32) * 0.1


@pytest.fixture
def folders(place):
    """Options for a folder of two noises, one shorter than any utterance, at 8 kHz, and one of a room."""
    for name, samples in (("noises/long", 20_000), ("noises/deep/short", 2_000), ("rooms/hall", 1_500)):
        file = place / f"{name}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.1 * RNG.standard_normal(samples), 8_000)
    return {"noise": place / "noises", "reverb": place / "rooms", "noise_snr": "0,10"}


@pytest.mark.parametrize(("length", "snr"), [(500, -5.0), (12_000, 5.0), (30_000, 20.0)])
def test_the_signal_to_noise_ratio_is_exact_whether_the_noise_is_cut_or_repeated(length, snr):
    noise = torch.from_numpy(RNG.standard_normal(length).astype(np.float32))
    added = Augmentation((snr, snr), [noise]).apply(WAVE, np.random.default_rng(1)) - WAVE
    assert 10 * np.log10((WAVE**2).sum() / (added**2).sum()) == pytest.approx(snr, abs=1e-3)


def test_a_room_keeps_the_direct_path_in_its_place_and_the_energy():
    response = torch.zeros(3_000)
    response[400], response[900] = -2.0, 0.5  # 25 ms of delay, and an echo 31 ms later
    response = direct_path_first(response)
    assert response[0] < 0 and float(response.norm()) == pytest.approx(1)
    augmented = Augmentation(responses=[response]).apply(WAVE, np.random.default_rng(0))
    expected = -0.9701425 * WAVE
    expected[500:] += 0.2425356 * WAVE[:-500]
    np.testing.assert_allclose(augmented, expected, atol=1e-5)


def test_draws_are_of_the_generator_alone(place, folders):
    augmentation = read_augmentation(options_of(place, **folders))
    assert [len(wave) for wave in augmentation.noises] == [4_000, 40_000]  # by name, at 16 kHz
    drawn = [augmentation.apply(WAVE, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert all(wave.shape == WAVE.shape and wave.dtype == np.float32 for wave in drawn)
    silent = Augmentation(noises=[torch.zeros(50)])
    assert np.array_equal(silent.apply(WAVE, np.random.default_rng(0)), WAVE)


def test_noise_is_of_the_run_and_replay_of_its_data(place, folders):
    """With replay and LoRA, and without a cache; dev is evaluated without noise."""
    folders |= preset("lora") | {"replay": record(place / "other", 4, seed=2), "cache_gb": 0.0, "epochs": 1}
    summary = train(options_of(place, "noisy", **folders))
    train(options_of(place, "again", **folders))
    clean = train(options_of(place, "clean", **preset("lora") | {"epochs": 1}))
    assert summary["start_dev_wer"] == clean["start_dev_wer"] and summary["noise_snr"] == "0,10"
    assert same(tensors(place, "noisy"), tensors(place, "again"))
    assert not same(tensors(place, "noisy"), tensors(place, "clean"))
    with pytest.raises(UserError, match="sha256 of the replay was"):
        train(options_of(place, "noisy", **folders | {"replay": place / "dev"}))
    soundfile.write(place / "noises/more.wav", WAVE, 16_000)
    with pytest.raises(UserError, match="sha256 of noises and rooms was"):
        train(options_of(place, "noisy", **folders))
