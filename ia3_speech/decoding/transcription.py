"""Transcripts of recordings: files, open files, bytes, arrays or tensors in, `Transcript`s out.

    asr = ia3_speech.load("mini", adapter="speaker42")
    asr.transcribe("audio.wav", word_timestamps=True).words   # or an array, a tensor …; or a list of these
    for segment in asr.stream("lecture.mp3"): print(segment.start, segment.text)

Calls: the channels of a recording can be transcribed one by one, each perhaps with an adapter of its own
(`ia3-speech transcribe --channels split --adapter left=agent,right=caller call.wav`). They are named left and
right, or 1, 2, 3 … where there are more than two.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.adapters.expressions import Term, parse_terms
from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE, AudioError, find_problem, load_channels
from ia3_speech.data.recordings import AudioInput, Recording, as_recording, is_one_recording
from ia3_speech.decoding.recognizer import RecognizedPiece, Recognizer, joined_text, pools
from ia3_speech.decoding.segments import PostProcessor, make_segments, written_text
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment, Word

STEREO = ("left", "right")


@dataclass
class Transcriber:
    """A recogniser that transcribes whatever holds audio; see `loading.load`.

    Attributes:
        recognizer: a base, perhaps with an adapter, or with a bank of those of a call's channels.
        post_process: writes the text of each recording, or channel, of the recognised words, of which the
            segments have each its part; `raw_text` keeps what was recognised.
        split: transcribe the channels of a recording one by one, and merge their segments by time.
        channel_adapters: the name of each channel's adapter in the bank; a channel that is not named has the
            base alone. None: all have the recogniser's adapter.
    """

    recognizer: Recognizer
    post_process: PostProcessor | None = None
    split: bool = False
    channel_adapters: Mapping[str, str] | None = None

    def transcribe(
        self,
        recordings: AudioInput | Sequence[AudioInput],
        *,
        word_timestamps: bool = False,
        sampling_rate: int = SAMPLE_RATE,
        on_error: Literal["fail", "skip"] = "fail",
    ) -> Transcript | list[Transcript]:
        """Transcribe one recording, or a list of them; a list gives a list, in the order given.

        Args:
            recordings: paths, open binary files, bytes of files; arrays or tensors: float (samples,), mono,
                full scale ±1; {"array", "sampling_rate"}, {"bytes", "path"} and decoders, as `datasets`
                yields them.
            word_timestamps: find times and confidences: `Transcript.segments` and `Transcript.words`.
            sampling_rate: of the arrays and tensors, in Hz.
            on_error: "skip": unusable audio has no text, and its `problem` says why.

        Raises:
            AudioError: a recording can't be used, and on_error is "fail".
        """
        single = is_one_recording(recordings)
        sources = [as_recording(recording) for recording in ([recordings] if single else recordings)]
        results = []
        for result in self.transcripts(sources, with_words=word_timestamps, sampling_rate=sampling_rate):
            if not result.usable and on_error == "fail":
                raise AudioError(f"{result.path or 'array'}: {result.problem}")
            results.append(result)
        return results[0] if single else results

    def stream(
        self, recording: AudioInput, *, sampling_rate: int = SAMPLE_RATE
    ) -> Iterator[TranscriptSegment]:
        """The segments of one recording as soon as they are done: the same as `transcribe` gives.

        With dictation a segment waits until no word behind it can change what is written of it: "five
        hundred", "milligrams" → "500 mg".

        Raises:
            AudioError: the recording can't be used.
            ValueError: its channels are to be transcribed one by one, and merged.
        """
        if self.split:
            raise ValueError("the segments of split channels are merged at the end (take transcribe)")
        audio = read_audio(as_recording(recording), self.recognizer.base.minimum_samples, sampling_rate)
        if not audio.usable:
            raise AudioError(f"{audio.source.path or 'array'}: {audio.problem}")
        yield from make_segments(words_of_pieces(self.recognizer.stream(audio.wave)), self.post_process)

    def transcripts(
        self,
        sources: Iterable[Recording],
        advance: Callable[[float], Any] = lambda _: None,
        *,
        with_words: bool = False,
        sampling_rate: int = SAMPLE_RATE,
    ) -> Iterator[Transcript]:
        """A transcript for each source, in the order given, unusable ones included.

        Some 20 minutes of audio are read, sorted into batches by length, and transcribed at a time; split
        channels, recording by recording.

        Args:
            advance: called after each batch with the seconds of audio that it held.
            with_words: find times and confidences too; split channels always have them.
            sampling_rate: of arrays among the sources, in Hz.
        """
        if self.split:
            yield from (self.call(source, advance) for source in sources)
            return
        recognizer = self.recognizer
        timed = with_words or self.post_process is not None  # dictation needs to know the pauses
        read = (read_audio(one, recognizer.base.minimum_samples, sampling_rate) for one in sources)
        for pool in pools((audio, audio.wave) for audio in read):
            waves = [audio.wave for audio, _ in pool if audio.usable]
            recognized = iter(recognizer.recognize(waves, lambda _, s: advance(s), with_words=timed))
            for audio, wave in pool:
                pieces, segments = next(recognized) if audio.usable else [], None
                words = [*words_of_pieces(pieces)]
                if with_words:
                    segments = tuple(make_segments(words, self.post_process))
                raw = joined_text(pieces)
                text = written_text(words, self.post_process) if self.post_process else raw
                yield self.result(audio, text, raw, len(wave), segments)

    def call(self, source: Recording, advance: Callable[[float], Any]) -> Transcript:
        """The transcript of a recording whose channels are transcribed one by one."""
        try:
            waves = split_channels(source)
        except AudioError as error:
            problem = str(error).removeprefix(f"{source.path}: ")
            return self.result(ReadAudio(source, problem, False), "", "", 0, ())
        names = channel_names(len(waves))
        problems = [find_problem(wave, self.recognizer.base.minimum_samples) for wave in waves]
        reasons = [f"{name}: {one.reason}" for name, one in zip(names, problems, strict=True) if one]
        usable = not any(one and one.fatal for one in problems)
        segments: list[TranscriptSegment] = []
        if usable:
            by_channel = self.channel_adapters
            adapters = None if by_channel is None else [by_channel.get(name) for name in names]
            channels = self.recognizer.recognize(
                waves, lambda _, seconds: advance(seconds / len(waves)), adapters, with_words=True
            )
            for name, pieces in zip(names, channels, strict=True):
                segments += make_segments(words_of_pieces(pieces), self.post_process, name)
        segments.sort(key=lambda segment: (segment.start, segment.end))
        raw = "\n".join(f"{segment.channel}: {segment.raw_text}" for segment in segments)
        text = "\n".join(segment.line for segment in segments)
        audio = ReadAudio(source, "; ".join(reasons) or None, usable)
        return self.result(audio, text, raw, len(waves[0]), tuple(segments), names)

    def result(
        self,
        audio: "ReadAudio",
        text: str,
        raw_text: str,
        samples: int,
        segments: tuple[TranscriptSegment, ...] | None,
        channels: tuple[str, ...] = (),
    ) -> Transcript:
        """A transcript."""
        recognizer, source = self.recognizer, audio.source
        return Transcript(
            source.path, text, samples / SAMPLE_RATE, recognizer.name, recognizer.base.name, audio.problem,
            audio.usable, raw_text if self.post_process else None, segments, source.id, channels,
        )  # fmt: skip


def words_of_pieces(pieces: Iterable[RecognizedPiece]) -> Iterator[Word]:
    """The words of all pieces."""
    return (word for piece in pieces for word in piece.words)


@dataclass(frozen=True)
class ReadAudio:
    """A recording that was read.

    Attributes:
        source: the recording.
        problem: what is wrong with its audio, as a phrase; None if nothing is.
        usable: whether a model can use it in spite of that.
        wave: float32 (samples,), 16 kHz.
    """

    source: Recording
    problem: str | None
    usable: bool
    wave: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)


def read_audio(source: Recording, minimum_samples: int, sampling_rate: int = SAMPLE_RATE) -> ReadAudio:
    """Read a recording; `sampling_rate` is that of arrays, in Hz."""
    try:
        wave = source.load(sampling_rate)
    except AudioError as error:
        return ReadAudio(source, str(error).removeprefix(f"{source.path}: "), False)
    problem = find_problem(wave, minimum_samples)
    return ReadAudio(source, problem and problem.reason, problem is None or not problem.fatal, wave)


# ---- channels


def channel_names(count: int) -> tuple[str, ...]:
    """left and right; of any other number of channels, 1, 2, 3 …"""
    return STEREO if count == 2 else tuple(str(number) for number in range(1, count + 1))


def parse_channel_adapters(adapter: str | Path | None) -> dict[str, str] | None:
    """`left=agent,right=caller` → the adapter of each channel; None where `adapter` is one for all channels.

    Raises:
        UserError: a channel is named twice or not as channels are, or has no adapter.
    """
    text = "" if adapter is None else str(adapter)
    name = text.partition("=")[0].strip()
    if "=" not in text or not (name in STEREO or name.isdecimal()):
        return None
    adapters: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not (name in STEREO or name.isdecimal()) or name in adapters or not value:
            raise UserError(f'--adapter "{text}": "{part}" is not CHANNEL=ADAPTER (left=agent,right=caller)')
        adapters[name] = value
    return adapters


def bank_of(adapters: Iterable[str]) -> dict[str, Path]:
    """What a bank loads for these adapters, which may be sums: each term's name and folder."""
    terms: list[Term] = [term for adapter in adapters for term in parse_terms(adapter)]
    return {term.name: term.folder for term in terms}


def split_channels(recording: Recording) -> list[np.ndarray]:
    """float32 (samples,), 16 kHz, of each channel.

    Raises:
        AudioError: as `load_channels`; or there is one channel, or none that can be told apart.
    """
    source = recording.audio
    if isinstance(source, bytes | bytearray):
        source = io.BytesIO(source)
    if not (isinstance(source, str | Path) or hasattr(source, "read")):
        raise AudioError("channels are split of files alone (give a path)")
    channels = load_channels(source)
    if len(channels) < 2:
        raise AudioError("has one channel (leave out --channels split)")
    return channels
