"""Subtitles: SubRip (.srt) and WebVTT (.vtt), with Whisper's options.

    1
    00:00:00,260 --> 00:00:01,480
    take two tablets

Without options a subtitle is a segment. `max_line_width` breaks it into lines; with `max_line_count` too,
subtitles are filled with words wherever segments end, and only a pause of 3 s begins a new one; with
`highlight_words` there is a subtitle for each word. Text of dictation, whose words have no times of their
own, is spread evenly over its segment.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import groupby, pairwise

from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment, Word
from ia3_speech.decoding.word_times import spread_words

LONG_PAUSE = 3.0  # seconds from the start of one word to that of the next, as in Whisper
UNBROKEN = 1000  # characters: the width of a line that is never broken, as in Whisper

Lines = list[list[Word]]


@dataclass(frozen=True)
class Cue:
    """A subtitle."""

    start: int  # milliseconds; it is shown for one at least
    end: int
    lines: Lines  # words of each line
    channel: str | None  # who speaks, if that is known
    highlighted: Word | None = None  # the word that is underlined

    def text(self, escape: Callable[[str], str]) -> str:
        """The lines, with each word escaped."""

        def shown(word: Word) -> str:
            text = escape(word.text)
            return f"<u>{text}</u>" if word is self.highlighted else text

        return "\n".join(" ".join(map(shown, line)) for line in self.lines)


def to_srt(transcript: Transcript, options: OutputOptions) -> str:
    """SubRip. `-->` within the text becomes `->`, as in Whisper's files."""
    blocks = []
    for number, cue in enumerate(cues(transcript.segments or (), options), start=1):
        times = f"{subtitle_time(cue.start, ',')} --> {subtitle_time(cue.end, ',')}"
        name = f"{cue.channel}: " if cue.channel else ""
        text = cue.text(lambda text: text.replace("-->", "->"))
        blocks.append(f"{number}\n{times}\n{name}{text}\n\n")
    return "".join(blocks)


def to_vtt(transcript: Transcript, options: OutputOptions) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/), & < > escaped; of a call with voice tags."""
    blocks = ["WEBVTT\n\n"]
    for cue in cues(transcript.segments or (), options):
        times = f"{subtitle_time(cue.start, '.')} --> {subtitle_time(cue.end, '.')}"
        voice = f"<v {cue.channel}>" if cue.channel else ""
        text = cue.text(partial(escape, quote=False))
        blocks.append(f"{times}\n{voice}{text}\n\n")
    return "".join(blocks)


def subtitle_time(milliseconds: int, point: str) -> str:
    """`01:02:03,004`; WebVTT's, with a point, leaves out hours where there are none, as Whisper does."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours:02}:" if hours or point == "," else ""
    return f"{shown}{minutes:02}:{seconds:02}{point}{rest:03}"


def cues(segments: Sequence[TranscriptSegment], options: OutputOptions) -> Iterator[Cue]:
    """The subtitles of a recording, in the order of time."""
    keep_segments = options.max_line_width is None or options.max_line_count is None
    for channel, words in groups(segments, keep_segments):
        lines = in_lines(words, options.max_line_width or UNBROKEN)
        count = options.max_line_count or len(lines)
        for first in range(0, len(lines), count):
            yield from cues_of_lines(lines[first : first + count], channel, options.highlight_words)


def groups(
    segments: Sequence[TranscriptSegment], keep_segments: bool
) -> Iterator[tuple[str | None, list[Word]]]:
    """The words of subtitles that are divided only where they are too long: a segment each, or all of a
    speaker's turn up to a long pause."""
    if keep_segments:
        yield from ((one.channel, shown_words(one)) for one in segments)
        return
    for channel, turn in groupby(segments, key=lambda one: one.channel):
        words = [word for segment in turn for word in shown_words(segment)]
        starts = [n for n in range(1, len(words)) if words[n].start - words[n - 1].start > LONG_PAUSE]
        yield from ((channel, words[first:end]) for first, end in pairwise([0, *starts, len(words)]))


def shown_words(segment: TranscriptSegment) -> list[Word]:
    """The words as they are shown."""
    if segment.text == segment.raw_text:
        return list(segment.words)
    return spread_words(segment.text.split(), segment.start, segment.end)


def in_lines(words: Sequence[Word], width: int) -> Lines:
    """The words in lines of at most `width` characters; a longer word is a line of its own."""
    lines: Lines = []
    length = 0
    for word in words:
        if lines and length + 1 + len(word.text) <= width:
            lines[-1].append(word)
            length += 1 + len(word.text)
        else:
            lines.append([word])
            length = len(word.text)
    return lines


def cues_of_lines(lines: Lines, channel: str | None, highlight: bool) -> Iterator[Cue]:
    """The lines as one subtitle; or one for each word, and for each pause between words."""
    words = [word for line in lines for word in line]
    start, end = round(1000 * words[0].start), round(1000 * words[-1].end)
    if not highlight:
        yield Cue(start, max(end, start + 1), lines, channel)
        return
    last = start
    for word in words:
        first, end = round(1000 * word.start), round(1000 * word.end)
        if last < first:
            yield Cue(last, first, lines, channel)
        first = max(first, last)
        last = max(end, first + 1)
        yield Cue(first, last, lines, channel, word)
