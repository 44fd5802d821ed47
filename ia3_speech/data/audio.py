"""Audio files: decode them to 16 kHz mono float32, full scale ±1; change a waveform's speed.

In: a path or an open binary file, of a format that libsndfile reads, or a container whose first audio track
PyAV decodes (m4a, mp4, webm, aac, wma, amr; the extra `ia3-speech[containers]`).
"""

import logging
import os
import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import lru_cache
from itertools import chain
from math import inf
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import AudioError, TooLong

logger = logging.getLogger(__name__)

Source = Path | str | BinaryIO
Blocks = Iterable[tuple[np.ndarray, float]]  # float32 `(frames, channels)`, and their rate in Hz
# libsndfile's formats, and containers, which may need an extra
AUDIO_SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".sph", ".nist"),
    *(".m4a", ".m4b", ".m4v", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka"),
    *(".aac", ".wma", ".wmv", ".asf", ".amr", ".awb"),
}
SAMPLE_RATE = 16_000  # Hz, of every wav2vec 2.0 and HuBERT base
# Seconds decoded before a segment and thrown away: after a seek MP3 lacks up to 0.7 s, Opus a few windows.
LEAD_IN = 1.0
BLOCK = 2**16  # frames that are decoded at once
HEAD = 1024  # bytes that hold any header; the size of a NIST SPHERE header
MAX_OGG_PAGE = 65_307  # bytes
UNKNOWN_SIZE = 2**31 - 2**20  # bytes; a larger size in a header means that the writer did not know it
CANCELLED_SHARE = 1e-4  # of the channels' energy in their mean, below which they cancel each other (-40 dB)
MAX_OVERSHOOT_SECONDS = 0.5  # seconds by which a segment may exceed its recording (Kaldi's --max-overshoot)
MAX_MISSING_SECONDS = 0.5  # by which a recording may be shorter than its header says
USUAL_RATE = 96_000  # samples a second, of all channels: 48 kHz stereo
RATES = (1_000, 768_000)  # Hz, the lowest and the highest that are read
# The first bytes of a file → where its header has the number of bytes that follow, and their order.
SIZE_FIELDS = {
    b"RIFF": (slice(4, 8), "little"), b"FORM": (slice(4, 8), "big"), b".snd": (slice(8, 12), "big"),
    b"RF64": (slice(20, 28), "little"), b"riff": (slice(16, 24), "little"),
}  # fmt: skip
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free")
SIGNATURES = {b"\x1a\x45\xdf\xa3": "webm", b"\x30\x26\xb2\x75": "wma", b"#!AMR": "amr", b"ADIF": "aac"}


