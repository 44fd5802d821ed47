"""Live audio: a pipe that is still being written, or a microphone → float32 `(samples,)`, 16 kHz mono.

A pipe holds a WAV stream, whose length may be unknown (0, or close to 2³¹ or 2³²: arecord, sox, ffmpeg), or
16-bit little-endian samples alone.
"""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import AudioError
from ia3_speech.data.audio import RATES, SAMPLE_RATE, UNKNOWN_SIZE, Mixer

PORTION_SECONDS = 0.1  # of audio that is read at once
WIDTHS = {  # libsndfile's name of an encoding → bytes of a sample
    "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ALAW": 1, "ULAW": 1,
}  # fmt: skip
CONVERT = "ffmpeg -i FILE -f wav - converts any other; `raw=RATE` reads 16-bit samples without a header"

Read = Callable[[int], bytes]  # returns at most so many bytes, as soon as there are any; b"" at the end


@dataclass(frozen=True)
class SampleFormat:
    """The format of a stream's samples."""

    rate: int  # in Hz
    channels: int = 1  # interleaved
    subtype: str = "PCM_16"  # libsndfile's name of the encoding
    data_bytes: int | None = None  # of all samples; None where the header does not state it


def raw_format(rate: int) -> SampleFormat:
    """The format of 16-bit little-endian samples of one channel. Raises AudioError for an unusable rate."""
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"`raw` is {rate} Hz, and must be from {RATES[0]} to {RATES[1]} (16000 is usual)")
    return SampleFormat(rate)


def read_wav_header(read: Read) -> SampleFormat:
    """Read a WAV stream up to its first sample (Microsoft and IBM 1991, with the extensions of 1994). Raises
    AudioError if it is empty, is not WAV, ends within the header, or has an unknown encoding."""
    import soundfile

    header = read_exactly(read, 12)
    if not header:
        raise AudioError("stdin: empty (no bytes): nothing was piped into it")
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        raise AudioError(f"stdin: not a WAV stream, it begins with {header!r} ({CONVERT})")
    while True:
        head = read_exactly(read, 8)
        name, size = struct.unpack("<4sI", head) if len(head) == 8 else (b"", 0)
        if name == b"data":
            break
        chunk = read_exactly(read, size + size % 2)
        if not name or len(chunk) < size:
            raise AudioError("stdin: the WAV stream ends within its header")
        header += head + chunk
    try:
        with soundfile.SoundFile(io.BytesIO(header + b"data\0\0\0\0")) as sound:
            rate, channels, subtype = sound.samplerate, sound.channels, sound.subtype
    except soundfile.SoundFileError as error:
        raise AudioError(f"stdin: damaged WAV header: {error}") from None
    if subtype not in WIDTHS:
        raise AudioError(f"stdin: WAV samples in the encoding {subtype} are not read ({CONVERT})")
    is_unknown = size == 0 or size >= UNKNOWN_SIZE
    return SampleFormat(rate, channels, subtype, None if is_unknown else size)


def read_exactly(read: Read, size: int) -> bytes:
    """`size` bytes; fewer at the end of the stream."""
    data = bytearray()
    while len(data) < size and (part := read(size - len(data))):
        data += part
    return bytes(data)


def stream_samples(read: Read, sample_format: SampleFormat) -> Iterator[np.ndarray]:
    """The samples of a pipe, float32 `(samples,)` at 16 kHz, as soon as they are there. An incomplete sample
    at the end is dropped, and so are bytes after the samples of a WAV file. Raises AudioError if a sample is
    NaN or infinite; the samples before it have been yielded."""
    import soundfile

    size = sample_format.channels * WIDTHS[sample_format.subtype]  # bytes of a frame
    left = sample_format.data_bytes
    portion = max(1, round(PORTION_SECONDS * sample_format.rate)) * size
    convert, rest = Converter(sample_format.rate), b""
    while part := read(portion if left is None else min(portion, left)):
        left = None if left is None else left - len(part)
        rest += part
        whole, rest = rest[: len(rest) // size * size], rest[len(rest) // size * size :]
        if whole:
            frames, _ = soundfile.read(
                io.BytesIO(whole), dtype="float32", always_2d=True, format="RAW", endian="LITTLE",
                samplerate=sample_format.rate, channels=sample_format.channels, subtype=sample_format.subtype,
            )  # fmt: skip
            if not np.isfinite(frames).all():
                raise AudioError("stdin: samples are NaN or infinite (a broken microphone or converter)")
            yield convert(frames)
    yield convert.flush()


class Converter:
    """Converts channels and a rate, portion by portion, to one channel at 16 kHz."""

    def __init__(self, rate: float):
        import soxr

        self.resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32")
        self.mix = Mixer("stdin")

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """`(frames, channels)` → `(samples,)`."""
        mono = self.mix(frames)
        return self.resampler.resample_chunk(mono) if self.resampler else mono

    def flush(self) -> np.ndarray:
        """The samples that the resampler still holds."""
        none = np.zeros(0, np.float32)
        return self.resampler.resample_chunk(none, last=True) if self.resampler else none


class Microphone:
    """The computer's audio input, by PortAudio (the package sounddevice, extra ia3-speech[mic])."""

    def __init__(self, device: str | None = None):
        """`device` is its number, or a part of its name; None: the system's choice. Raises AudioError."""
        try:
            import sounddevice
        except (ImportError, OSError):  # on Linux PortAudio is a library of the system
            packages = f"in the clone: {pip_install('.[mic]')}; and PortAudio: apt install libportaudio2"
            raise AudioError(f"`mic` needs two packages ({packages})") from None
        self.sounddevice = sounddevice
        try:
            choice = int(device) if device and device.isdecimal() else device
            info = sounddevice.query_devices(choice, "input")
        except (ValueError, sounddevice.PortAudioError) as error:
            inputs = [d for d in sounddevice.query_devices() if d["max_input_channels"] > 0]
            listed = "; ".join(f"{d['index']} {d['name']}" for d in inputs) or "none"
            name = "`mic`" if device is None else f"`mic_device={device}`"
            raise AudioError(f"{name}: {error} (input devices: {listed})") from None
        self.device, self.name, self.rate = info["index"], info["name"], info["default_samplerate"]

    def start(self, put: Callable[[np.ndarray], Any], finish: Callable[[], Any]) -> None:
        """Start the recording. A thread of PortAudio calls `put` with each portion, as of `stream_samples`,
        and `finish` when the device has stopped. Raises AudioError if the device cannot be opened."""
        convert = Converter(self.rate)
        try:
            self.stream = self.sounddevice.InputStream(
                samplerate=self.rate, device=self.device, channels=1, dtype="float32",
                blocksize=round(PORTION_SECONDS * self.rate),
                callback=lambda frames, *_: put(convert(frames.copy())),
                finished_callback=finish,
            )  # fmt: skip
            self.stream.start()
        except self.sounddevice.PortAudioError as error:
            raise AudioError(f"`mic`: {self.name}: {error}") from None

    def stop(self) -> None:
        """End the recording."""
        self.stream.close()
