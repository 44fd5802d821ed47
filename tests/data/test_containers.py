"""m4a, mp4, webm, aac, wma, amr: by PyAV, by ffmpeg, or an error that says what to install."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.data.audio import SAMPLE_RATE, AudioError, audio_duration, load_audio
from ia3_speech.data.containers import container_format

FORMATS = {"m4a": "mp4", "mp4": "mp4", "webm": "webm", "wma": "wma", "aac": "aac", "mka": "webm"}
AMR = b"#!AMR\n" + 50 * (b"\x3c" + bytes(range(31)))  # a second in 50 frames of 12.2 kbit/s


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """3 s of a tone whose level changes, in each format."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg, which makes the files, is not installed")
    folder = tmp_path_factory.mktemp("containers")
    time = np.arange(3 * 44_100) / 44_100
    wave = 0.3 * np.sin(2 * np.pi * 300 * time) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time))
    soundfile.write(folder / "a.wav", np.stack([wave, 0.5 * wave], axis=1), 44_100)
    for suffix in FORMATS:
        command = ["ffmpeg", "-v", "error", "-i", str(folder / "a.wav"), str(folder / f"a.{suffix}")]
        subprocess.run(command, check=True)
    (folder / "a.amr").write_bytes(AMR)
    return folder


@pytest.fixture(params=["av", "ffmpeg"])
def decoder(request, monkeypatch) -> str:
    if request.param == "av":
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    return request.param


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two waves, of which a codec may have shifted one by up to 0.1 s."""
    size = min(len(a), len(b))
    spectrum = np.fft.rfft(a[:size], 2 * size) * np.conj(np.fft.rfft(b[:size], 2 * size))
    return np.fft.irfft(spectrum).max() / np.sqrt(np.square(a[:size]).sum() * np.square(b[:size]).sum())


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_container_holds_what_was_put_in(folder, decoder, suffix):
    wave, wanted = load_audio(folder / f"a.{suffix}"), load_audio(folder / "a.wav")
    assert container_format(folder / f"a.{suffix}") == FORMATS[suffix]
    assert wave.dtype == np.float32 and abs(len(wave) - 3 * SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert similarity(wave, wanted) > 0.98
    assert audio_duration(folder / f"a.{suffix}") == len(wave) / SAMPLE_RATE
    with (folder / f"a.{suffix}").open("rb") as file:
        assert np.array_equal(load_audio(io.BytesIO(file.read())), wave)
    part = load_audio(folder / f"a.{suffix}", start=1.0, end=2.0)
    assert np.array_equal(part, wave[SAMPLE_RATE : 2 * SAMPLE_RATE])
    with pytest.raises(AudioError, match="not inside the recording"):
        load_audio(folder / f"a.{suffix}", start=1.0, end=9.0)


def test_amr(folder, decoder):
    assert len(load_audio(folder / "a.amr")) == SAMPLE_RATE


@pytest.mark.parametrize("suffix", ["m4a", "webm"])
def test_damaged_containers(folder, decoder, suffix, tmp_path):
    whole = (folder / f"a.{suffix}").read_bytes()
    for size in (40, len(whole) // 2):
        file = tmp_path / f"{size}.{suffix}"
        file.write_bytes(whole[:size])
        with pytest.raises(AudioError, match=rf"{file.name}: .*\(damaged: copy the file again\)"):
            load_audio(file)


def test_an_mp4_without_sound(decoder, tmp_path):
    file = tmp_path / "a.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=size=16x16:duration=0.2", str(file)]
    if not shutil.which("ffmpeg") or subprocess.run(command).returncode:
        pytest.skip("ffmpeg, which makes the file, is not installed")
    with pytest.raises(AudioError, match=r"a\.mp4: has no audio track$"):
        load_audio(file)


def test_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.amr").write_bytes(AMR)
    with pytest.raises(AudioError, match=r'a\.amr: is amr audio, .*pip install "ia3-speech\[containers\]"'):
        load_audio(tmp_path / "a.amr")
