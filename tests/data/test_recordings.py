"""What `datasets` yields, tensors and bytes, as waveforms."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from ia3_speech.common.errors import AudioError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.recordings import is_one_recording, to_waveform

WAVE = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32)


class Decoder:
    """As torchcodec's AudioDecoder."""

    def __init__(self, data, rate=SAMPLE_RATE):
        self.get_all_samples = lambda: SimpleNamespace(data=data, sample_rate=rate)


def test_inputs_that_hold_audio(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, WAVE, SAMPLE_RATE, subtype="FLOAT")
    data = file.read_bytes()
    cells = [
        WAVE, WAVE.tolist(), torch.tensor(WAVE, requires_grad=True), torch.tensor(WAVE)[None][0],
        {"array": WAVE, "sampling_rate": SAMPLE_RATE}, {"array": WAVE[None], "sampling_rate": SAMPLE_RATE},
        {"bytes": data, "path": "elsewhere.wav"}, {"bytes": None, "path": str(file)}, {"bytes": data},
        file, str(file), data, bytearray(data), Decoder(torch.tensor(WAVE)[None]),
    ]  # fmt: skip
    for cell in cells:
        wave = to_waveform(cell)
        assert wave.dtype == np.float32 and np.array_equal(wave, WAVE)
        assert is_one_recording(cell) == (not isinstance(cell, list))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, "is empty \\(None\\): accepted are float samples"),
        ({"array": WAVE}, 'has "array", but no "sampling_rate"'),
        ((WAVE * 32767).astype(np.int16), "a waveform is float, .*not int16 .*divide int16 by 32768"),
        (WAVE[None], "a waveform is float, of shape \\(samples,\\)"),
        ({"bytes": b"no sound", "path": "x.wav"}, "x.wav: is not audio that libsndfile reads"),
    ],
)
def test_inputs_without_audio(cell, message):
    with pytest.raises((AudioError, ValueError), match=f"^{message}"):
        to_waveform(cell)
