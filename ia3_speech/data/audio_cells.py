"""Audio as Python objects hold it: arrays, tensors, rows of `datasets`, decoders, bytes, paths.

In: any of these. Out: float32 `(samples,)` at 16 kHz, or an AudioError that names the column or the file.
"""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE, AudioError, load_audio, resample, to_mono

ACCEPTED = (
    "accepted are float samples, {array, sampling_rate}, {bytes, path}, a path, the bytes of an audio file, "
    "and decoders with get_all_samples()"
)


def is_one_recording(audio: Any) -> bool:
    """Whether `audio` is one recording, rather than a sequence of them; a list of numbers is a sequence."""
    if isinstance(audio, str | os.PathLike | bytes | bytearray | dict) or not isinstance(audio, Iterable):
        return True
    return any(hasattr(audio, name) for name in ("read", "__array__", "get_all_samples"))


def to_waveform(audio: Any, column: str = "audio", sampling_rate: int = SAMPLE_RATE) -> np.ndarray:
    """float32 `(samples,)` at 16 kHz of a cell of a dataset, or of whatever else holds audio.

    Args:
        audio: one of
            - samples, float, `(samples,)`, as an array, a tensor (of any device) or a list, at
            `sampling_rate`;
            - {"array": samples, `(samples,)` or `(channels, samples)`, "sampling_rate": in Hz}, as `datasets`
              decoded audio before version 4;
            - {"bytes": of an audio file, or None, "path": its path, or None}: rows of `Audio(decode=False)`;
            - a path, an open binary file, or the bytes of an audio file;
            - a decoder with `get_all_samples()`, whose result has `data`, `(channels, samples)`, and
              `sample_rate`, such as torchcodec's, to which `datasets` 4 decodes.
        column: what messages call it.
        sampling_rate: of samples alone, in Hz.

    Raises:
        AudioError: it is none of these, not float, or a file that `load_audio` refuses; names the column.
    """
    try:
        return decoded(audio, sampling_rate)
    except (AudioError, ValueError) as error:
        raise AudioError(f'column "{column}": {error}') from None


def decoded(audio: Any, sampling_rate: int = SAMPLE_RATE) -> np.ndarray:
    """`to_waveform`, whose errors name no column; a ValueError where samples are not a waveform."""
    if isinstance(audio, dict):
        if audio.get("array") is not None:
            if not audio.get("sampling_rate"):
                raise AudioError('has "array", but no "sampling_rate" beside it, in Hz')
            return from_samples(audio["array"], audio["sampling_rate"], channels=True)
        if audio.get("bytes") is not None:
            return from_bytes(audio["bytes"], audio.get("path"))
        if audio.get("path"):
            return load_audio(audio["path"])
        raise AudioError(f"is a dictionary of {', '.join(map(str, audio)) or 'nothing'}: {ACCEPTED}")
    if isinstance(audio, str | os.PathLike) or hasattr(audio, "read"):
        return load_audio(audio)
    if isinstance(audio, bytes | bytearray):
        return from_bytes(audio, None)
    if hasattr(audio, "get_all_samples"):
        try:
            samples = audio.get_all_samples()
        except (RuntimeError, ValueError, OSError) as error:
            raise AudioError(f"cannot be decoded: {str(error).strip().splitlines()[0]}") from None
        return from_samples(samples.data, samples.sample_rate, channels=True)
    if isinstance(audio, list | tuple) or hasattr(audio, "__array__"):
        return from_samples(audio, sampling_rate)
    if hasattr(audio, "__getitem__"):  # of `datasets`, which passes for the dictionary of earlier versions
        return from_samples(audio["array"], audio["sampling_rate"], channels=True)
    raise AudioError(f"is {'empty (None)' if audio is None else f'a {type(audio).__name__}'}: {ACCEPTED}")


def from_bytes(data: bytes | bytearray, path: str | Path | None) -> np.ndarray:
    """The waveform of an audio file's bytes; `path` is only its name in messages."""
    stream = io.BytesIO(data)
    stream.name = str(path or "(bytes)")
    return load_audio(stream)


def from_samples(samples: Any, sampling_rate: float, *, channels: bool = False) -> np.ndarray:
    """The waveform of `(samples,)`; with `channels`, of `(channels, samples)` too."""
    if hasattr(samples, "detach"):  # a tensor, perhaps with gradients, on a device, or of a type numpy lacks
        samples = samples.detach().cpu()
        samples = samples.float() if samples.is_floating_point() else samples
    wave = np.asarray(samples)
    wrong_shape = wave.ndim != 1 and not (channels and wave.ndim == 2)
    if wrong_shape or (wave.size and not np.issubdtype(wave.dtype, np.floating)):
        wanted = "(samples,) or (channels, samples)" if channels else "(samples,)"
        raise ValueError(
            f"a waveform is float, of shape {wanted} and full scale ±1, not {wave.dtype} of shape "
            f"{wave.shape} ({'' if channels else 'average channels; '}divide int16 by 32768)"
        )
    wave = wave.astype(np.float32, copy=False)
    return resample(to_mono(wave.T, "audio") if wave.ndim == 2 else wave, sampling_rate, SAMPLE_RATE)
