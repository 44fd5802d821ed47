"""Audio files: decode them to 16 kHz mono float32; change a waveform's speed, say what is wrong with it.

In: a path or an open binary file, of a format that libsndfile reads or a container. Out: `np.ndarray` float32
`(samples,)` at `SAMPLE_RATE`, full scale ±1; or an `AudioError` that names the file and the reason.
"""

import logging
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data.containers import (
    CONTAINER_SUFFIXES,
    ContainerError,
    check_size,
    container_format,
    cut_off,
    decode_container,
)

logger = logging.getLogger(__name__)

# The file name suffixes of audio: those of libsndfile's formats, and those of containers, which may need an
# extra, so that such a file in a folder is read or reported, and never overlooked.
AUDIO_SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".sph", ".nist"),
} | CONTAINER_SUFFIXES
SAMPLE_RATE = 16_000  # Hz, of every wav2vec 2.0 and HuBERT base
RECEPTIVE_FIELD = 400  # samples (25 ms) that one frame of such a base sees, hence the shortest usable input
# Seconds decoded before a segment and thrown away: after a seek an MP3 decoder lacks up to 511 bytes that
# earlier frames lend to later ones, 20 frames or 0.7 s at the lowest bit rates; Vorbis and Opus need a few
# windows.
LEAD_IN = 1.0
HEAD = 1024  # bytes in which all headers stand that are read here; a NIST SPHERE header's size
OGG_PAGE = 65_307  # bytes, at most
UNKNOWN_SIZE = 2**31 - 2**20  # bytes, from which on a header's size means that the writer did not know it
CANCELLED_SHARE = 1e-4  # of the channels' energy in their mean, below which they cancel each other (-40 dB)
SEGMENT_OVERSHOOT = 0.5  # seconds by which a segment may exceed its recording (Kaldi's --max-overshoot)

# Clipping shows as flat tops. Speech that was scaled up to its peak has single samples at full scale and no
# runs of them; speech cut off at half its peak has 0.1 to 3 % of its samples in such runs, also after
# resampling or Opus.
FULL_SCALE = 0.99
FLAT_TOP = 3  # samples in a row, of one sign
CLIPPED_SHARE = 0.001  # of all samples

SILENT_PEAK = 1e-4  # of full scale, -80 dB: three steps of 16 bit, below the noise of any microphone
SILENT_SECONDS = 0.5  # shorter audio is not called silent


class AudioError(UserError):
    """Audio that cannot be used. The message names the file (and the utterance) and a hint."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a waveform.

    Attributes:
        reason: a phrase for messages, such as `too short (0.010 s, 0.025 s are needed)`.
        fatal: whether no model can use the waveform; clipped speech and silence are only named.
    """

    reason: str
    fatal: bool = True


def load_audio(
    source: Path | str | BinaryIO,
    *,
    start: float | None = None,
    end: float | None = None,
    max_seconds: float = inf,
) -> np.ndarray:
    """Decode to float32 `(samples,)` at 16 kHz; the channels are averaged.

    Args:
        source: a path, or a seekable binary file object.
        start: where to begin, in seconds (None: at 0).
        end: where to stop, in seconds (None: at the end). An end up to 0.5 s after the recording's is
            accepted and cut, as Kaldi's extract-segments does.
        max_seconds: of the whole file, of at most 96,000 samples each; of more nothing is kept in memory.

    Raises:
        AudioError: the file is missing, is not audio, or ends before the segment or its header says.
        TooLong: the file is longer than `max_seconds`.
    """
    if is_container(source):
        wave = load_container(source, max_seconds)
        first, count = segment_of(source, SAMPLE_RATE, len(wave), start, end)
        return wave[first : first + count]
    wave, rate = read_frames(source, start, end, max_seconds)
    return np.ascontiguousarray(resample(to_mono(wave, source_name(source)), rate, SAMPLE_RATE))


