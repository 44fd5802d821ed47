"""Subtitles: SubRip (.srt) and WebVTT (.vtt), with Whisper's options.

    1
    00:00:00,260 --> 00:00:01,480
    take two tablets

Without options a subtitle is a segment. `max_line_width` breaks it into lines; with `max_line_count` too,
subtitles are filled with words across segments, and only a pause of 3 s begins a new subtitle; with
`highlight_words` there is a subtitle for each word. Words of a dictated text have no times, so they are
spread evenly over the segment.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import groupby, pairwise
from typing import TypeVar

from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment, Word
from ia3_speech.decoding.word_times import spread_words

LONG_PAUSE = 3.0  # seconds from the start of a word to the start of the next, as in Whisper
UNBROKEN = 1000  # characters: the width of an unbroken line, as in Whisper

Label = TypeVar("Label")


@dataclass(frozen=True)
class Cue:
    """A subtitle."""

    start: int  # milliseconds; it is shown for at least one millisecond
    end: int
    lines: list[list[Word]]  # words of each line
    channel: str | None  # the speaker, if known
    highlighted: Word | None = None  # the underlined word

    def text(self, escape: Callable[[str], str]) -> str:
        """The lines, with each word escaped."""
        return "\n".join(
            " ".join(f"<u>{escape(w.text)}</u>" if w is self.highlighted else escape(w.text) for w in line)
            for line in self.lines
        )

    def times(self, point: str) -> str:
        """`00:00:00,260 --> 00:00:01,480`; with a point, for WebVTT, without zero hours, as in Whisper."""
        shown = []
        for milliseconds in (self.start, self.end):
            minutes, rest = divmod(milliseconds, 60_000)
            hours, minutes = divmod(minutes, 60)
            hours = f"{hours:02}:" if hours or point == "," else ""
            shown.append(f"{hours}{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}")
        return " --> ".join(shown)


def to_srt(transcript: Transcript, options: OutputOptions) -> str:
    """SubRip. `-->` within the text becomes `->`, as in Whisper's files."""
    blocks = []
    for number, cue in enumerate(cues(transcript.segments or (), options), start=1):
        name = f"{cue.channel}: " if cue.channel else ""
        text = cue.text(lambda text: text.replace("-->", "->"))
        blocks.append(f"{number}\n{cue.times(',')}\n{name}{text}\n\n")
    return "".join(blocks)


def to_vtt(transcript: Transcript, options: OutputOptions) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/), & < > escaped; of a call with voice tags."""
    blocks = ["WEBVTT\n\n"]
    for cue in cues(transcript.segments or (), options):
        voice = f"<v {cue.channel}>" if cue.channel else ""
        blocks.append(f"{cue.times('.')}\n{voice}{cue.text(partial(escape, quote=False))}\n\n")
    return "".join(blocks)


def cues(segments: Sequence[TranscriptSegment], options: OutputOptions) -> Iterator[Cue]:
    """The subtitles of a recording, in the order of time."""
    for channel, words in groups(segments, options):
        lines: list[list[Word]] = []
        length = width = options.max_line_width or UNBROKEN
        for word in words:  # a longer word is a line of its own
            if not lines or length + 1 + len(word.text) > width:
                lines.append([])
                length = -1
            lines[-1].append(word)
            length += 1 + len(word.text)
        count = options.max_line_count or len(lines)
        for first in range(0, len(lines), count):
            block = lines[first : first + count]
            shown = [word for line in block for word in line]
            spans = [(shown[0].start, shown[-1].end, None)]  # a single subtitle
            if options.highlight_words:  # for each word and each pause between words
                spans = [(word.start, word.end, word) for word in shown]
            for start, end, word in without_overlap(spans, round(1000 * shown[0].start)):
                yield Cue(start, end, block, channel, word)


def groups(
    segments: Sequence[TranscriptSegment], options: OutputOptions
) -> Iterator[tuple[str | None, list[Word]]]:
    """The channel and words of subtitles before the division of long ones: the words of each segment, or all
    words of a speaker up to another speaker or a long pause."""
    shown = [
        (s.channel, list(s.words) if s.text == s.raw_text else spread_words(s.text.split(), s.start, s.end))
        for s in segments
    ]
    if options.max_line_width is None or options.max_line_count is None:
        yield from shown
        return
    for channel, parts in groupby(shown, key=lambda pair: pair[0]):
        words = [word for _, part in parts for word in part]
        starts = [n for n in range(1, len(words)) if words[n].start - words[n - 1].start > LONG_PAUSE]
        yield from ((channel, words[first:end]) for first, end in pairwise([0, *starts, len(words)]))


def without_overlap(
    spans: Iterable[tuple[float, float, Label]], last: int = 0
) -> Iterator[tuple[int, int, Label | None]]:
    """(start, end, label) of spans, in whole milliseconds, at least one each, in order without overlap; None
    is the label of a gap before a span. `last`: the end of what comes before."""
    for start, end, label in spans:
        first = max(round(1000 * start), last)
        if first > last:
            yield last, first, None
        last = max(round(1000 * end), first + 1)
        yield first, last, label
