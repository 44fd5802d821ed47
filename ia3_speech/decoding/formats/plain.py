"""Plain text: the text on a line, a line a segment, and Whisper's table of segments."""

from ia3_speech.decoding.formats.layout import Layout
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment


def to_text(transcript: Transcript, _layout: Layout) -> str:
    """The text and a line end; of a call, a line a segment, since its speakers take turns."""
    return to_txt(transcript, _layout) if transcript.channels else f"{transcript.text}\n"


def to_txt(transcript: Transcript, _layout: Layout) -> str:
    """A line a segment."""
    return "".join(f"{segment.line}\n" for segment in transcript.segments or ())


def to_tsv(transcript: Transcript, _layout: Layout) -> str:
    """Whisper's table: start and end in whole milliseconds, and the text, after a heading.

    start	end	text
    0	1480	take two tablets
    """
    return "start\tend\ttext\n" + "".join(map(tsv_line, transcript.segments or ()))


def tsv_line(segment: TranscriptSegment) -> str:
    return f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{segment.line}\n"
