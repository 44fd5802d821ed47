"""Time-marked files of NIST's sclite, which Kaldi writes and reads: ctm (words) and stm (segments).

    a 1 0.26 0.22 take 0.98            ctm: recording, channel, start, duration, word, confidence
    a 1 a 0.26 1.48 take two tablets   stm: recording, channel, speaker, start, end, text

ctm is that of Kaldi's lattice-to-ctm-conf, all numbers with two decimals. The channel is 1, or A and B of a
call's two. Lines are sorted as sclite wants them: by recording and channel, then by time. Definitions:
https://github.com/usnistgov/SCTK/blob/master/doc/infmts.htm.
"""

import os
import re

from ia3_speech.decoding.formats.layout import Layout
from ia3_speech.decoding.transcript import Transcript
from ia3_speech.scoring.ctm import CHANNEL, ctm_line

# What sclite takes for alternatives ({ a / b }), optional words ((a)), labels (<a>) and nothing (@).
SCLITE_SYNTAX = re.compile(r"[{}<>()]")


def to_ctm(transcript: Transcript, _layout: Layout) -> str:
    """A line a word."""
    lines = []
    for channel, segment in by_channel(transcript):
        for word in segment.words:
            times = word.start, word.end
            lines.append(ctm_line(recording_id(transcript), *times, word.text, word.confidence, channel))
    return "".join(lines)


def to_stm(transcript: Transcript, _layout: Layout) -> str:
    """A line a segment. Brackets, which mean something to sclite, are left out of its text."""
    lines, name = [], recording_id(transcript)
    for channel, segment in by_channel(transcript):
        words = SCLITE_SYNTAX.sub(" ", segment.text).split()
        text = " ".join(word for word in words if word not in ("@", "/"))
        speaker = f"{name}-{segment.channel}" if segment.channel else name
        start, end = round(100 * segment.start), round(100 * segment.end)
        if text:
            lines.append(
                f"{name} {channel} {speaker} {start / 100:.2f} {max(start + 1, end) / 100:.2f} {text}\n"
            )
    return "".join(lines)


def by_channel(transcript: Transcript) -> list:
    """(NIST's name of its channel, segment), by channel and then by time."""
    names = {name: chr(ord("A") + number) for number, name in enumerate(transcript.channels)}
    found = [(names.get(segment.channel, CHANNEL), segment) for segment in transcript.segments or ()]
    return sorted(found, key=lambda pair: (pair[0], pair[1].start))


def recording_id(transcript: Transcript) -> str:
    """The recording's id without white space, and without the ;; that begins a comment."""
    name = os.fsencode(transcript.id).decode("utf-8", "replace")
    return "_".join(re.sub(r"^;+", "_", name).split()) or "recording"
