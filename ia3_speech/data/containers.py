"""Audio in containers that libsndfile cannot read: m4a, mp4, webm, aac, wma, amr.

In: a path or an open binary file. Out: its first audio track as samples `(frames, channels)`, and the rate.
It is decoded by PyAV where that is installed (`pip install "ia3-speech[containers]"`), else by an `ffmpeg` on
PATH.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ia3_speech.cli import UserError

CONTAINER_SUFFIXES = {
    *(".m4a", ".m4b", ".m4v", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka"),
    *(".aac", ".wma", ".wmv", ".asf", ".amr", ".awb"),
}
HEAD = 16  # bytes by which a container is recognised
SIGNATURES = {b"\x1a\x45\xdf\xa3": "webm", b"\x30\x26\xb2\x75": "wma", b"#!AMR": "amr", b"ADIF": "aac"}
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free")
INSTALL = (
    'pip install "ia3-speech[containers]", or put ffmpeg on PATH, or convert it to wav, flac, ogg or mp3'
)


class ContainerError(UserError):
    """A container that cannot be decoded: the message is the reason and a hint, without the file's name."""


@dataclass(frozen=True)
class DecodedTrack:
    """The audio track of a container.

    Attributes:
        samples: float32 `(frames, channels)`, full scale ±1.
        rate: in Hz.
        promised_seconds: the length that the header states; None where there is none, or an estimate.
    """

    samples: np.ndarray
    rate: int
    promised_seconds: float | None


def container_format(source: Path | str | BinaryIO) -> str | None:
    """mp4, webm, wma, amr or aac, by the first bytes of `source`; None for anything else."""
    try:
        if hasattr(source, "read"):
            source.seek(0)
            head = source.read(HEAD)
            source.seek(0)
        else:
            with open(source, "rb") as file:  # noqa: PTH123 (Path raises for names that no file can have)
                head = file.read(HEAD)
    except (OSError, ValueError):
        return None
    if head[4:8] in MP4_BOXES:
        return "mp4"
    if head[:1] == b"\xff" and head[1:2] and head[1] & 0xF6 == 0xF0:  # ADTS; an MP3 frame has a layer
        return "aac"
    return next((name for start, name in SIGNATURES.items() if head.startswith(start)), None)


def decode_container(source: Path | str | BinaryIO) -> DecodedTrack:
    """Decode the first audio track.

    Raises:
        ContainerError: neither PyAV nor ffmpeg is there, there is no audio track, or the file is damaged.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        if program := shutil.which("ffmpeg"):
            return decode_with_ffmpeg(source, program)
        raise ContainerError(
            f"is {container_format(source)} audio, for which PyAV or ffmpeg is needed ({INSTALL})"
        ) from None
    return decode_with_av(source)


def decode_with_av(source: Path | str | BinaryIO) -> DecodedTrack:
    import av

    parts: list[np.ndarray] = []
    try:
        # No other protocol: a container must not make us open what it names.
        options = {} if hasattr(source, "read") else {"protocol_whitelist": "file"}
        name = source if hasattr(source, "read") else os.fspath(source)
        with av.open(name, options=options) as container:
            if not container.streams.audio:
                raise ContainerError("has no audio track")
            stream = container.streams.audio[0]
            rate = stream.rate
            estimated = container.format.name in ("aac", "amr")
            promised = None if estimated or not container.duration else container.duration / av.time_base
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                parts += [part.to_ndarray() for part in resampler.resample(frame)]
            parts += [part.to_ndarray() for part in resampler.resample(None)]
    except (av.FFmpegError, ValueError, MemoryError, UnicodeError) as error:
        raise ContainerError(damaged(getattr(error, "strerror", None) or str(error))) from None
    samples = np.concatenate(parts, axis=1).T if parts else np.zeros((0, 1), np.float32)
    return DecodedTrack(samples, rate, promised)


def decode_with_ffmpeg(source: Path | str | BinaryIO, program: str) -> DecodedTrack:
    """The same by the program `ffmpeg`, in whose WAV of 32-bit floats the track keeps its rate and
    channels.
    """
    import soundfile

    with as_file(source) as path, tempfile.TemporaryDirectory() as folder:
        decoded = Path(folder, "decoded.wav")
        words = [program, "-hide_banner", "-nostdin", "-protocol_whitelist", "file"]
        words += ["-i", b"file:" + os.fsencode(path), "-map", "0:a:0", "-c:a", "pcm_f32le", str(decoded)]
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL)
        log = done.stderr.decode(errors="replace")
        if "matches no streams" in log:
            raise ContainerError("has no audio track")
        if done.returncode or not decoded.exists():
            raise ContainerError(damaged((log.strip().splitlines() or ["ffmpeg failed"])[-1]))
        samples, rate = soundfile.read(decoded, dtype="float32", always_2d=True)
    found = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+)", log)
    promised = None
    if found and "Estimating duration" not in log and container_format(source) not in ("aac", "amr"):
        promised = 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    return DecodedTrack(samples, rate, promised)


def damaged(reason: str) -> str:
    return f"cannot be decoded: {reason.rstrip('.')} (damaged: copy the file again)"


@contextmanager
def as_file(source: Path | str | BinaryIO) -> Iterator[Path | str]:
    """A path of the source: its own, or that of a temporary copy of a stream, in which ffmpeg may seek."""
    if not hasattr(source, "read"):
        yield Path(source).absolute()
        return
    with tempfile.NamedTemporaryFile() as file:
        source.seek(0)
        shutil.copyfileobj(source, file)
        file.flush()
        yield file.name
