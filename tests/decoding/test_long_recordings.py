"""long_recordings: pieces that cover the recording, are short enough, and end where the speaker pauses."""

from itertools import pairwise

import numpy as np
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import Utterance, load_utterance
from ia3_speech.decoding.long_recordings import MINIMUM_SECONDS, cut_at_pauses, cut_utterance


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    size = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(seed).normal(0, 0.1, size).astype(np.float32)


@given(st.floats(0, 40), st.floats(1, 20), st.integers(0, 9), st.booleans())
def test_pieces_cover_the_wave_and_none_is_too_long_or_a_sliver(seconds, longest, seed, silent):
    wave = noise(seconds, seed) * (not silent)
    pieces = cut_at_pauses(wave, longest)
    assert pieces[0][0] == 0 and pieces[-1][1] == len(wave)
    assert all(end == first for (_, end), (first, _) in pairwise(pieces))
    lengths = [end - first for first, end in pieces]
    assert max(lengths) <= round(longest * SAMPLE_RATE)
    if len(pieces) > 1:
        assert min(lengths) >= round(min(MINIMUM_SECONDS, longest / 4) * SAMPLE_RATE)


def test_cuts_lie_in_the_middle_of_pauses():
    wave = noise(40)
    for first, end in ((12.0, 12.4), (22.0, 22.3), (25.0, 25.6)):
        wave[round(first * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 0
    cuts = [end / SAMPLE_RATE for _, end in cut_at_pauses(wave)[:-1]]
    assert 12.1 <= cuts[0] <= 12.3 and 25.1 <= cuts[1] <= 25.5
    assert len(cuts) == 2


def test_an_utterance_in_pieces_is_its_audio(tmp_path):
    """As dev decoding in training cuts: each piece is an utterance, a segment of the same recording."""
    wave = noise(12)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    long = Utterance("u", "s", "r", str(tmp_path / "a.wav"), start=1.0, end=12.0)
    pieces = cut_utterance(long, 11.0, 5.0)
    assert len(pieces) > 2 and max(piece.duration for piece in pieces) <= 5.0
    joined = np.concatenate([load_utterance(piece) for piece in pieces])
    assert np.array_equal(joined, wave[16_000:])
    assert [piece.start for piece in cut_utterance(long, 11.0, None)] == [1.0]
