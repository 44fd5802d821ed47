"""m4a, mp4, webm, aac, wma, amr: by PyAV, or an error that says what to install."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.data.audio import SAMPLE_RATE, AudioError, audio_duration, load_audio
from ia3_speech.data.containers import TooLong, container_format

FORMATS = {  # suffix → the format by its first bytes, and a codec
    **{"m4a": ("mp4", "aac"), "mp4": ("mp4", "aac"), "webm": ("webm", "libopus"), "wma": ("wma", "wmav2")},
    **{"aac": ("aac", "aac"), "mka": ("webm", "aac")},
}
AMR = b"#!AMR\n" + 50 * (b"\x3c" + bytes(range(31)))  # a second in 50 frames of 12.2 kbit/s


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """3 s of a tone whose level changes, in each format."""
    av = pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("containers")
    time = np.arange(3 * 48_000) / 48_000
    wave = 0.3 * np.sin(2 * np.pi * 300 * time) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time))
    stereo = np.stack([wave, 0.5 * wave]).astype(np.float32)
    soundfile.write(folder / "a.wav", stereo.T, 48_000)
    for suffix, (_, codec) in FORMATS.items():
        with av.open(str(folder / f"a.{suffix}"), "w") as container:
            stream = container.add_stream(codec, rate=48_000, layout="stereo", bit_rate=128_000)
            frame = av.AudioFrame.from_ndarray(stereo, format="fltp", layout="stereo")
            frame.sample_rate = 48_000
            container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(folder / "silent.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5, width=16, height=16)
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(picture), *stream.encode(None)])
    (folder / "a.amr").write_bytes(AMR)
    return folder


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two waves, of which a codec may have shifted one by up to 0.1 s."""
    size = min(len(a), len(b))
    spectrum = np.fft.rfft(a[:size], 2 * size) * np.conj(np.fft.rfft(b[:size], 2 * size))
    return np.fft.irfft(spectrum).max() / np.sqrt(np.square(a[:size]).sum() * np.square(b[:size]).sum())


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_container_holds_what_was_put_in(folder, suffix):
    file = folder / f"a.{suffix}"
    wave, original = load_audio(file), load_audio(folder / "a.wav")
    assert container_format(file.read_bytes()[:64]) == FORMATS[suffix][0]
    assert wave.dtype == np.float32 and abs(len(wave) - 3 * SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert similarity(wave, original) > 0.98
    assert audio_duration(file) == len(wave) / SAMPLE_RATE
    assert np.array_equal(load_audio(io.BytesIO(file.read_bytes())), wave)
    part = load_audio(file, start=1.0, end=2.0)
    assert np.array_equal(part, wave[SAMPLE_RATE : 2 * SAMPLE_RATE])
    with pytest.raises(AudioError, match="not inside the recording"):
        load_audio(file, start=1.0, end=9.0)


def test_amr_and_pictures_alone(folder):
    assert len(load_audio(folder / "a.amr")) == SAMPLE_RATE
    with pytest.raises(AudioError, match=r"silent\.mp4: has no audio track$"):
        load_audio(folder / "silent.mp4")


@pytest.mark.parametrize("suffix", ["m4a", "webm"])
def test_damaged_containers(folder, suffix, tmp_path):
    whole = (folder / f"a.{suffix}").read_bytes()
    for size in (40, len(whole) // 2):
        file = tmp_path / f"{size}.{suffix}"
        file.write_bytes(whole[:size])
        with pytest.raises(AudioError, match=rf"{file.name}: .*\(damaged: copy the file again\)"):
            load_audio(file)


def test_longer_than_its_reader_allows(folder):
    seconds = audio_duration(folder / "a.m4a")
    with io.BytesIO((folder / "a.m4a").read_bytes()) as file:
        assert len(load_audio(file, max_seconds=seconds + 0.1)) == round(seconds * SAMPLE_RATE)
        with pytest.raises(TooLong, match=r"is longer than 0\.0\d* minutes"):
            load_audio(file, max_seconds=seconds / 2)


def test_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.amr").write_bytes(AMR)
    with pytest.raises(AudioError, match=r"a\.amr: is amr audio, .*uv pip install -e '\.\[containers\]'"):
        load_audio(tmp_path / "a.amr")
