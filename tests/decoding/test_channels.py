"""Calls of two channels: each is transcribed alone, with its own adapter, and merged by time."""

import numpy as np
import pytest
import soundfile

from ia3_speech.adapters.spec import parse_adapter
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.transcription import channel_names
from ia3_speech.session import load


@pytest.fixture
def call(tmp_path):
    """Two different noises that fade in turns, at 8 kHz; the file and the waves as they are read."""
    rng = np.random.default_rng(0)
    gains = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(16000) / 8000)
    stereo = (rng.normal(0, 0.1, (16000, 2)) * np.stack([gains, gains[::-1]], 1)).astype(np.float32)
    soundfile.write(tmp_path / "call.wav", stereo, 8000, subtype="FLOAT")
    for number, name in enumerate(("left", "right")):
        soundfile.write(tmp_path / f"{name}.wav", stereo[:, number], 8000, subtype="FLOAT")
    return tmp_path


def test_each_channel_has_its_own_adapter(call, tiny_folder, speaker42):
    asr = load(tiny_folder, adapter="left=speaker42", channels="split")
    result = asr.transcribe(call / "call.wav")
    assert result.channels == ("left", "right") and result.seconds == 2.0
    wanted = {
        "left": load(adapter="speaker42").transcribe(call / "left.wav").text,
        "right": load(tiny_folder).transcribe(call / "right.wav").text,
    }
    found = {
        name: " ".join(one.text for one in result.segments if one.channel == name) for name in result.channels
    }
    assert found == wanted and wanted["left"] != load(tiny_folder).transcribe(call / "left.wav").text
    starts = [segment.start for segment in result.segments]
    assert starts == sorted(starts)
    assert result.text.splitlines() == [segment.line for segment in result.segments]


def test_names(speaker42):
    assert channel_names(2) == ("left", "right") and channel_names(3) == ("1", "2", "3")
    spec = parse_adapter("left=speaker42:0.5, right=speaker42", split=True)
    assert str(spec) == "left=speaker42:0.5,right=speaker42" and not spec.terms
    for bad in ("left=speaker42,left=speaker42", "left=", "left=speaker42,b", "left=speaker42,top=b"):
        with pytest.raises(UserError, match=r"is not CHANNEL=ADAPTER"):
            parse_adapter(bad, split=True)
    with pytest.raises(UserError, match="channels=split"):
        parse_adapter("left=speaker42")
