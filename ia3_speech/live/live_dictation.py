"""Dictation of live input: events of a stream → the same speech as it is written.

    dictation = LiveDictation(DictationOptions().formatter(), partials=True)
    for event in dictation.events(stream.feed(samples)): ...     # a `StreamingRecognizer` with words
    for event in [*dictation.events(stream.flush()), *dictation.flush()]: ...

In: `StreamEvent`s, final ones with words. Out: events whose texts are dictation. The grammar sees the running
text, so a final text waits until no word behind it can change it, some 20 words, or until the stream ends; a
partial text is of everything that is not final yet. Line breaks that were dictated stand in the texts, at
their ends too: the final texts, with a blank behind each that does not end in a line break, are what
dictation writes of the whole.
"""

from collections.abc import Iterable, Iterator

from ia3_speech.decoding.segments import RunningText
from ia3_speech.decoding.transcript import Word
from ia3_speech.dictation import Writer
from ia3_speech.live.streaming import StreamEvent


class LiveDictation:
    """Writes what a stream tells.

    Attributes:
        partials: whether partial texts are wanted.
        current: the partial text of the piece that is being spoken, as it was recognised.
        shown: the partial text that was told last; "" after a final one.
    """

    def __init__(self, write: Writer, *, partials: bool) -> None:
        self.text, self.partials = RunningText(write), partials
        self.current = self.shown = ""

    def events(self, heard: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
        """What is to be told after these events: final texts, then at most one partial text."""
        event = None
        for event in heard:
            self.current = "" if event.final else event.text
            if event.words:
                self.text.add(event.words)
                yield from self.finals(self.text.take_ready())
        if event is not None and self.partials:
            yield from self.partial_event(event)

    def flush(self) -> Iterator[StreamEvent]:
        """The stream has ended: the final texts of what waits."""
        yield from self.finals(self.text.take_rest())

    def finals(self, written: Iterable[tuple[list[Word], str]]) -> Iterator[StreamEvent]:
        for words, text in written:
            raw = " ".join(word.text for word in words)
            self.shown = ""
            yield StreamEvent(
                text.rstrip(" "), words[0].start, words[-1].end, True, tuple(words), raw_text=raw
            )

    def partial_event(self, last: StreamEvent) -> Iterator[StreamEvent]:
        """What is written so far of everything that is not final, if it has changed."""
        text = "".join(piece.text for piece in self.text.waiting(self.current.split())).rstrip(" ")
        if text != self.shown:
            self.shown = text
            waiting = self.text.words[self.text.done :]
            yield StreamEvent(text, waiting[0].start if waiting else last.start, last.end, False)
