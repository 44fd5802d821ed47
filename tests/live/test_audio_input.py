"""live/audio: a pipe gives the samples of the file; faults are named; microphones."""

import io
import struct

import numpy as np
import pytest
import soundfile

from ia3_speech.common.errors import AudioError
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.live.audio import WIDTHS, Converter, raw_format, read_wav_header, stream_samples


def noise(seconds: float = 0.5, channels: int = 1, rate: int = SAMPLE_RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32)


def wav(wave: np.ndarray, rate: int = SAMPLE_RATE, format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=format, subtype=subtype)
    return file.getvalue()


def with_size(data: bytes, size: int) -> bytes:
    """A WAV file whose header states that size of the samples."""
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def streamed(data: bytes, raw: int | None = None, most: int = 2**16) -> np.ndarray:
    """The samples of a pipe that returns at most so many bytes at once."""
    file = io.BytesIO(data)
    read = lambda size: file.read(min(size, most))  # noqa: E731
    sample_format = raw_format(raw) if raw is not None else read_wav_header(read)
    return np.concatenate([*stream_samples(read, sample_format)])


@pytest.mark.parametrize("subtype", [*WIDTHS, "WAVEX"])
@pytest.mark.parametrize("most", [1, 1000])
def test_every_encoding_equals_the_file(subtype, most):
    extensible = wav(np.repeat(noise(0.2), 2, axis=1), format="WAVEX")
    data = wav(noise(0.2), subtype=subtype) if subtype in WIDTHS else extensible
    np.testing.assert_array_equal(streamed(data, most=most), load_audio(io.BytesIO(data)))


@pytest.mark.parametrize("size", [0, 2**31 - 1, 2**31 - 4096, 2**32 - 1])
def test_the_header_may_not_know_the_length(size, caplog):
    data = wav(noise())
    np.testing.assert_array_equal(streamed(with_size(data, size)), load_audio(io.BytesIO(data)))
    assert not caplog.messages


def test_raw_samples_and_half_of_one_at_the_end():
    wave = np.array([0, 16384, -32768, 32767], "<i2")
    np.testing.assert_allclose(streamed(wave.tobytes() + b"\x01", raw=16_000), [0, 0.5, -1, 32767 / 32768])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_other_rates_are_resampled_as_a_file_is(rate):
    data = wav(noise(1.0, rate=rate), rate)
    whole, samples = load_audio(io.BytesIO(data)), streamed(data)
    assert abs(len(samples) - len(whole)) <= 1
    size = min(len(samples), len(whole))
    np.testing.assert_allclose(samples[:size], whole[:size], atol=1e-4)


def test_the_mean_of_two_channels_and_of_cancelling_ones_the_loudest(caplog):
    data = wav(noise(channels=2))
    np.testing.assert_array_equal(streamed(data), load_audio(io.BytesIO(data)))
    mono = noise()
    swapped = wav(np.concatenate([mono, -mono], axis=1), subtype="FLOAT")
    np.testing.assert_array_equal(streamed(swapped), mono[:, 0])
    assert [message[:40] for message in caplog.messages] == ["stdin: the channels cancel each other, s"]
    convert = Converter(16_000)
    convert(np.concatenate([mono, -mono], axis=1) / 300)  # hum before speech on one channel
    speech = np.concatenate([0 * mono, mono], axis=1)
    np.testing.assert_array_equal(convert(speech), mono[:, 0] / 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF\0\0\0\0AVI LIST", "not a WAV stream"),
        (wav(noise())[:30], "ends within its header"),
        (b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff", "damaged WAV header: "),
        (wav(noise(), subtype="IMA_ADPCM"), "IMA_ADPCM"),
    ],
)
def test_faults_of_a_stream(data, message):
    with pytest.raises(AudioError, match=r"^stdin: ") as caught:
        streamed(data)
    assert message in str(caught.value)
