"""live_audio: a pipe gives the samples that the file gives; what is no audio is named; microphones."""

import io
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.data.audio import SAMPLE_RATE, AudioError, load_audio
from ia3_speech.live.live_audio import (
    SUBTYPES,
    Microphone,
    SampleFormat,
    raw_format,
    read_wav_header,
    stream_samples,
)


def noise(seconds: float = 0.5, channels: int = 1, rate: int = SAMPLE_RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32)


def wav(wave: np.ndarray, rate: int = SAMPLE_RATE, format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=format, subtype=subtype)
    return file.getvalue()


def heard(data: bytes, raw: int | None = None, most: int = 2**16) -> np.ndarray:
    """What a pipe gives that hands over at most so many bytes at once."""
    file = io.BytesIO(data)
    read = lambda size: file.read(min(size, most))  # noqa: E731
    found = raw_format(raw) if raw is not None else read_wav_header(read)
    return np.concatenate([*stream_samples(read, found)])


@pytest.mark.parametrize("subtype", SUBTYPES.values())
@pytest.mark.parametrize("most", [1, 1000])
def test_every_encoding_gives_what_the_file_gives(subtype, most):
    data = wav(noise(0.2), subtype=subtype)
    np.testing.assert_array_equal(heard(data, most=most), load_audio(io.BytesIO(data)))


def test_wave_format_extensible():
    data = wav(noise(channels=2), format="WAVEX", subtype="PCM_24")
    np.testing.assert_array_equal(heard(data), load_audio(io.BytesIO(data)))


@pytest.mark.parametrize("size", [0, 2**31 - 1, 2**31 - 4096, 2**32 - 1])
def test_the_header_may_not_know_the_length(size):
    wave = noise()
    data = wav(wave)
    at = data.index(b"data") + 4
    unknown = data[:4] + struct.pack("<I", 2**32 - 1) + data[8:at] + struct.pack("<I", size) + data[at + 4 :]
    np.testing.assert_array_equal(heard(unknown), load_audio(io.BytesIO(data)))


def test_what_stands_before_and_behind_the_samples_is_not_heard():
    data = wav(noise())
    at = data.index(b"data")
    listed = data[:at] + b"LIST" + struct.pack("<I", 5) + b"INFOx\0" + data[at:] + b"LIST" + 100 * b"\x7f"
    np.testing.assert_array_equal(heard(listed), load_audio(io.BytesIO(data)))


def test_raw_samples_and_half_of_one_at_the_end():
    wave = np.array([0, 16384, -32768, 32767], "<i2")
    np.testing.assert_allclose(heard(wave.tobytes() + b"\x01", raw=16_000), [0, 0.5, -1, 32767 / 32768])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_other_rates_are_resampled_as_a_file_is(rate):
    data = wav(noise(1.0, rate=rate), rate)
    whole = load_audio(io.BytesIO(data))
    found = heard(data)
    assert abs(len(found) - len(whole)) <= 1
    size = min(len(found), len(whole))
    np.testing.assert_allclose(found[:size], whole[:size], atol=1e-4)


def test_the_mean_of_two_channels_and_of_cancelling_ones_the_loudest(caplog):
    data = wav(noise(channels=2))
    np.testing.assert_array_equal(heard(data), load_audio(io.BytesIO(data)))
    mono = noise()
    swapped = wav(np.concatenate([mono, -mono], axis=1), subtype="FLOAT")
    np.testing.assert_array_equal(heard(swapped), mono[:, 0])
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "stdin: the channels cancel each other (o"
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"OggS\0\2 and so on", "not a WAV stream, it begins with b'OggS"),
        (b"RIFF\0\0\0\0AVI LIST", "not a WAV stream"),
        (wav(noise())[:30], "ends within its header"),
        (b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff", "the samples' format is not stated"),
        (b"RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff", "a chunk b'junk' of 4294967295 bytes"),
        (wav(noise(), subtype="IMA_ADPCM"), "encoding 17 with 4 bits"),
        (wav(noise()).replace(b"fmt \x10\0\0\0\1\0\1\0", b"fmt \x10\0\0\0\1\0\0\0"), "header: 0 channels"),
    ],
)
def test_what_is_no_wav_stream_is_said(data, message):
    with pytest.raises(AudioError, match=r"^stdin: ") as caught:
        heard(data)
    assert message in str(caught.value)


