"""Voice activity: speech is told from background at any gain, and recordings are cut where nobody speaks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.decoding import vad
from ia3_speech.decoding.long_recordings import HOP, cut_at_pauses
from ia3_speech.decoding.vad import SpeechDetector, choose_method, cut_speech, find_speech

SECOND = 100  # hops


def noise(hops: int, level: float, seed: int = 0) -> np.ndarray:
    """White noise of a level in dB, float32 `(samples,)`."""
    return np.random.default_rng(seed).normal(0, 10 ** (level / 20), hops * HOP).astype(np.float32)


def bursts(*seconds: float) -> np.ndarray:
    """Noise and near silence in turns, a length each."""
    levels = [-20 if number % 2 == 0 else -60 for number in range(len(seconds))]
    sizes = [round(100 * s) for s in seconds]
    return np.concatenate([noise(size, level) for size, level in zip(sizes, levels, strict=True)])


def in_seconds(parts: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(round(a / SAMPLE_RATE, 1), round(b / SAMPLE_RATE, 1)) for a, b in parts]


@pytest.mark.parametrize("level", [-15, -45])
@pytest.mark.parametrize("snr", [12, 30])
def test_louder_stretches_are_speech_at_any_gain(level, snr):
    background = noise(4 * SECOND, level - snr)
    active = SpeechDetector().feed(np.concatenate([*2 * [background, noise(SECOND, level)], background]))
    for start in (4 * SECOND, 9 * SECOND):
        assert active[start : start + SECOND].all()
        assert not active[start - SECOND // 2 : start].any()
        assert not active[start + SECOND + 3 : start + 2 * SECOND].any()


@pytest.mark.parametrize("level", [-20, -60, -200])
def test_steady_noise_and_silence_are_no_speech_after_three_seconds(level):
    assert not SpeechDetector().feed(noise(30 * SECOND, level))[3 * SECOND :].any()


@given(st.lists(st.integers(0, 40), max_size=30))
def test_portions_do_not_matter(sizes):
    wave = np.concatenate([noise(70, -50), noise(70, -20, 1), noise(70, -48, 2)])
    cuts = np.minimum(np.cumsum([*sizes]), 210) * HOP
    detector = SpeechDetector()
    active = np.concatenate([detector.feed(part) for part in np.split(wave, cuts.astype(int))])
    np.testing.assert_array_equal(active, SpeechDetector().feed(wave))


def test_silence_is_left_out_and_cuts_are_in_pauses():
    wave = bursts(3.0, 0.5, 3.0, 10.0, 2.0, 1.0)
    assert in_seconds(cut_speech(wave, 5.0, "energy")) == [(0.0, 3.2), (3.2, 6.8), (16.2, 18.8)]
    assert in_seconds(cut_speech(wave, 8.0, "energy")) == [(0.0, 6.8), (16.2, 18.8)]
    assert cut_speech(wave, 30.0, "energy") == [(0, len(wave))]
    assert cut_speech(wave, 5.0, "off") == cut_at_pauses(wave, 5.0)
    silence = np.zeros(9 * SAMPLE_RATE, np.float32)
    assert cut_speech(silence, 5.0, "energy") == cut_at_pauses(silence, 5.0)


@settings(max_examples=30)
@given(st.lists(st.floats(0.05, 4.0), min_size=1, max_size=12), st.floats(2.0, 8.0))
def test_pieces_are_in_order_and_hold_all_speech(seconds, maximum):
    wave = bursts(*seconds)
    pieces = cut_speech(wave, maximum, "energy")
    assert all(0 <= a < b <= len(wave) and b - a <= maximum * SAMPLE_RATE + 1 for a, b in pieces)
    assert all(one[1] <= other[0] for one, other in pairwise(pieces))
    if len(wave) > maximum * SAMPLE_RATE:
        for first, end in find_speech(wave, "energy"):
            covered = sum(max(0, min(b, end) - max(a, first)) for a, b in pieces)
            assert covered >= end - first - len(pieces)


def test_silero_finds_speech_and_no_noise(shared_data, monkeypatch):
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    chapter = shared_data / "librispeech_237/LibriSpeech/test-clean/237/134500"
    speech = load_audio(sorted(chapter.glob("*.flac"))[0])
    noise = np.random.default_rng(0).normal(0, 0.02, 5 * SAMPLE_RATE).astype(np.float32)
    parts = find_speech(np.concatenate([noise, speech, noise]), "silero")
    inside = sum(b - a for a, b in parts if a > 4.8 * SAMPLE_RATE and b < 5.2 * SAMPLE_RATE + len(speech))
    assert inside == sum(b - a for a, b in parts) > 0.6 * len(speech)
    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    assert choose_method(None) == "energy"
    with pytest.raises(UserError, match=r"\[vad\]"):
        choose_method("silero")