def load_audio(
    source: Source,
    *,
    start: float | None = None,
    end: float | None = None,
    max_seconds: float = inf,
    check: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Decode to float32 `(samples,)` at 16 kHz, block by block; the channels are averaged.

    Args:
        source: a path, or a seekable binary file object.
        start: where to begin, in seconds (None: at 0).
        end: where to stop, in seconds (None: at the end). An end up to 0.5 s after the recording's is
            accepted and cut, as Kaldi's extract-segments does.
        max_seconds: limit for the whole file, 96,000 samples each; longer files are not held in memory.
        check: called after each block of some seconds; its exceptions end the decoding.

    Raises:
        AudioError: the file is missing, is not audio, or ends before the segment or its header says.
        TooLong: the file is longer than `max_seconds`.
    """
    if container_format(source):
        is_stream = hasattr(source, "read")
        decode = mono_of_container.__wrapped__ if is_stream else mono_of_container
        wave = decode(source, is_stream or Path(source).stat().st_mtime_ns, max_seconds, check)
        first, count = segment_of(source, SAMPLE_RATE, len(wave), start, end)
        return wave[first : first + count]
    return to_mono(read_blocks(source, start, end, max_seconds, check), source_name(source))


def load_channels(source: Source) -> list[np.ndarray]:
    """Decode to float32 `(samples,)` at 16 kHz for each channel. Raises AudioError as `load_audio`."""
    return [np.ascontiguousarray(channel) for channel in resample_blocks(read_blocks(source)).T]


def audio_duration(source: Source) -> float:
    """Length in seconds as the file's header states it; only a container is decoded. Raises AudioError."""
    if container_format(source):
        return len(load_audio(source)) / SAMPLE_RATE
    with open_sound_file(source) as sound:
        return sound.frames / sound.samplerate


def read_blocks(
    source: Source,
    start: float | None = None,
    end: float | None = None,
    max_seconds: float = inf,
    check: Callable[[], object] = lambda: None,
) -> Blocks:
    """The blocks of a segment, or of a whole container. Arguments and errors as `load_audio`."""
    if container_format(source):
        yield from container_blocks(source, max_seconds, check)
        return
    with open_sound_file(source) as sound:
        rate, frames = sound.samplerate, sound.frames
        if not RATES[0] <= rate <= RATES[1]:  # at 1 Hz a block would have a billion samples at 16 kHz
            raise AudioError(f"{source_name(source)}: has a sampling rate of {rate} Hz (damaged header?)")
        check_size(frames, sound.channels, rate, max_seconds)
        first, missing = segment_of(source, rate, frames, start, end)
        lead = min(first, round(LEAD_IN * rate))
        try:
            sound.seek(first - lead)
            sound.seekable = lambda: False  # soundfile would seek after every read, which breaks MP3
            sound.read(lead, dtype="float32")
            block = None
            while block is None or len(block):
                check()
                block = sound.read(min(missing, BLOCK), dtype="float32", always_2d=True)
                missing -= len(block)
                yield block, rate
        except (RuntimeError, OSError, ValueError, MemoryError) as error:
            fault = f"cannot be decoded: {library_message(error)} (damaged: copy the file again)"
            raise AudioError(f"{source_name(source)}: {fault}") from None
    if end is None:
        missing += round(promised_excess(source) * frames)
    refuse_cut_off(source, missing / rate, frames / rate)


def check_size(frames: int, channels: int, rate: int, max_seconds: float) -> None:
    if frames > max_seconds * rate or frames * channels > max_seconds * USUAL_RATE:
        raise TooLong(f"is longer than {max_seconds / 60:g} minutes, or has too many channels")


def refuse_cut_off(source: Source, missing: float, promised: float) -> None:
    """Raise AudioError where a file is more than half a second shorter than its header says."""
    if missing > MAX_MISSING_SECONDS:
        fault = f"ends {missing:.2f} s before its header says it does, at {promised:.2f} s (copy it again)"
        raise AudioError(f"{source_name(source)}: {fault}")


def segment_of(
    source: Source, rate: int, frames: int, start: float | None, end: float | None
) -> tuple[int, int]:
    """The first frame of a segment and its number of frames. Raises AudioError where it is outside."""
    first = round((start or 0.0) * rate)
    last = frames if end is None else round(end * rate)
    outside = first < 0 or last < first or (first > 0 and first >= frames)
    if outside or last - frames > MAX_OVERSHOOT_SECONDS * rate:
        fault = f"the segment from {start or 0:.2f} to {last / rate:.2f} s is not inside the recording"
        raise AudioError(f"{source_name(source)}: {fault}, which ends at {frames / rate:.2f} s")
    return first, max(0, min(last, frames) - first)


def promised_excess(source: Source) -> float:
    """The share by which the header of a WAV, RF64, W64, AIFF, AU or NIST SPHERE file promises more bytes
    than the file has; else 0. A stream's size is unknown: 0, or close to 2³¹, 2³², 2⁶³ or 2⁶⁴."""
    head, size = head_and_size(source)
    if head[:4] == b"OggS":
        warn_of_cut_ogg(source, size)
    if head.startswith(b"NIST"):
        fields = {key: int(n) for key, n in re.findall(rb"(\w+) -\w+ (\d+)\n", head)}
        samples = fields.get(b"sample_count", 0) * fields.get(b"channel_count", 1)
        promised = samples * fields.get(b"sample_n_bytes", 2)
    else:
        place, order = SIZE_FIELDS.get(head[:4], (slice(0), "big"))
        promised = int.from_bytes(head[place], order)
        promised = promised if promised < (2**62 if len(head[place]) == 8 else UNKNOWN_SIZE) else 0
    return max(0.0, promised / max(size, 1) - 1)


def warn_of_cut_ogg(source: Source, size: int) -> None:
    """An Ogg file states no length: log a warning if it lacks its end mark (RFC 3533, section 6)."""
    with nullcontext(source) if hasattr(source, "read") else Path(source).open("rb") as file:
        file.seek(max(0, size - MAX_OGG_PAGE))
        last = file.read()
        file.seek(0)
    flags = last[last.rfind(b"OggS") :][5:6]
    if flags and not flags[0] & 4:
        logger.warning("%s: has no end mark: was it cut off? (copy it again)", source_name(source))


def container_format(source: Source) -> str | None:
    """mp4, webm, wma, amr or aac, by the first bytes of a file; None for anything else."""
    try:
        head, _ = head_and_size(source)
    except (OSError, ValueError):  # `open_sound_file` names the fault
        return None
    if head[4:8] in MP4_BOXES:
        return "mp4"
    if head[:1] == b"\xff" and head[1:2] and head[1] & 0xF6 == 0xF0:  # ADTS; an MP3 frame has a layer
        return "aac"
    return next((name for start, name in SIGNATURES.items() if head.startswith(start)), None)


@lru_cache(maxsize=1)
def mono_of_container(
    source: Source, version: int, max_seconds: float, check: Callable[[], object]
) -> np.ndarray:
    """A whole container, float32 `(samples,)` at 16 kHz: its segments are read one after another."""
    wave = to_mono(container_blocks(source, max_seconds, check), source_name(source))
    wave.flags.writeable = False
    return wave


def container_blocks(source: Source, max_seconds: float, check: Callable[[], object]) -> Blocks:
    """The blocks of the first audio track of a container. Errors as `load_audio`."""
    name, format = source_name(source), container_format(source)
    try:
        import av
    except ImportError:
        hint = f"in the clone: {pip_install('.[containers]')}; or write it as wav"
        raise AudioError(f"{name}: is {format} audio, which needs PyAV ({hint})") from None
    frames = 0
    is_stream = hasattr(source, "read")
    # No other protocol: a container must not make this process open the files or hosts that it names.
    options = {} if is_stream else {"protocol_whitelist": "file"}
    try:
        with av.open(source if is_stream else os.fspath(source), options=options) as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: has no audio track")
            stream = container.streams.audio[0]
            is_estimated = format in ("aac", "amr") or not container.duration
            promised = 0.0 if is_estimated else container.duration / av.time_base
            resampler = av.AudioResampler(format="fltp", frame_size=BLOCK)
            # Neither header nor packets say how much there is.
            for frame in chain(container.decode(stream), [None]):
                if frame:
                    frames += frame.samples
                    check_size(frames, frame.layout.nb_channels, frame.sample_rate, max_seconds)
                for block in resampler.resample(frame):
                    check()
                    yield block.to_ndarray().T, block.sample_rate
    except (av.FFmpegError, ValueError, MemoryError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise AudioError(f"{name}: cannot be decoded: {reason} (damaged: copy the file again)") from None
    refuse_cut_off(source, promised - frames / stream.rate, promised)


def open_sound_file(source: Source):
    """A `soundfile.SoundFile` of the source. Raises AudioError with the reason."""
    import soundfile

    try:
        # As bytes: soundfile cannot encode a name that is not UTF-8.
        return soundfile.SoundFile(source if hasattr(source, "read") else os.fsencode(source))
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        reason = f"is not audio that libsndfile reads: {library_message(error)} (convert it to wav or flac)"
    try:
        head, _ = head_and_size(source)
        if not head:
            reason = "empty (no bytes)"
        elif head.startswith(b"version https://git-lfs"):
            reason = 'is a Git LFS pointer, not audio (run "git lfs pull" in its repository)'
    except FileNotFoundError:
        reason = "no such file (correct the path, or copy the audio there)"
    except (OSError, ValueError) as error:  # a folder, a name that is too long or holds a zero byte
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise AudioError(f"{source_name(source)}: {reason}")


def head_and_size(source: Source) -> tuple[bytes, int]:
    """The first bytes of a file, and its size. Raises OSError; ValueError for a name with a zero byte."""
    if not hasattr(source, "read"):
        with Path(source).open("rb") as file:
            return file.read(HEAD), os.fstat(file.fileno()).st_size
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    head = source.read(HEAD)
    source.seek(0)
    return head, size


def source_name(source: Source) -> str:
    """The name of a source in messages: its path, or the stream's name."""
    return str(getattr(source, "name", "(audio from a stream)") if hasattr(source, "read") else source)


def library_message(error: Exception) -> str:
    """libsndfile's message without the file's name or the stream's repr."""
    message = re.sub(r"^Error opening .*[>']: ", "", str(error), flags=re.DOTALL)
    return (message or type(error).__name__).strip().rstrip(".")


def to_mono(blocks: Blocks, name: str) -> np.ndarray:
    """All blocks joined, their channels mixed by `Mixer`, float32 `(samples,)` at 16 kHz."""
    mix = Mixer(name)
    return resample_blocks((mix(block)[:, None], rate) for block, rate in blocks)[:, 0]


class Mixer:
    """Mixes channels, block by block: their mean; or, where they cancel each other (a cable with swapped
    wires), the loudest. Decided for each block: hum may cancel, and the speech after it not."""

    def __init__(self, name: str):
        self.name, self.channel = name, None

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """`(frames, channels)` → `(frames,)`."""
        mean, energies = block.mean(axis=1), np.square(block).sum(axis=0, dtype=np.float64)
        energy = np.square(mean).sum(dtype=np.float64) * len(energies)
        if len(energies) == 1 or energy >= CANCELLED_SHARE * energies.sum():
            return mean
        if self.channel is None:
            logger.warning("%s: the channels cancel each other, so the loudest is taken", self.name)
            self.channel = int(energies.argmax())
        return block[:, self.channel]


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play `(samples,)` `factor` times as fast, pitch included, as sox's `speed` and Kaldi's perturbation by
    0.9, 1.0 and 1.1 (Ko et al. 2015, "Audio augmentation for speech recognition")."""
    return resample(wave, SAMPLE_RATE * factor, SAMPLE_RATE)


def resample(wave: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Resample `(samples,)` from `rate` to `new_rate` Hz by the SoX resampler, as float32."""
    if rate == new_rate or wave.size == 0:
        return wave.astype(np.float32, copy=False)
    import soxr

    return soxr.resample(wave.astype(np.float32, copy=False), rate, new_rate)


def resample_blocks(blocks: Blocks) -> np.ndarray:
    """All blocks joined, float32 `(samples, channels)` at 16 kHz: each channel as `resample` resamples it."""
    data, channels, resampler = bytearray(), 1, None  # it grows in place
    for block, rate in blocks:
        channels = block.shape[1]
        if rate != SAMPLE_RATE:
            import soxr

            resampler = resampler or soxr.ResampleStream(rate, SAMPLE_RATE, channels, "float32")
            block = resampler.resample_chunk(block)
        data += block.tobytes()
    if resampler:
        data += resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True).tobytes()
    return np.frombuffer(data, np.float32).reshape(-1, channels)