def load_channels(source: Path | str | BinaryIO) -> list[np.ndarray]:
    """Decode to float32 `(samples,)` at 16 kHz for each channel. Raises AudioError as `load_audio`."""
    wave, rate = decode_track(source) if is_container(source) else read_frames(source, None, None)
    return [np.ascontiguousarray(resample(channel, rate, SAMPLE_RATE)) for channel in wave.T]


def audio_duration(path: Path | str) -> float:
    """Length in seconds as the file's header states it; nothing is decoded, except of a container.

    Raises:
        AudioError: the file is missing or is not audio.
    """
    if is_container(path):
        return len(load_container(path)) / SAMPLE_RATE
    with open_sound_file(path) as sound:
        return sound.frames / sound.samplerate


def read_frames(
    source: Path | str | BinaryIO, start: float | None, end: float | None, max_seconds: float = inf
) -> tuple[np.ndarray, int]:
    """`(frames, channels)` of a file that libsndfile reads, and its rate in Hz. Raises as `load_audio`."""
    with open_sound_file(source) as sound:
        rate, frames = sound.samplerate, sound.frames
        check_size(frames, sound.channels, rate, max_seconds)
        first, count = segment_of(source, rate, frames, start, end)
        lead = min(first, round(LEAD_IN * rate))
        try:
            sound.seek(first - lead)
            wave = sound.read(count + lead, dtype="float32", always_2d=True)[lead:]
        except (RuntimeError, OSError, ValueError, MemoryError) as error:
            raise AudioError(
                f"{source_name(source)}: cannot be decoded: {library_message(error)} "
                f"(damaged: copy the file again)"
            ) from None
    missing = count - len(wave)
    if end is None:
        missing += round(promised_excess(source) * frames)
    if fault := cut_off(missing / rate, frames / rate):
        raise AudioError(f"{source_name(source)}: {fault}")
    return wave, rate


def segment_of(
    source: Path | str | BinaryIO, rate: int, frames: int, start: float | None, end: float | None
) -> tuple[int, int]:
    """The first frame of a segment and its number of frames. Raises AudioError where it is outside."""
    first = round((start or 0.0) * rate)
    last = frames if end is None else round(end * rate)
    outside = first < 0 or last < first or (first > 0 and first >= frames)
    if outside or last - frames > SEGMENT_OVERSHOOT * rate:
        raise AudioError(
            f"{source_name(source)}: the segment from {start or 0:.2f} to {last / rate:.2f} s is not "
            f"inside the recording, which ends at {frames / rate:.2f} s (correct its line in segments)"
        )
    return first, max(0, min(last, frames) - first)


def promised_excess(source: Path | str | BinaryIO) -> float:
    """How much more than it holds a file's header promises, as a share of what it holds; else 0. libsndfile
    reads what is there. An Ogg file has no such header: one whose end is not marked is named in the log."""
    head, size = head_and_size(source)
    if head[:4] == b"OggS" and not is_ogg_ended(source, size):
        logger.warning("%s: has no end mark: was it cut off? (copy it again)", source_name(source))
    return max(0.0, promised_size(head) / max(size, 1) - 1)


def promised_size(head: bytes) -> int:
    """The bytes that a file has by its header: WAV, RF64, W64, AIFF, AU, NIST SPHERE; 0 where that says
    nothing, as in streams, whose sizes are close to 2³¹, 2³² or 2⁶⁴."""
    little, big = (partial(int.from_bytes, byteorder=order) for order in ("little", "big"))
    match head[:4]:
        case b"RIFF":
            sizes, unknown = (little(head[4:8]), 8), UNKNOWN_SIZE
        case b"FORM":
            sizes, unknown = (big(head[4:8]), 8), UNKNOWN_SIZE
        case b".snd":
            sizes, unknown = (big(head[8:12]), big(head[4:8])), UNKNOWN_SIZE
        case b"RF64" if head[12:16] == b"ds64":
            sizes, unknown = (little(head[20:28]), 8), 2**62
        case b"riff":
            sizes, unknown = (little(head[16:24]), 0), 2**62
        case b"NIST":
            fields = {key: int(n) for key, n in re.findall(rb"(\w+) -\w+ (\d+)\n", head)}
            samples = fields.get(b"sample_count", 0) * fields.get(b"channel_count", 1)
            sizes, unknown = (samples * fields.get(b"sample_n_bytes", 2), HEAD), UNKNOWN_SIZE
        case _:
            return 0
    return sum(sizes) if 0 < sizes[0] < unknown else 0


