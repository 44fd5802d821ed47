"""Transcripts of recordings: files, open files, bytes, arrays or tensors in, `Transcript`s out.

from ia3_speech.transcribe import transcribe
transcribe("audio.wav", adapter="speaker42").text       # or an array, a tensor …; or a list of these
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE, AudioError, find_problem
from ia3_speech.data.audio_cells import is_one_recording
from ia3_speech.data.recordings import AudioInput, Recording, as_recording
from ia3_speech.decoding.recognizer import BATCH_SECONDS, Recognizer, load_recognizer, pools
from ia3_speech.decoding.search import SearchOptions

# Longest input, in seconds, of a base without a maximum of its own: 0.4 GB of attention weights a layer.
MAXIMUM_SECONDS = 60.0


@dataclass(frozen=True)
class Transcript:
    """The transcript of one recording.

    Attributes:
        path: as it was given, or as it was found in a folder; `-` is stdin; None for an array.
        text: the hypothesis; "" also where the audio can't be used.
        seconds: length of the audio.
        adapter: the adapter's name, path or sum, as it was given; None for the base alone.
        base: the base's name.
        problem: what is wrong with the audio, as a phrase; None if nothing is.
        usable: whether the audio could be transcribed in spite of it.
        raw_text: the hypothesis, where `text` is what dictation wrote of it.
    """

    path: str | None
    text: str
    seconds: float
    adapter: str | None
    base: str
    problem: str | None = None
    usable: bool = True
    raw_text: str | None = None

    def json(self) -> str:
        """One line: path, text, perhaps raw_text, seconds, adapter, base.

        Bytes of a path that aren't UTF-8 become U+FFFD."""
        path = None if self.path is None else os.fsencode(self.path).decode("utf-8", "replace")
        record = {"path": path, "text": self.text}
        record |= {"raw_text": self.raw_text} if self.raw_text is not None else {}
        record |= {"seconds": round(self.seconds, 3)}
        return json.dumps(record | {"adapter": self.adapter, "base": self.base}, ensure_ascii=False)


def transcribe(
    recordings: AudioInput | Sequence[AudioInput],
    *,
    adapter: str | Path | None = None,
    base: str | Path | None = None,
    recognizer: Recognizer | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    sampling_rate: int = SAMPLE_RATE,
    on_error: Literal["fail", "skip"] = "fail",
) -> Transcript | list[Transcript]:
    """Transcribe one recording, or a list of them; a list gives a list, in the order given.

    Args:
        recordings: paths, open binary files, bytes of files; arrays or tensors: float (samples,), mono, full
            scale ±1; {"array", "sampling_rate"}, {"bytes", "path"} and decoders, as `datasets` yields them.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone.
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        recognizer: what `load_recognizer` returned, to load a base once for many calls; instead of all that
            says what to load.
        device: a torch device; None takes CUDA where there is one.
        dtype: of the base.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: cut longer recordings at pauses; None: the base's maximum input duration, else 60;
            infinite: never.
        sampling_rate: of the arrays and tensors, in Hz.
        on_error: "skip": unusable audio has no text, and its `problem` says why.

    Raises:
        AudioError: a recording can't be used, and on_error is "fail".
        UserError: an adapter or the base is not there, or they don't belong together.
    """
    wanted = (adapter, base, device, dtype, batch_seconds, max_seconds)
    if recognizer is None:
        recognizer = load_for_recordings(
            base, adapter, device=device, dtype=dtype, batch_seconds=batch_seconds, max_seconds=max_seconds
        )
    elif wanted != (None, None, None, "float32", BATCH_SECONDS, None):
        raise ValueError("give a recognizer, or what to load: adapter, base, device …")
    one = is_one_recording(recordings)
    sources = [as_recording(recording) for recording in ([recordings] if one else recordings)]
    results = []
    for result in transcripts(sources, recognizer, sampling_rate=sampling_rate):
        if not result.usable and on_error == "fail":
            raise AudioError(f"{result.path or 'array'}: {result.problem}")
        results.append(result)
    return results[0] if one else results


def load_for_recordings(
    base: str | Path | None,
    adapter: str | Path | None,
    *,
    device: str | None,
    dtype: str,
    batch_seconds: float,
    max_seconds: float | None,
    search: SearchOptions | None = None,
) -> Recognizer:
    """`load_recognizer`, for recordings of any length: no base has memory for an hour at once."""
    recognizer = load_recognizer(
        base,
        adapter,
        device=device,
        dtype=dtype,
        batch_seconds=batch_seconds,
        max_seconds=max_seconds,
        search=search,
    )
    if max_seconds is None and recognizer.max_seconds is None:
        recognizer.max_seconds = MAXIMUM_SECONDS
    return recognizer


def transcripts(
    sources: Iterable[Recording],
    recognizer: Recognizer,
    advance: Callable[[float], Any] = lambda _: None,
    *,
    sampling_rate: int = SAMPLE_RATE,
) -> Iterator[Transcript]:
    """A transcript for each source, in the order given, unusable ones included.

    Some 20 minutes of audio are read, sorted into batches by length, and transcribed at a time.

    Args:
        advance: called after each batch with the seconds of audio that it held.
        sampling_rate: of arrays among the sources, in Hz.
    """
    names = {"adapter": recognizer.name, "base": recognizer.base.name}
    for pool in pools(read_sources(sources, recognizer.base.minimum_samples, sampling_rate)):
        usable = [wave for (_, _, usable), wave in pool if usable]
        texts = iter(recognizer.texts(usable, lambda _, seconds: advance(seconds)))
        for (source, problem, usable), wave in pool:
            text, seconds = next(texts) if usable else "", len(wave) / SAMPLE_RATE
            yield Transcript(source.path, text, seconds, **names, problem=problem, usable=usable)


def read_sources(
    sources: Iterable[Recording], minimum_samples: int, sampling_rate: int
) -> Iterator[tuple[tuple[Recording, str | None, bool], np.ndarray]]:
    """Each source with what is wrong with it and whether a model can use it; and its waveform."""
    for source in sources:
        try:
            wave = source.load(sampling_rate)
        except AudioError as error:
            yield (source, str(error).removeprefix(f"{source.path}: "), False), np.zeros(0, np.float32)
            continue
        problem = find_problem(wave, minimum_samples)
        yield (source, problem and problem.reason, problem is None or not problem.fatal), wave
