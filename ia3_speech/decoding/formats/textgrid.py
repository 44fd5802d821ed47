"""Praat's TextGrid: an interval tier of segments and one of words, of each channel.

The long text format as Praat itself writes it, in UTF-8; intervals fill the whole recording, those without
text included (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html).
"""

from collections.abc import Iterable

from ia3_speech.decoding.formats.layout import Layout
from ia3_speech.decoding.transcript import Transcript

Span = tuple[int, int, str]  # first and last millisecond, label


def to_textgrid(transcript: Transcript, _layout: Layout) -> str:
    """The file's content."""
    tiers = {}
    for channel in transcript.channels or (None,):
        segments = [segment for segment in transcript.segments or () if segment.channel == channel]
        prefix = f"{channel} - " if channel else ""
        words = (word for segment in segments for word in segment.words)
        labels = ((s.start, s.end, " ".join(s.text.split())) for s in segments)
        tiers[f"{prefix}segments"] = spans(labels)
        tiers[f"{prefix}words"] = spans((word.start, word.end, word.text) for word in words)
    ends = [tier[-1][1] for tier in tiers.values() if tier]
    end = max(1, round(1000 * transcript.seconds), *ends)
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {seconds(end)} ",
        "tiers? <exists> ", f"size = {len(tiers)} ", "item []: ",
    ]  # fmt: skip
    for number, (name, tier) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{number}]:", *tier_lines(name, without_gaps(tier, end), end)]
    return "\n".join(lines) + "\n"


def spans(labels: Iterable[tuple[float, float, str]]) -> list[Span]:
    """Labels in whole milliseconds, none of them empty or before the end of the last."""
    found: list[Span] = []
    for start, end, text in labels:
        first = max(round(1000 * start), found[-1][1] if found else 0)
        found.append((first, max(round(1000 * end), first + 1), text))
    return found


def without_gaps(tier: list[Span], end: int) -> list[Span]:
    """The tier with empty intervals in its gaps, from 0 to `end`."""
    intervals: list[Span] = []
    last = 0
    for first, stop, text in tier:
        intervals += [(last, first, "")] if first > last else []
        intervals.append((first, stop, text))
        last = stop
    return intervals + ([(last, end, "")] if last < end else [])


def tier_lines(name: str, intervals: list[Span], end: int) -> list[str]:
    lines = [
        '        class = "IntervalTier" ', f'        name = "{name}" ', "        xmin = 0 ",
        f"        xmax = {seconds(end)} ", f"        intervals: size = {len(intervals)} ",
    ]  # fmt: skip
    for number, (first, stop, text) in enumerate(intervals, start=1):
        quoted = text.replace('"', '""')
        lines += [
            f"        intervals [{number}]:", f"            xmin = {seconds(first)} ",
            f"            xmax = {seconds(stop)} ", f'            text = "{quoted}" ',
        ]  # fmt: skip
    return lines


def seconds(milliseconds: int) -> str:
    """`1.5`, as Praat writes it: without zeros at the end."""
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")