def is_ogg_ended(source: Path | str | BinaryIO, size: int) -> bool:
    """Whether the last page of an Ogg file has the end-of-stream bit (RFC 3533, section 6)."""
    with nullcontext(source) if hasattr(source, "read") else Path(source).open("rb") as file:
        file.seek(max(0, size - OGG_PAGE))
        last = file.read()
        file.seek(0)
    flags = last[last.rfind(b"OggS") :][5:6]
    return not flags or bool(flags[0] & 4)


# ---- containers ----


def is_container(source: Path | str | BinaryIO) -> bool:
    try:
        return container_format(head_and_size(source)[0]) is not None
    except (OSError, ValueError):  # `open_sound_file` says what is wrong with it
        return False


def load_container(source: Path | str | BinaryIO, max_seconds: float = inf) -> np.ndarray:
    """A container's whole audio, float32 `(samples,)` at 16 kHz. Raises AudioError, TooLong."""
    if hasattr(source, "read"):
        return mono_of_container.__wrapped__(source, None, max_seconds)
    status = Path(source).stat()
    return mono_of_container(source, (status.st_mtime_ns, status.st_size), max_seconds)


@lru_cache(maxsize=1)
def mono_of_container(
    source: Path | str | BinaryIO, version: tuple[int, int] | None, max_seconds: float
) -> np.ndarray:
    """`load_container`: the segments of one recording follow one another, and it is decoded as a whole."""
    samples, rate = decode_track(source, max_seconds)
    wave = resample(to_mono(samples, source_name(source)), rate, SAMPLE_RATE)
    wave.flags.writeable = False
    return wave


def decode_track(source: Path | str | BinaryIO, max_seconds: float = inf) -> tuple[np.ndarray, int]:
    """A container's samples `(frames, channels)`, and their rate. Raises AudioError."""
    try:
        return decode_container(source, container_format(head_and_size(source)[0]), max_seconds)
    except ContainerError as error:
        raise AudioError(f"{source_name(source)}: {error}") from None


# ---- opening a file, and explaining why it cannot be opened ----


def open_sound_file(source: Path | str | BinaryIO):
    """A `soundfile.SoundFile` of the source. Raises AudioError, which says what the source is instead."""
    import soundfile

    try:
        # As bytes: soundfile cannot encode a name that is not UTF-8.
        return soundfile.SoundFile(source if hasattr(source, "read") else os.fsencode(source))
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise AudioError(f"{source_name(source)}: {explain_failure(source, error)}") from None


def explain_failure(source: Path | str | BinaryIO, error: Exception) -> str:
    """Why a file is not audio: missing, a folder, a Git LFS pointer, a Kaldi archive, an unknown format."""
    try:
        head, _ = head_and_size(source)
    except IsADirectoryError:
        return "is a folder, not an audio file"
    except (OSError, ValueError) as denied:
        if os.path.exists(source):  # noqa: PTH110 (Path.exists raises where a name is too long)
            return f"cannot be read: {denied.strerror}"
        if ".ark:" in str(source):
            hint = "write audio files: wav-copy, or ESPnet's format_wav_scp.py"
            return f"is an entry of a Kaldi archive ({hint})"
        return "no such file (correct wav.scp, or copy the audio there)"
    if not head:
        return "empty (no bytes)"
    if head.startswith(b"version https://git-lfs"):
        return 'is a Git LFS pointer, not audio (run "git lfs pull" in its repository)'
    reason = library_message(error)
    return f"is not audio that libsndfile reads: {reason} (convert it to wav, flac, ogg or mp3)"


