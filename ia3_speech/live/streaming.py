"""Streaming: audio that is still being spoken → partial texts, and a final text at each pause.

    stream = StreamingRecognizer(load("mini", adapter="speaker42").recognizer)
    for samples in microphone:                        # float32, 16 kHz mono, in portions of any size
        for event in stream.feed(samples):
            print(event.text, end="\\n" if event.final else "\\r")
    print(*(event.text for event in stream.flush()))

A stream is cut where it pauses (`vad.SpeechDetector`), and speech without a pause as `long_recordings` cuts a
recording. The final text of a piece is the recogniser's text of the whole piece, hence the same as offline;
the cuts do not depend on the portions. Silence between pieces is not transcribed.

For a partial text only the newest logits are computed, with some audio to their left:

    piece:    |~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|
    logits:   |-------- kept ---------|---- new -----|
    computed:          |<--- context --->            |
    kept after it:                        |<- right ->|   all but the last RIGHT_SECONDS, which depend on
                                                          audio that has not come yet

So memory is bounded, and so is the work for a second of audio.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.long_recordings import HOP, MAXIMUM_SECONDS, cut_at_pauses, minimum_samples
from ia3_speech.decoding.recognizer import Memory, Recognizer
from ia3_speech.decoding.segments import PAUSE_SECONDS, PostProcessor, RunningText
from ia3_speech.decoding.transcript import Choice, Word
from ia3_speech.decoding.vad import SpeechDetector

if TYPE_CHECKING:
    from torch import Tensor

PARTIAL_SECONDS = 0.5  # of audio between partial texts
LEAD_SECONDS = 0.5  # before the first speech of a piece: soft beginnings of words are below the threshold
CONTEXT_SECONDS = 5.0  # of audio to the left of new logits
RIGHT_SECONDS = 0.5  # at the end of the audio, whose logits are computed again with the audio after it
PORTION = SAMPLE_RATE  # samples that are processed at once, which bounds the memory of a long portion


@dataclass(frozen=True)
class StreamEvent:
    """A text of a part of the stream."""

    text: str  # of the piece so far, or of the whole piece; it may be empty
    start: float  # where the piece begins, in seconds since the stream began
    end: float  # where it ends, or the end of the audio so far
    final: bool  # whether the piece is finished; else its text may still change
    words: tuple[Word, ...] = ()  # of a final text, with times in the stream, where they are asked for
    raw_text: str | None = None  # the recognised words, where a post-processor wrote `text`
    choice: Choice | None = None  # of a final text's adapter, where one was chosen


class StreamingRecognizer:
    """Turns a stream of audio into texts, with a recogniser's base, adapters and search."""

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        pause_seconds: float = PAUSE_SECONDS,
        partial_seconds: float | None = PARTIAL_SECONDS,
        with_words: bool = False,
    ):
        """
        Args:
            recognizer: its `max_seconds` limits a piece; where it has none, 15 s do.
            pause_seconds: without speech, after which a piece ends; infinite: only its length ends a piece.
            partial_seconds: of audio between partial texts; None: no partial texts, and no work for them.
            with_words: find the words of final texts, with times and confidences.
        """
        if partial_seconds is not None:
            recognizer.base.require("live input")
        self.recognizer = recognizer
        self.with_words = with_words
        self.limit_seconds = recognizer.max_seconds or MAXIMUM_SECONDS
        # Samples that a too long piece needs before it can be cut: see `minimum_samples`
        self.enough = round(self.limit_seconds * SAMPLE_RATE) + minimum_samples(self.limit_seconds)
        self.pause = pause_seconds * SAMPLE_RATE
        self.partial = None if partial_seconds is None else partial_seconds * SAMPLE_RATE
        self.lead = round(LEAD_SECONDS * SAMPLE_RATE)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample begins a new stream."""
        self.detector = SpeechDetector()
        self.wave = np.zeros(0, np.float32)  # samples from `first` on
        self.first = self.end = 0  # of the current piece, in samples of the stream; evaluated up to `end`
        self.last_speech = 0  # the end of the last speech, in samples of the stream
        self.memory: Memory = {}  # of a router's choices
        self.forget_partial()

    def forget_partial(self) -> None:
        """Forget the logits and the text of the last piece, since a new piece begins."""
        self.kept: Tensor | None = None  # logits (frames, vocabulary) from the beginning of the piece
        self.text, self.partial_end = "", self.first

    @property
    def likely(self) -> Recognizer:
        """The recogniser of partial texts: a router's choice so far, else the stream's."""
        router = self.recognizer.router
        return router.likely(self.memory) if router else self.recognizer

    @property
    def speaking(self) -> bool:
        """Whether the current piece holds speech."""
        return self.last_speech > self.first

    def feed(self, samples: np.ndarray) -> list[StreamEvent]:
        """The events after the next samples, float32 `(samples,)`, 16 kHz mono, any number.

        Final texts come in the order of the stream; a partial text, if any, is the last event. Raises
        ValueError for several channels, and for integers, whose full scale is unknown.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or (len(samples) and not np.issubdtype(samples.dtype, np.floating)):
            raise ValueError(f"a stream is fed floats (samples,), not {samples.dtype} {samples.shape}")
        samples = samples.astype(np.float32, copy=False)
        events = []
        for start in range(0, len(samples), PORTION):
            events += self.take_in(samples[start : start + PORTION])
        if self.partial is not None and self.speaking and self.end - self.partial_end >= self.partial:
            events += self.partial_event()
        return events

    def flush(self) -> list[StreamEvent]:
        """The last final texts, at the end of the stream. Then a new stream may begin."""
        self.end = self.first + len(self.wave)  # and the last samples, less than a hop
        events = self.finish_piece(len(self.wave)) if self.speaking else []
        self.reset()
        return events

    def take_in(self, samples: np.ndarray) -> list[StreamEvent]:
        """Evaluate each whole hop, and end pieces."""
        self.wave = np.concatenate([self.wave, samples])
        evaluated = self.end - self.first
        hops = (len(self.wave) - evaluated) // HOP
        events = []
        for is_speech in self.detector.feed(self.wave[evaluated : evaluated + hops * HOP]):
            self.end += HOP
            if is_speech:
                self.last_speech = self.end
            if not self.speaking:
                self.drop(self.end - self.lead - self.first)
            elif self.end - self.last_speech >= self.pause:
                silence = (self.end - self.last_speech) // HOP
                events += self.finish_piece(self.end - silence // 2 * HOP - self.first)
            elif self.end - self.first >= self.enough:
                ((_, cut), *_) = cut_at_pauses(self.wave[: self.enough], self.limit_seconds)
                events.append(self.final_event(cut))
        return events

    def finish_piece(self, samples: int) -> list[StreamEvent]:
        """End the current piece after `samples`. The piece may have to be cut again, at its end."""
        pieces = cut_at_pauses(self.wave[:samples], self.limit_seconds)
        return [self.final_event(end - first) for first, end in pieces]

    def drop(self, samples: int) -> None:
        """Let the current piece begin `samples` later."""
        if samples > 0:
            self.wave = self.wave[samples:]
            self.first += samples
            self.forget_partial()

    def final_event(self, samples: int) -> StreamEvent:
        """The text of the first `samples` of the current piece, which then begins after them."""
        wave, start, text, words, choice = self.wave[:samples], self.first, "", (), None
        if samples >= self.recognizer.base.minimum_samples:
            [recognition] = self.recognizer.recognize_pieces(
                [(start, wave)], None, self.with_words, memories={0: self.memory}
            )
            text, words, choice = recognition.text, recognition.words, next(iter(recognition.choices), None)
        self.drop(samples)
        end = (start + samples) / SAMPLE_RATE
        return StreamEvent(text, start / SAMPLE_RATE, end, True, words, choice=choice)

    def partial_event(self) -> list[StreamEvent]:
        """The text of the current piece so far, if it has changed."""
        self.partial_end = self.end
        logits = self.current_logits()
        text = self.text if logits is None else self.likely.search(logits).text
        if text == self.text:
            return []
        self.text = text
        return [StreamEvent(text, self.first / SAMPLE_RATE, self.end / SAMPLE_RATE, False)]

    def current_logits(self) -> "Tensor | None":
        """Logits (frames, vocabulary) of the current piece so far; None where the piece is too short."""
        import torch

        base = self.recognizer.base
        multiple = base.frame_multiple
        kept = 0 if self.kept is None else len(self.kept)
        context = round(CONTEXT_SECONDS * SAMPLE_RATE / base.stride)
        start = max(0, kept - context) // multiple * multiple
        wave = self.wave[start * base.stride : self.end - self.first]
        if len(wave) < base.minimum_samples:
            return self.kept
        new = self.likely.logits([wave])[0][kept - start :]
        logits = new if self.kept is None else torch.cat([self.kept, new])
        right = round(RIGHT_SECONDS * SAMPLE_RATE / base.stride)
        self.kept = logits[: max(kept, len(logits) - right)]
        return logits


class PostProcessed:
    """Events of a stream with words → events whose texts a post-processor, such as dictation, writes.

    A final text waits until no later word can change it; a partial text is of everything that is not final
    yet. The final texts, with a blank behind each that does not end in a dictated line break, are the whole.
    """

    def __init__(self, post_process: PostProcessor | None, *, partials: bool) -> None:
        self.text = RunningText(post_process) if post_process else None  # else events stay as they are
        self.partials = partials  # whether they are wanted
        # The recognised partial text of the current piece; the last partial text, "" after a final text.
        self.current = self.shown = ""

    def events(self, recognized: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
        """Final texts after these events, then at most one partial text."""
        if self.text is None:
            yield from recognized
            return
        event = None
        for event in recognized:
            self.current = "" if event.final else event.text
            if event.words:
                yield from self.finals(self.text.add(event.words))
        if event is not None and self.partials:
            # The words of a partial text have no times.
            following = [Word(word, event.end, event.end, 1.0) for word in self.current.split()]
            text = self.text.preview(following)
            if text != self.shown:
                self.shown = text
                start = self.text.words[0].start if self.text.words else event.start
                yield StreamEvent(text, start, event.end, False)

    def flush(self) -> Iterator[StreamEvent]:
        """The final texts that still wait, at the end of the stream."""
        yield from self.finals(self.text.finish() if self.text else ())

    def finals(self, segments: Iterable[tuple[list[Word], str]]) -> Iterator[StreamEvent]:
        for words, text in segments:
            raw = " ".join(word.text for word in words)
            self.shown = ""
            yield StreamEvent(text, words[0].start, words[-1].end, True, tuple(words), raw_text=raw)
