"""An uploaded file → samples, within limits that hold before anything of its size is allocated.

In: an open binary file that a client sent. Out: float32 (samples,), 16 kHz mono, as `data.audio.load_audio`
gives it, or an `ApiError`. A file of some kilobytes can hold days of silence, a thousand channels, or a
header that promises them.
"""

import io
from typing import BinaryIO

import numpy as np

from ia3_speech.data.audio import AudioError, TooLong, find_problem, load_audio, source_name
from ia3_speech.serve.errors import ApiError, bad_value


def read_upload(upload: BinaryIO, max_seconds: float, minimum_samples: int) -> np.ndarray:
    """Decode an upload. Raises ApiError 400, or 413 where it is too long.

    Args:
        minimum_samples: that the base needs.
    """
    file = io.BytesIO(upload.read())  # PyAV would take a temporary file for one to write to
    try:
        wave = load_audio(file, max_seconds=max_seconds)
    except TooLong as error:
        raise ApiError(413, f"Audio file {error}.", "audio_too_long", "file") from None
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


def undecodable(reason: str) -> ApiError:
    return bad_value("file", f"The audio file could not be decoded or its format is not supported: {reason}")
