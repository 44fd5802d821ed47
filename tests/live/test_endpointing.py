"""endpointing: speech is told from background whatever the gain and the noise, and portions don't matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.data.audio import load_audio
from ia3_speech.decoding.long_recordings import HOP
from ia3_speech.live import endpointing
from ia3_speech.live.endpointing import RunningMinimum, SpeechDetector

SECOND = 100  # hops


def normal(hops: int, level: float, seed: int = 0) -> np.ndarray:
    """White noise of a level in dB, (hops, HOP)."""
    return np.random.default_rng(seed).normal(0, 10 ** (level / 20), (hops, HOP)).astype(np.float32)


@given(st.lists(st.floats(-100, 0), min_size=1, max_size=60), st.integers(1, 20))
def test_running_minimum_is_the_least_of_the_last_ones(numbers, size):
    history, endpointing.HISTORY_HOPS = endpointing.HISTORY_HOPS, size
    try:
        running = RunningMinimum()
        found = [running.push(number) for number in numbers]
    finally:
        endpointing.HISTORY_HOPS = history
    assert found == [min(numbers[max(0, n + 1 - size) : n + 1]) for n in range(len(numbers))]


def test_a_running_minimum_forgets_its_first_number():
    running = RunningMinimum(-60.0, 3)
    assert [running.push(-40.0) for _ in range(5)] == [-60, -60, -60, -40, -40]


@pytest.mark.parametrize("level", [-15, -30, -45])
@pytest.mark.parametrize("snr", [12, 30])
def test_louder_stretches_are_speech_at_any_gain(level, snr):
    background = normal(4 * SECOND, level - snr)
    wave = np.concatenate([background, normal(SECOND, level), background, normal(SECOND, level), background])
    found = np.array(SpeechDetector().feed(wave))
    for start in (4 * SECOND, 9 * SECOND):
        assert found[start : start + SECOND].all()
        assert not found[start - SECOND // 2 : start].any()
        assert not found[start + SECOND + 3 : start + 2 * SECOND].any()


@pytest.mark.parametrize("level", [-20, -40, -60, -200])
def test_steady_noise_and_silence_are_no_speech_after_three_seconds(level):
    assert not any(SpeechDetector().feed(normal(30 * SECOND, level))[3 * SECOND :])


def test_a_stream_may_begin_within_a_word():
    assert all(SpeechDetector().feed(normal(SECOND, -25)))


def test_portions_do_not_matter():
    hops = np.concatenate([normal(70, -50), normal(70, -20, 1), normal(70, -48, 2)])
    detector, found = SpeechDetector(), []
    for part in np.split(hops, [0, 1, 33, 34, 100, 201]):
        found += detector.feed(part)
    assert found == SpeechDetector().feed(hops)


def test_telephone_speech_has_pauses_and_speech(shared_data):
    files = sorted((shared_data / "minds14/train").rglob("*.ogg"))[:3]
    wave = np.concatenate([load_audio(file) for file in files])
    found = SpeechDetector().feed(wave[: len(wave) // HOP * HOP].reshape(-1, HOP))
    assert 0.2 < np.mean(found) < 0.9
