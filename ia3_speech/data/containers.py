"""Audio in containers that libsndfile cannot read: m4a, mp4, webm, aac, wma, amr.

In: a path or an open binary file. Out: its first audio track, which PyAV decodes (the extra
`ia3-speech[containers]`).
"""

import os
from math import inf
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ia3_speech.cli import UserError

CONTAINER_SUFFIXES = {
    *(".m4a", ".m4b", ".m4v", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka"),
    *(".aac", ".wma", ".wmv", ".asf", ".amr", ".awb"),
}
SIGNATURES = {b"\x1a\x45\xdf\xa3": "webm", b"\x30\x26\xb2\x75": "wma", b"#!AMR": "amr", b"ADIF": "aac"}
MISSING_SECONDS = 0.5  # that headers may promise too much
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free")
USUAL_RATE = 96_000  # samples a second, of all channels: 48 kHz stereo


class TooLong(UserError):
    """A recording that is longer than its reader allows, or has too many channels for its length."""


class ContainerError(UserError):
    """A container that cannot be decoded: the message is the reason and a hint, without the file's name."""


def container_format(head: bytes) -> str | None:
    """mp4, webm, wma, amr or aac, by the first 8 bytes of a file; None for anything else."""
    if head[4:8] in MP4_BOXES:
        return "mp4"
    if head[:1] == b"\xff" and head[1:2] and head[1] & 0xF6 == 0xF0:  # ADTS; an MP3 frame has a layer
        return "aac"
    return next((name for start, name in SIGNATURES.items() if head.startswith(start)), None)


def decode_container(
    source: Path | str | BinaryIO, format: str, max_seconds: float = inf
) -> tuple[np.ndarray, int]:
    """Decode the first audio track of a file in `format`, as `container_format` names it.

    Returns float32 samples `(frames, channels)`, full scale ±1, and their rate in Hz.

    Raises:
        ContainerError: PyAV is not installed, there is no audio track, or the file is damaged or cut off.
        TooLong: as soon as more than `max_seconds` are decoded.
    """
    try:
        import av
    except ImportError:
        raise ContainerError(
            f"is {format} audio, which needs PyAV (in the clone: uv pip install -e '.[containers]'; or write "
            f"it as wav, flac, ogg or mp3)"
        ) from None
    parts: list[np.ndarray] = []
    frames = 0
    try:
        # No other protocol: a container must not make us open what it names.
        options = {} if hasattr(source, "read") else {"protocol_whitelist": "file"}
        name = source if hasattr(source, "read") else os.fspath(source)
        with av.open(name, options=options) as container:
            if not container.streams.audio:
                raise ContainerError("has no audio track")
            stream = container.streams.audio[0]
            rate = stream.rate
            is_estimated = format in ("aac", "amr") or not container.duration
            promised = 0.0 if is_estimated else container.duration / av.time_base
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):  # neither header nor packets say how much there is
                frames += frame.samples
                check_size(frames, frame.layout.nb_channels, frame.sample_rate, max_seconds)
                parts += [part.to_ndarray() for part in resampler.resample(frame)]
            parts += [part.to_ndarray() for part in resampler.resample(None)]
    except (av.FFmpegError, ValueError, MemoryError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise ContainerError(f"cannot be decoded: {reason} (damaged: copy the file again)") from None
    samples = np.concatenate(parts, axis=1).T if parts else np.zeros((0, 1), np.float32)
    if fault := cut_off(promised - len(samples) / rate, promised):
        raise ContainerError(fault)
    return samples, rate


def check_size(frames: int, channels: int, rate: int, max_seconds: float) -> None:
    """Raises TooLong."""
    if frames > max_seconds * rate or frames * channels > max_seconds * USUAL_RATE:
        raise TooLong(f"is longer than {max_seconds / 60:g} minutes, or has too many channels")


def cut_off(missing: float, promised: float) -> str | None:
    """What is wrong with a file that lacks more than half a second of those that its header promises."""
    if missing <= MISSING_SECONDS:
        return None
    return (
        f"ends {missing:.2f} s before its header says it does, at {promised:.2f} s "
        f"(damaged: copy the file again)"
    )