def head_and_size(source: Path | str | BinaryIO) -> tuple[bytes, int]:
    """The first bytes of a file, and its size. Raises OSError; ValueError for a name with a zero byte."""
    if not hasattr(source, "read"):
        with Path(source).open("rb") as file:
            return file.read(HEAD), os.fstat(file.fileno()).st_size
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    head = source.read(HEAD)
    source.seek(0)
    return head, size


def source_name(source: Path | str | BinaryIO) -> str:
    """What messages call a source: its path, or the stream's name."""
    return str(getattr(source, "name", "(audio from a stream)") if hasattr(source, "read") else source)


def library_message(error: Exception) -> str:
    """libsndfile's message without the file's name or the stream's repr, which our messages begin with."""
    message = re.sub(r"^Error opening .*[>']: ", "", str(error), flags=re.DOTALL)
    return (message or type(error).__name__).strip().rstrip(".")


# ---- waveforms ----


def to_mono(wave: np.ndarray, name: str) -> np.ndarray:
    """The mean of the channels of `(frames, channels)`; of channels that cancel each other, the loudest.

    A cable with swapped wires makes one channel the other's negative, and their mean silent.
    """
    if wave.shape[1] == 1:
        return wave[:, 0]
    channel = channel_of_cancelling(wave, name)
    return wave.mean(axis=1) if channel is None else wave[:, channel]


def channel_of_cancelling(wave: np.ndarray, name: str) -> int | None:
    """The loudest channel of `(frames, channels)` that cancel each other, with a warning; else None."""
    if not wave.size or np.square(wave.mean(axis=1)).mean() >= CANCELLED_SHARE * np.square(wave).mean():
        return None
    logger.warning("%s: the channels cancel each other (opposite phase), so the loudest is taken", name)
    return int(np.argmax(np.square(wave).mean(axis=0)))


def find_problem(wave: np.ndarray, minimum_samples: int = RECEPTIVE_FIELD) -> Problem | None:
    """The most serious problem of `wave` (float32 `(samples,)`, 16 kHz), or None."""
    if wave.size == 0:
        return Problem("empty (no samples)")
    if wave.size < minimum_samples:
        seconds, needed = wave.size / SAMPLE_RATE, minimum_samples / SAMPLE_RATE
        return Problem(f"too short ({seconds:.3f} s, {needed:.3f} s are needed)")
    if not np.isfinite(wave).all():
        return Problem(f"{np.count_nonzero(~np.isfinite(wave))} samples are NaN or infinite")
    share = clipped_share(wave)
    if share >= CLIPPED_SHARE:
        return Problem(f"clipped ({100 * share:.1f} % of the samples are flat at full scale)", fatal=False)
    if wave.size >= SILENT_SECONDS * SAMPLE_RATE and np.ptp(wave) < 2 * SILENT_PEAK:
        return Problem("silent (is the microphone or the right channel recorded?)", fatal=False)
    return None


def clipped_share(wave: np.ndarray) -> float:
    """The share of samples in runs of three or more at full scale, of one sign. `wave` is `(samples,)`."""
    if wave.size == 0 or np.abs(wave).max() < FULL_SCALE:
        return 0.0
    clipped = 0
    for signed in (wave, -wave):
        edges = np.diff(np.concatenate(([0], (signed >= FULL_SCALE).astype(np.int8), [0])))
        runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        clipped += int(runs[runs >= FLAT_TOP].sum())
    return clipped / wave.size


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play `wave` `factor` times as fast, pitch included: sox's `speed`, Kaldi's 0.9/1.0/1.1 perturbation.

    `(samples,)` → `(about samples / factor,)`. Ko et al. 2015, "Audio augmentation for speech recognition".
    """
    return resample(wave, SAMPLE_RATE * factor, SAMPLE_RATE)


def resample(wave: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Band-limited resampling (the SoX resampler) of `(samples,)` from `rate` to `new_rate` Hz, as
    float32."""
    if rate == new_rate or wave.size == 0:
        return wave.astype(np.float32, copy=False)
    import soxr

    return soxr.resample(wave.astype(np.float32, copy=False), rate, new_rate)
