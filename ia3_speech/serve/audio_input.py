"""An uploaded file → samples, within limits that are checked before anything of its size is allocated.

In: an open binary file that a client sent. Out: float32 (samples,), 16 kHz mono, as `data.audio.load_audio`
gives it, or an `ApiError`. A file of some kilobytes can hold days of silence, a thousand channels, or a
header that promises them.
"""

import io
from typing import BinaryIO

import numpy as np

from ia3_speech.data.audio import (
    AudioError,
    find_problem,
    is_container,
    load_audio,
    open_sound_file,
    source_name,
)
from ia3_speech.serve.errors import ApiError, bad_value

USUAL_RATE = 96_000  # samples a second, of all channels: 48 kHz stereo; more is allowed of shorter audio


def read_upload(upload: BinaryIO, max_seconds: float, minimum_samples: int) -> np.ndarray:
    """Decode an upload. Raises ApiError 400, or 413 where it is too long.

    Args:
        minimum_samples: that the base needs.
    """
    file = io.BytesIO(upload.read())  # PyAV would take a temporary file for one to write to
    try:
        if is_container(file):
            check_container(file, max_seconds)
        else:
            with open_sound_file(file) as sound:
                check_size(sound.frames, sound.channels, sound.samplerate, max_seconds)
        file.seek(0)
        wave = load_audio(file)
    except AudioError as error:
        raise undecodable(str(error).removeprefix(f"{source_name(file)}: ")) from None
    except (ValueError, OverflowError, MemoryError) as error:  # of a header that makes no sense
        raise undecodable(type(error).__name__) from None
    problem = find_problem(wave, minimum_samples)
    if problem and problem.fatal:
        if len(wave) < minimum_samples:
            raise ApiError(400, f"Audio file is {problem.reason}.", "audio_too_short", "file")
        raise undecodable(problem.reason)
    return wave


def check_size(frames: int, channels: int, rate: int, max_seconds: float) -> None:
    if frames > max_seconds * rate or frames * channels > max_seconds * USUAL_RATE:
        message = f"Audio file is longer than {max_seconds / 60:g} minutes, or has too many channels."
        raise ApiError(413, message, "audio_too_long", "file")


def check_container(file: BinaryIO, max_seconds: float) -> None:
    """Decode a container, and keep nothing: neither its header nor its packets say how much is in it."""
    try:
        import av
    except ImportError:
        raise undecodable("the server lacks PyAV (uv pip install -e '.[containers]')") from None
    try:
        with av.open(file) as container:
            frames = 0
            for frame in container.decode(audio=0):
                frames += frame.samples
                check_size(frames, frame.layout.nb_channels, frame.sample_rate, max_seconds)
    except (av.FFmpegError, IndexError) as error:
        raise undecodable(getattr(error, "strerror", None) or "has no audio track") from None
    file.seek(0)


def undecodable(reason: str) -> ApiError:
    return bad_value("file", f"The audio file could not be decoded or its format is not supported: {reason}")