@pytest.mark.parametrize("rate", [0, -1, 999, 10**9])
def test_a_rate_that_cannot_be_meant(rate):
    with pytest.raises(AudioError, match="--raw is"):
        raw_format(rate)


@given(st.binary(max_size=200), st.integers(0, 44), st.integers(1, 50))
def test_damaged_streams_are_errors_or_samples(junk, at, most):
    data = wav(noise(0.02))
    damaged = data[:at] + junk + data[at + len(junk) :]
    try:
        found = heard(damaged, most=most)
    except AudioError as error:
        assert str(error).startswith("stdin: ")
    else:
        assert found.dtype == np.float32 and found.ndim == 1


def test_samples_come_as_soon_as_they_are_there():
    parts = iter([b"\0" * 100, b"\0" * 60, b""])
    sizes = [len(one) for one in stream_samples(lambda _: next(parts), SampleFormat(SAMPLE_RATE))]
    assert sizes == [50, 30, 0]


# ---- microphone: PortAudio itself needs a device, so its Python module is replaced


class PortAudioError(Exception):
    pass


def portaudio(devices: list[dict], supported: tuple[float, ...] = (16_000, 48_000)) -> SimpleNamespace:
    """What of sounddevice is used."""

    def query_devices(device=None, kind=None):
        if kind is None:
            return devices
        found = [one for one in devices if device in (None, one["index"]) or str(device) in one["name"]]
        found = [one for one in found if one["max_input_channels"]]
        if not found:
            raise ValueError(f"No input device matching {device!r}")
        return found[0]

    def check_input_settings(device, channels, dtype, samplerate):
        if samplerate not in supported:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    class InputStream:
        def __init__(self, samplerate, blocksize, callback, finished_callback, **_):
            self.finished = finished_callback
            self.play = lambda: [callback(np.ones((blocksize, 1), np.float32), blocksize, None, None)] * 2

        def start(self):
            self.play()

        def close(self):
            self.finished()

    return SimpleNamespace(
        query_devices=query_devices, check_input_settings=check_input_settings, InputStream=InputStream,
        PortAudioError=PortAudioError,
    )  # fmt: skip


SPEAKER = {"index": 0, "name": "Speaker", "max_input_channels": 0, "default_samplerate": 48_000.0}
HEADSET = {"index": 3, "name": "USB Headset", "max_input_channels": 1, "default_samplerate": 48_000.0}


@pytest.mark.parametrize(("supported", "rate"), [((16_000, 48_000), 16_000), ((48_000,), 48_000)])
def test_a_microphone_gives_portions_of_16_khz(monkeypatch, supported, rate):
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio([SPEAKER, HEADSET], supported))
    microphone = Microphone("Headset")
    assert (microphone.device, microphone.name, microphone.rate) == (3, "USB Headset", rate)
    portions, ended = [], []
    microphone.start(portions.append, lambda: ended.append(True))
    microphone.stop()
    assert ended and portions and all(p.dtype == np.float32 and p.ndim == 1 for p in portions)
    assert len(portions[0]) <= 1600


@pytest.mark.parametrize(
    ("devices", "device", "message"),
    [
        ([], None, "no input device was found"),
        ([SPEAKER], None, "no input device was found"),
        (
            [SPEAKER, HEADSET],
            "7",
            "--mic-device 7: No input device matching 7 (input devices: 3 USB Headset)",
        ),
        ([HEADSET], "Cam", "input devices: 3 USB Headset"),
    ],
)
def test_no_such_device(monkeypatch, devices, device, message):
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio(devices))
    with pytest.raises(AudioError) as caught:
        Microphone(device)
    assert message in str(caught.value)


def test_neither_rate_can_be_recorded(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio([HEADSET], ()))
    with pytest.raises(AudioError, match="Invalid sample rate"):
        Microphone()


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"ia3-speech\[mic\]"):
        Microphone()


def test_the_missing_library_is_named(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(AudioError, match="libportaudio2"):
        Microphone()
