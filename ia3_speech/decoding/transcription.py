"""Transcripts of recordings: files, open files, bytes, arrays or tensors in, `Transcript`s out.

    asr = ia3_speech.load("mini", adapter="speaker42")
    asr.transcribe("audio.wav", word_timestamps=True).words   # or an array, a tensor …; or a list of these
    for segment in asr.stream("lecture.mp3"): print(segment.start, segment.text)

`transcribe("audio.wav", adapter="speaker42")` does both in one call.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.confidence.reliability import Scaling
from ia3_speech.data.audio import SAMPLE_RATE, AudioError, find_problem
from ia3_speech.data.recordings import AudioInput, Recording, as_recording, is_one_recording
from ia3_speech.decoding.channels import (
    bank_of,
    channel_names,
    merge_by_time,
    parse_channel_adapters,
    split_channels,
)
from ia3_speech.decoding.recognizer import (
    BATCH_SECONDS,
    RecognizedPiece,
    Recognizer,
    load_recognizer,
    pools,
)
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.decoding.segments import PostProcess, make_segments
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment
from ia3_speech.decoding.vad import Method, default_method

# Longest input, in seconds, of a base without a maximum of its own: 0.4 GB of attention weights a layer.
MAXIMUM_SECONDS = 60.0

Advance = Callable[[float], Any]


@dataclass
class Transcriber:
    """A recogniser that transcribes whatever holds audio; see `load`.

    Attributes:
        recognizer: a base, perhaps with an adapter, or with a bank of those of a call's channels.
        post_process: applied to the recognised text of each recording, or channel; `raw_text` keeps what was
            recognised. Of dictation (`DictationOptions.formatter()`) the segments have each its part; any
            other function is applied to each segment by itself.
        split: transcribe the channels of a recording one by one, and merge their segments by time.
        channel_adapters: the name of each channel's adapter in the bank; a channel that is not named has the
            base alone. None: all have the recogniser's adapter.
    """

    recognizer: Recognizer
    post_process: PostProcess | None = None
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
        one = is_one_recording(recordings)
        sources = [as_recording(recording) for recording in ([recordings] if one else recordings)]
        results = []
        for result in self.transcripts(sources, with_words=word_timestamps, sampling_rate=sampling_rate):
            if not result.usable and on_error == "fail":
                raise AudioError(f"{result.path or 'array'}: {result.problem}")
            results.append(result)
        return results[0] if one else results

    def stream(
        self, recording: AudioInput, *, sampling_rate: int = SAMPLE_RATE
    ) -> Iterator[TranscriptSegment]:
        """The segments of one recording as soon as they are done: the same as `transcribe` gives.

        With dictation a segment waits until 20 words or more follow (`segments.CONTEXT_WORDS`), since
        the words behind it may change what is written of it: "five hundred", "milligrams" → "500 mg".

        Raises:
            AudioError: the recording can't be used.
            ValueError: its channels are to be transcribed one by one, and merged.
        """
        if self.split:
            raise ValueError("the segments of split channels are merged at the end (take transcribe)")
        ((source, problem, usable), wave) = next(
            read_sources([as_recording(recording)], self.recognizer.base.minimum_samples, sampling_rate)
        )
        if not usable:
            raise AudioError(f"{source.path or 'array'}: {problem}")
        words = (word for piece in self.recognizer.stream(wave) for word in piece.words)
        yield from make_segments(words, self.post_process)

    def transcripts(
        self,
        sources: Iterable[Recording],
        advance: Advance = lambda _: None,
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
        for pool in pools(read_sources(sources, recognizer.base.minimum_samples, sampling_rate)):
            usable = [wave for (_, _, usable), wave in pool if usable]
            found = iter(
                recognizer.recognize(usable, lambda _, seconds: advance(seconds), with_words=with_words)
            )
            for (source, problem, usable), wave in pool:
                pieces, segments = next(found) if usable else [], None
                if with_words:
                    segments = tuple(make_segments(words_in(pieces), self.post_process, at_once=True))
                raw = " ".join(piece.text for piece in pieces if piece.text)
                yield self.result(source, raw, len(wave), problem, usable, segments)

    def call(self, source: Recording, advance: Advance) -> Transcript:
        """The transcript of a recording whose channels are transcribed one by one."""
        try:
            waves = split_channels(source)
        except AudioError as error:
            return self.result(source, "", 0, str(error).removeprefix(f"{source.path}: "), False, ())
        names = channel_names(len(waves))
        problems = [find_problem(wave, self.recognizer.base.minimum_samples) for wave in waves]
        reasons = [f"{name}: {found.reason}" for name, found in zip(names, problems, strict=True) if found]
        usable = not any(found and found.fatal for found in problems)
        segments: list[tuple[TranscriptSegment, ...]] = []
        if usable:
            chosen = self.channel_adapters
            adapters = None if chosen is None else [chosen.get(name) for name in names]
            found = self.recognizer.recognize(
                waves, lambda _, seconds: advance(seconds / len(waves)), adapters, with_words=True
            )
            segments = [
                tuple(make_segments(words_in(pieces), self.post_process, name, at_once=True))
                for name, pieces in zip(names, found, strict=True)
            ]
        merged = merge_by_time(segments)
        raw = "\n".join(f"{segment.channel}: {segment.raw_text}" for segment in merged)
        return self.result(
            source, raw, len(waves[0]), "; ".join(reasons) or None, usable, merged, channels=names
        )

    def result(
        self,
        source: Recording,
        raw_text: str,
        samples: int,
        problem: str | None,
        usable: bool,
        segments: tuple[TranscriptSegment, ...] | None,
        channels: tuple[str, ...] = (),
    ) -> Transcript:
        """A transcript, after `post_process`."""
        text = raw_text
        if self.post_process and channels:
            text = "\n".join(segment.line for segment in segments or ())
        elif self.post_process:
            text = self.post_process(raw_text)
        recognizer = self.recognizer
        return Transcript(
            source.path, text, samples / SAMPLE_RATE, recognizer.name, recognizer.base.name, problem, usable,
            raw_text if self.post_process else None, segments, source.id, channels,
        )  # fmt: skip


def words_in(pieces: Iterable[RecognizedPiece]) -> Iterator[Any]:
    """The words of all pieces."""
    return (word for piece in pieces for word in piece.words)


def load(
    base: str | Path | None = None,
    *,
    adapter: str | Path | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
    precision: Literal["no", "bf16", "auto"] = "no",
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    search: SearchOptions | None = None,
    vad: Method | None = None,
    scaling: Scaling | None = None,
    channels: Literal["mix", "split"] = "mix",
    post_process: PostProcess | None = None,
) -> Transcriber:
    """Load a base, and an adapter, to transcribe with.

    Args:
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone;
            left=agent,right=caller: one for each channel.
        device: a torch device; None takes CUDA where there is one.
        dtype: of the base.
        precision: bf16: the encoder's layers compute in bfloat16; auto: where the device has instructions for
            it; no: all in `dtype`.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: cut longer recordings at pauses; None: the base's maximum input duration, else 60;
            infinite: never.
        search: how logits become text; None: see `SearchOptions`.
        vad: how speech is found where longer recordings are cut: off, energy or silero; None: silero where it
            is installed, else energy.
        scaling: of the words' confidences; None: the adapter's or the base's own, see `load_recognizer`.
        channels: mix averages those of a recording; split transcribes them one by one, merged by time.
        post_process: applied to recognised text, such as dictation.

    Raises:
        UserError: an adapter or the base is not there, or they don't belong together.
    """
    split = channels == "split"
    by_channel = parse_channel_adapters(adapter) if split else None
    recognizer = load_for_recordings(
        base,
        None if by_channel else adapter,
        device=device,
        dtype=dtype,
        precision=precision,
        batch_seconds=batch_seconds,
        max_seconds=max_seconds,
        search=search,
        vad=vad,
        scaling=scaling,
        bank=bank_of(by_channel.values()) if by_channel else None,
    )
    if by_channel:
        recognizer.name = str(adapter)
    return Transcriber(recognizer, post_process, split, by_channel)


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
    word_timestamps: bool = False,
    on_error: Literal["fail", "skip"] = "fail",
) -> Transcript | list[Transcript]:
    """Load a recogniser, and `Transcriber.transcribe` one recording, or a list of them.

    Args:
        recordings: as for `Transcriber.transcribe`.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone.
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        recognizer: what `load_recognizer` returned, to load a base once for many calls; instead of all that
            says what to load.
        device: a torch device; None takes CUDA where there is one.
        dtype: of the base.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: cut longer recordings at pauses; None: the base's maximum input duration, else 60;
            infinite: never.
        sampling_rate, word_timestamps, on_error: as for `Transcriber.transcribe`.

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
    return Transcriber(recognizer).transcribe(
        recordings, word_timestamps=word_timestamps, sampling_rate=sampling_rate, on_error=on_error
    )


def load_for_recordings(
    base: str | Path | None,
    adapter: str | Path | None,
    *,
    device: str | None,
    dtype: str,
    batch_seconds: float,
    max_seconds: float | None,
    precision: str = "no",
    search: SearchOptions | None = None,
    vad: Method | None = None,
    scaling: Scaling | None = None,
    bank: Mapping[str, Path] | None = None,
) -> Recognizer:
    """`load_recognizer`, for recordings of any length: no base has memory for an hour at once, and long ones
    are cut where nobody speaks (`vad` None: by silero where it is installed, else by energy)."""
    recognizer = load_recognizer(
        base,
        adapter,
        device=device,
        dtype=dtype,
        precision=precision,
        batch_seconds=batch_seconds,
        max_seconds=max_seconds,
        search=search,
        vad=default_method() if vad is None else vad,
        scaling=scaling,
        bank=bank,
    )
    if max_seconds is None and recognizer.max_seconds is None:
        recognizer.max_seconds = MAXIMUM_SECONDS
    return recognizer


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
