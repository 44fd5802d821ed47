"""Transcripts of recordings: files, open files, bytes, arrays or tensors in, `Transcript`s out.

    asr = ia3_speech.load("mini", adapter="speaker42")
    asr.transcribe("audio.wav", word_timestamps=True).words   # or an array, a tensor …; or a list of these
    for segment in asr.stream("lecture.mp3"): print(segment.start, segment.text)

    asr = ia3_speech.load("mini")                             # an adapter a request, on one base
    asr.transcribe("a.wav", adapter="clinic"), asr.transcribe("b.wav", adapter="accent:0.5+medical:0.5")

Any number of threads may use a `Transcriber`: its batches run side by side, each with its adapters (see
`adapters.bank`).

Calls: the channels of a recording can be transcribed separately, each perhaps with its adapter (`ia3-speech
transcribe --channels split --adapter left=agent,right=caller call.wav`). Two channels are named left and
right, other numbers 1, 2, 3 ….
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.adapters.spec import BASE_ALONE, AdapterSpec, parse_adapter
from ia3_speech.common.errors import AudioError
from ia3_speech.data.audio import SAMPLE_RATE, load_channels
from ia3_speech.data.recordings import AudioInput, Recording, as_recording, is_one_recording, leave_undecoded
from ia3_speech.data.utterance import Problem, find_problem, load_checked
from ia3_speech.decoding.recognizer import Recognizer, pools
from ia3_speech.decoding.segments import PostProcessor, make_segments, written_text
from ia3_speech.decoding.transcript import Choice, Transcript, TranscriptSegment


@dataclass(frozen=True)
class Transcriber:
    """Transcribes recordings; `session.load` makes one."""

    recognizer: Recognizer
    # Writes the text of each recording, or channel, from the recognised words, which `raw_text` holds
    post_process: PostProcessor | None = None
    split: bool = False  # transcribe the channels of a recording separately, and merge their segments by time
    # Makes recognisers with other adapters: `session.Session`, or a graph of ONNX Runtime
    session: Any = None
    guard: bool | None = None  # of these requests, as for `load`

    def with_adapter(self, adapter: str | Path | AdapterSpec) -> "Transcriber":
        """This transcriber with an adapter (a name, a folder, a sum), which is loaded on first use, and again
        if its files have changed. Base, search and loaded adapters are shared.

        Raises:
            UserError: there is no such adapter, it is of another base, or an adapter of another method than
                IA³ was loaded for all requests.
        """
        spec = parse_adapter(adapter, split=self.split, guard=self.guard)
        return replace(self, recognizer=self.session.recognizer(spec))

    def transcribe(
        self,
        recordings: AudioInput | Sequence[AudioInput],
        *,
        adapter: str | Path | None = None,
        word_timestamps: bool = False,
        sampling_rate: int = SAMPLE_RATE,
        on_error: Literal["fail", "skip"] = "fail",
    ) -> Transcript | list[Transcript]:
        """Transcribe a recording, or a list of recordings; a list gives a list, in the same order.

        Args:
            recordings: paths, open binary files, bytes of files; arrays or tensors: float (samples,), mono,
                full scale ±1; {"array", "sampling_rate"}, {"bytes", "path"} and decoders of `datasets`.
            adapter: for this request (see `with_adapter`); None: the loaded adapter.
            word_timestamps: find times and confidences: `Transcript.segments` and `Transcript.words`.
            sampling_rate: of the arrays and tensors, in Hz.
            on_error: "skip": unusable audio has no text, and its `problem` gives the reason.

        Raises:
            AudioError: a recording can't be used, and `on_error` is "fail".
            UserError: as `with_adapter`.
        """
        transcriber = self if adapter is None else self.with_adapter(adapter)
        single = is_one_recording(recordings)
        leave_undecoded()
        recordings = [recordings] if single else recordings
        sources = [as_recording(recording, sampling_rate) for recording in recordings]
        results = []
        for result in transcriber.transcripts(sources, with_words=word_timestamps):
            if not result.usable and on_error == "fail":
                raise AudioError(f"{result.path or 'array'}: {result.problem}")
            results.append(result)
        return results[0] if single else results

    def stream(
        self,
        recording: AudioInput,
        advance: Callable[[float], Any] = lambda _: None,
        *,
        sampling_rate: int = SAMPLE_RATE,
    ) -> Iterator[TranscriptSegment]:
        """The segments of a recording as soon as they are done; they equal those of `transcribe`. `advance`
        is called after each batch with its seconds of audio.

        With dictation a segment waits until no later word can change its written text: "five hundred",
        "milligrams" → "500 mg".

        Raises:
            AudioError: the recording can't be used.
            ValueError: this transcriber splits channels, whose segments are merged at the end.
        """
        if self.split:
            raise ValueError("the segments of split channels are merged at the end (take transcribe)")
        source = as_recording(recording, sampling_rate)
        wave, problem = load_checked(source.load, source.path, self.recognizer.base.minimum_samples)
        if problem and problem.fatal:
            raise AudioError(f"{source.path or 'array'}: {problem.reason}")
        yield from make_segments(self.recognizer.stream(wave, advance), self.post_process)

    def transcripts(
        self,
        sources: Iterable[Recording],
        advance: Callable[[float], Any] = lambda _: None,
        *,
        with_words: bool = False,
    ) -> Iterator[Transcript]:
        """A transcript for each source, in order, also for unusable sources.

        Some 20 minutes of audio are read, sorted into batches by length, and transcribed at a time; split
        channels, recording by recording.

        Args:
            advance: called after each batch with its seconds of audio.
            with_words: find times and confidences too; split channels always have them.
        """
        if self.split:
            yield from (self.call(source, advance) for source in sources)
            return
        post_process, recognizer = self.post_process, self.recognizer
        timed = with_words or post_process is not None  # dictation needs the pauses

        def read() -> Iterator[tuple[tuple[Recording, Problem | None, int], np.ndarray]]:
            for source in sources:
                wave, problem = load_checked(source.load, source.path, self.recognizer.base.minimum_samples)
                yield (source, problem, len(wave)), wave[:0] if problem and problem.fatal else wave

        for pool in pools(read()):
            recognitions = recognizer.recognize(
                [wave for _, wave in pool], lambda _, seconds: advance(seconds), with_words=timed
            )
            for ((source, problem, samples), _), recognition in zip(pool, recognitions, strict=True):
                raw, words = recognition.text, recognition.words
                yield self.transcript(
                    source,
                    samples,
                    text=written_text(words, post_process) if post_process else raw,
                    raw_text=raw,
                    problem=problem and problem.reason,
                    usable=not (problem and problem.fatal),
                    choices=recognition.choices,
                    language=recognition.language,
                    segments=tuple(make_segments(words, post_process)) if with_words else None,
                )

    def call(self, source: Recording, advance: Callable[[float], Any]) -> Transcript:
        """The transcript of a recording whose channels are transcribed separately."""
        adapters, minimum = dict(self.recognizer.spec.channels), self.recognizer.base.minimum_samples
        try:
            waves = split_channels(source)
            names = channel_names(len(waves))
            if unknown := adapters.keys() - {*names}:
                raise AudioError(f"has no channel {min(unknown)} for the adapter (it has {', '.join(names)})")
        except AudioError as error:
            problem = str(error).removeprefix(f"{source.path}: ")
            return self.transcript(source, 0, text="", problem=problem, usable=False, segments=())
        problems = {name: find_problem(wave, minimum) for name, wave in zip(names, waves, strict=True)}
        problems = {name: problem for name, problem in problems.items() if problem}
        usable = not any(problem.fatal for problem in problems.values())
        segments: list[TranscriptSegment] = []
        choices: list[Choice] = []
        if usable:
            rows = [adapters.get(name, BASE_ALONE).terms for name in names] if adapters else None
            recognitions = self.recognizer.recognize(
                waves, lambda _, seconds: advance(seconds / len(waves)), rows, with_words=True
            )
            for name, recognition in zip(names, recognitions, strict=True):
                segments += make_segments(recognition.words, self.post_process, name)
                choices += [replace(choice, channel=name) for choice in recognition.choices]
        segments.sort(key=lambda segment: (segment.start, segment.end))
        return self.transcript(
            source,
            len(waves[0]),
            text="\n".join(segment.line for segment in segments),
            raw_text="\n".join(f"{segment.channel}: {segment.raw_text}" for segment in segments),
            problem="; ".join(f"{name}: {problem.reason}" for name, problem in problems.items()) or None,
            usable=usable,
            segments=tuple(segments),
            channels=names,
            choices=tuple(choices),
        )

    def transcript(self, source: Recording, samples: int, raw_text: str = "", **contents: Any) -> Transcript:
        """The transcript of a recording with `samples` samples, at 16 kHz; `contents` are more fields."""
        return Transcript(
            path=source.path,
            id=source.id,
            seconds=samples / SAMPLE_RATE,
            adapter=self.recognizer.name,
            base=self.recognizer.base.name,
            task=self.recognizer.base.task,
            raw_text=raw_text if self.post_process else None,
            **contents,
        )


def channel_names(count: int) -> tuple[str, ...]:
    """left and right; of any other number of channels, 1, 2, 3 …"""
    return ("left", "right") if count == 2 else tuple(str(number) for number in range(1, count + 1))


def split_channels(recording: Recording) -> list[np.ndarray]:
    """float32 (samples,), 16 kHz, of each channel. Raises AudioError."""
    source = recording.audio
    if isinstance(source, bytes | bytearray):
        source = io.BytesIO(source)
    if not (isinstance(source, str | Path) or hasattr(source, "read")):
        raise AudioError("only the channels of files can be split (give a path)")
    channels = load_channels(source)
    if len(channels) < 2:
        raise AudioError("has a single channel, and can't be split")
    return channels
