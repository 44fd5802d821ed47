"""File formats of transcripts: for each a function from a `Transcript` to the content of a file.

    text      only the text, on a line
    dictation the text after dictation
    txt       a line for each segment
    json      an object: path, text, seconds, adapter, base; with segments, the keys of OpenAI's verbose_json
    jsonl     an object for each segment
    srt vtt   subtitles
    csv       a row for each word, with its confidence
    tsv       start, end (milliseconds) and text of each segment, under a heading
    ctm       Kaldi's, a line for each word
    stm       NIST's, a line for each segment
    textgrid  Praat's, a tier of segments and a tier of words

txt, json, srt, vtt and tsv have the names and meanings of Whisper's. `FORMATS` lists all; a new format is a
line there.

JSON has the keys of OpenAI's `verbose_json` (https://platform.openai.com/docs/api-reference/audio). It also
has the keys for which there is no value: `language` is null for a CTC base, `temperature` (of sampling),
`seek` and `no_speech_prob` are 0, since every segment contains words. `tokens` are the base's symbols;
`avg_logprob` is per symbol. OpenAI's format lacks `confidence`, `raw_text` (before dictation) and `channel`.

    a 1 0.26 0.22 take 0.98            ctm: recording, channel, start, duration, word, confidence
    a 1 a 0.26 1.48 take two tablets   stm: recording, channel, speaker, start, end, text

ctm follows Kaldi's lattice-to-ctm-conf, with two decimals. The channel is 1, or A and B for the two of a
call. Lines are sorted for sclite: by recording and channel, then by time. Definitions:
https://github.com/usnistgov/SCTK/blob/master/doc/infmts.htm. The TextGrid is Praat's long text format
(https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html).
"""

import csv
import io
import json
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ia3_speech.common.errors import UserError
from ia3_speech.data.recordings import Part
from ia3_speech.decoding import subtitles
from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment, Word, times_of

CONFIDENCES = "hyp.ctm"  # in a decode directory: its words with their confidences
CHANNEL = "1"  # of a recording whose channels are not distinguished
# sclite's syntax of alternatives ({ a / b }), optional words ((a)), labels (<a>) and nothing (@).
SCLITE_SYNTAX = re.compile(r"[{}<>()]")


def to_text(transcript: Transcript, options: OutputOptions) -> str:
    """The text and a line end; for a call, a line for each segment, since its speakers take turns."""
    if transcript.channels:
        return to_txt(transcript, options)
    lines = transcript.segments and [line_of(segment, options) for segment in transcript.segments]
    return " ".join(lines or ()) + "\n" if options.review_below is not None else f"{transcript.text}\n"


def to_txt(transcript: Transcript, options: OutputOptions) -> str:
    return "".join(f"{line_of(segment, options)}\n" for segment in transcript.segments or ())


def line_of(segment: TranscriptSegment, options: OutputOptions) -> str:
    """A segment on a line; `[word?]` is a word of less confidence than `review_below`."""
    if options.review_below is None:
        return segment.line
    words = (f"[{w.text}?]" if w.confidence < options.review_below else w.text for w in segment.words)
    return replace(segment, text=" ".join(words)).line


def to_csv(transcript: Transcript, options: OutputOptions) -> str:
    """A row for each word, after a heading; with `review_below`, a column marks words for review.

    recording,channel,start,end,word,confidence,review
    a,,0.26,0.48,take,0.6231,yes
    """
    text, limit = io.StringIO(), options.review_below
    recording = os.fsencode(transcript.id).decode("utf-8", "replace")  # a file's name may not be UTF-8
    writer = csv.writer(text, lineterminator="\n")
    review = [] if limit is None else ["review"]
    writer.writerow(["recording", "channel", "start", "end", "word", "confidence", *review])
    for segment in transcript.segments or ():
        for word in segment.words:
            row = [recording, segment.channel or "", *times_of(word).values(), word.text]
            marks = ["yes" if word.confidence < limit else ""] if review else []
            writer.writerow([*row, round(word.confidence, 4), *marks])
    return text.getvalue()


def to_tsv(transcript: Transcript, _: OutputOptions) -> str:
    """Whisper's table: start and end in whole milliseconds, and the text, after a heading.

    start	end	text
    0	1480	take two tablets
    """
    rows = ((round(1000 * s.start), round(1000 * s.end), s.line) for s in transcript.segments or ())
    return "start\tend\ttext\n" + "".join(f"{start}\t{end}\t{line}\n" for start, end, line in rows)


def to_json(transcript: Transcript, options: OutputOptions) -> str:
    """A line: an object with path, text, seconds, adapter and base; with `options.full_json` also task,
    language, duration and segments, and with `options.word_timestamps` words."""
    record: dict[str, Any] = transcript.record()
    timed, segments = transcript.segments is not None, transcript.segments or ()
    if timed and options.full_json:
        record |= {"task": transcript.task, "language": transcript.language}
        record |= {"duration": round(transcript.seconds, 3)}
        record["segments"] = [verbose_segment(number, segment) for number, segment in enumerate(segments)]
    if timed and options.word_timestamps:
        channels = [(word, segment.channel) for segment in segments for word in segment.words]
        record["words"] = [word_record(*pair, options.alternatives) for pair in channels]
    return json.dumps(record, ensure_ascii=False) + "\n"


def to_jsonl(transcript: Transcript, options: OutputOptions) -> str:
    segments = enumerate(transcript.segments or ())
    return "".join(segment_line(transcript, number, segment, options) for number, segment in segments)


def segment_line(
    transcript: Transcript, number: int, segment: TranscriptSegment, options: OutputOptions
) -> str:
    """The recording's path, and the segment's number, start, end, text, confidence, and perhaps words.

    {"path": "a.wav", "id": 0, "start": 0.26, "end": 1.48, "text": "take two", "confidence": 0.9312}
    """
    record = {"path": transcript.record()["path"], "id": number, **times_of(segment), "text": segment.text}
    record |= {"confidence": round(segment.confidence, 4), **raw_text_and_channel(segment)}
    if options.word_timestamps:
        record["words"] = [word_record(word, None, options.alternatives) for word in segment.words]
    return json.dumps(record, ensure_ascii=False) + "\n"


def verbose_segment(number: int, segment: TranscriptSegment) -> dict[str, Any]:
    data = segment.text.encode("utf-8", "replace")
    return {
        "id": number,
        "seek": 0,
        **times_of(segment),
        "text": segment.text,
        "tokens": [token for word in segment.words for token in word.tokens],
        "temperature": 0.0,
        "avg_logprob": round(segment.mean_log_probability, 4),
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "no_speech_prob": 0.0,
        "confidence": round(segment.confidence, 4),
        **raw_text_and_channel(segment),
    }


def word_record(word: Word, channel: str | None, alternatives: int = 0) -> dict[str, Any]:
    """word, start, end, confidence; perhaps at most `alternatives` alternatives, and the channel."""
    record = {"word": word.text, **times_of(word), "confidence": round(word.confidence, 4)}
    record |= {"alternatives": [*texts]} if (texts := word.alternatives[:alternatives]) else {}
    return record | ({"channel": channel} if channel else {})


def raw_text_and_channel(segment: TranscriptSegment) -> dict[str, str]:
    raw = {} if segment.raw_text == segment.text else {"raw_text": segment.raw_text}
    return raw | ({"channel": segment.channel} if segment.channel else {})


def ctm_line(recording: str, word: Word, channel: str = CHANNEL, digits: int = 2) -> str:
    """A line with its line end. `digits`: decimals of the confidence; times have two."""
    first, last = round(100 * word.start), round(100 * word.end)
    times = f"{first / 100:.2f} {max(1, last - first) / 100:.2f}"
    return f"{recording} {channel} {times} {word.text} {word.confidence:.{digits}f}\n"


def read_words(path: Path) -> dict[str, list[Word]]:
    """{utterance id: its words, in order} of a ctm file of utterances. Raises UserError if the file can't be
    read, or a line lacks a word with a confidence of 0 to 1."""
    from ia3_speech.data.kaldi.table_file import read_utf8  # only the readers need data directories

    lines = read_utf8(path, "ia3-speech decode writes it").splitlines()
    words: dict[str, list[Word]] = {}
    for number, line in enumerate(lines, 1):
        try:
            utterance, _, start, duration, word, confidence = line.split(" ")
            entry = Word(word, float(start), float(start) + float(duration), float(confidence))
            is_probability = 0 <= entry.confidence <= 1
        except ValueError:
            is_probability = False
        if not is_probability:
            form = "`utterance channel start duration word confidence`, with a confidence of 0 to 1"
            raise UserError(f"{path}:{number}: is not {form} (ia3-speech decode --force writes it again)")
        words.setdefault(utterance, []).append(entry)
    return words


def to_ctm(transcript: Transcript, _: OutputOptions) -> str:
    name = recording_id(transcript)
    return "".join(
        ctm_line(name, word, channel) for channel, segment in by_channel(transcript) for word in segment.words
    )


def to_stm(transcript: Transcript, _: OutputOptions) -> str:
    """A line for each segment, without brackets in its text, which have a meaning for sclite."""
    lines, name = [], recording_id(transcript)
    for channel, segment in by_channel(transcript):
        words = SCLITE_SYNTAX.sub(" ", segment.text).split()
        text = " ".join(word for word in words if word not in ("@", "/"))
        speaker = f"{name}-{segment.channel}" if segment.channel else name
        start, end = round(100 * segment.start), round(100 * segment.end)
        if text:
            times = f"{start / 100:.2f} {max(start + 1, end) / 100:.2f}"
            lines.append(f"{name} {channel} {speaker} {times} {text}\n")
    return "".join(lines)


def by_channel(transcript: Transcript) -> list[tuple[str, TranscriptSegment]]:
    """(NIST's name of the channel, segment), by channel and then by time."""
    names = {name: chr(ord("A") + number) for number, name in enumerate(transcript.channels)}
    segments = [(names.get(segment.channel, CHANNEL), segment) for segment in transcript.segments or ()]
    return sorted(segments, key=lambda pair: (pair[0], pair[1].start))


def recording_id(transcript: Transcript) -> str:
    """The recording's id without white space, and without the ;; that begins a comment."""
    name = os.fsencode(transcript.id).decode("utf-8", "replace")
    return "_".join(re.sub(r"^;+", "_", name).split()) or "recording"


def to_textgrid(transcript: Transcript, _: OutputOptions) -> str:
    """An interval tier of segments and a tier of words, for each channel. Intervals fill the whole recording,
    with empty texts in the gaps."""
    tiers = {}
    for channel in transcript.channels or (None,):
        segments = [segment for segment in transcript.segments or () if segment.channel == channel]
        prefix = f"{channel} - " if channel else ""
        texts = [(s.start, s.end, " ".join(s.text.split())) for s in segments]
        words = [(w.start, w.end, w.text) for s in segments for w in s.words]
        tiers[f"{prefix}segments"] = [*subtitles.without_overlap(texts)]
        tiers[f"{prefix}words"] = [*subtitles.without_overlap(words)]
    end = max(1, round(1000 * transcript.seconds), *(tier[-1][1] for tier in tiers.values() if tier))
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {seconds(end)} ",
        "tiers? <exists> ", f"size = {len(tiers)} ", "item []: ",
    ]  # fmt: skip
    for number, (name, tier) in enumerate(tiers.items(), start=1):
        last = tier[-1][1] if tier else 0
        tier = [*tier, (last, end, None)] if last < end else tier
        lines += [
            f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{name}" ',
            "        xmin = 0 ", f"        xmax = {seconds(end)} ",
            f"        intervals: size = {len(tier)} ",
        ]  # fmt: skip
        for place, (first, stop, text) in enumerate(tier, start=1):
            quoted = (text or "").replace('"', '""')
            lines += [
                f"        intervals [{place}]:", f"            xmin = {seconds(first)} ",
                f"            xmax = {seconds(stop)} ", f'            text = "{quoted}" ',
            ]  # fmt: skip
    return "\n".join(lines) + "\n"


def seconds(milliseconds: int) -> str:
    """`1.5`, as Praat writes it: without zeros at the end."""
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Format:
    """A file format."""

    # Returns the content of a file, which ends in a line end unless it is empty
    write: Callable[[Transcript, OutputOptions], str]
    suffix: str  # of its files
    timed: bool = True  # whether it needs segments
    joined: bool = False  # whether stdout may hold several recordings


FORMATS = {
    "text": Format(to_text, ".txt", timed=False, joined=True),
    "dictation": Format(to_text, ".txt", timed=False, joined=True),
    "txt": Format(to_txt, ".txt"),
    "json": Format(to_json, ".json", timed=False, joined=True),
    "jsonl": Format(to_jsonl, ".jsonl", joined=True),
    "srt": Format(subtitles.to_srt, ".srt"),
    "vtt": Format(subtitles.to_vtt, ".vtt"),
    "tsv": Format(to_tsv, ".tsv"),
    "csv": Format(to_csv, ".csv"),
    "ctm": Format(to_ctm, ".ctm", joined=True),
    "stm": Format(to_stm, ".stm", joined=True),
    "textgrid": Format(to_textgrid, ".TextGrid"),
}
ALL = [name for name in FORMATS if name not in ("text", "dictation")]  # `txt` has their file name
SUBTITLES, OBJECTS = ("srt", "vtt"), ("json", "jsonl")
CHANGED_FORMATS = {  # option → the formats on which it has an effect
    **dict.fromkeys(("max_line_width", "max_line_count", "highlight_words"), SUBTITLES),
    "alternatives": OBJECTS,
    # Whisper's command lines ask for word times to lay out subtitles, which have times in any case.
    "word_timestamps": OBJECTS + SUBTITLES,
}


def parse_formats(names: str) -> list[str]:
    """`txt,json` → these formats, `all` → all. Raises UserError if there is no such format, or two have the
    same file name."""
    formats: list[str] = []
    for name in names.lower().replace(" ", "").split(","):
        if name != "all" and name not in FORMATS:
            raise UserError(f"`format`: {name!r} is none of {', '.join(FORMATS)}, all")
        formats += [each for each in (ALL if name == "all" else [name]) if each not in formats]
    if len(texts := [name for name in formats if FORMATS[name].suffix == ".txt"]) > 1:
        raise UserError(f"`format`: {' and '.join(texts)} both write .txt files (leave one out)")
    return formats


def check_output(options: OutputOptions) -> None:
    """Raises UserError for options that contradict each other."""
    formats = parse_formats(options.format)
    format_option = f"`format={options.format}`"
    if len(formats) > 1 and options.output_dir is None:
        raise UserError(f"{format_option} writes several files (give `output_dir`)")
    if options.skip_existing and options.output_dir is None:
        raise UserError("`skip_existing` has no effect without `output_dir`")
    if options.alternatives < 0:
        raise UserError(f"`alternatives={options.alternatives}`: must be 0 or more")
    for name, changed in CHANGED_FORMATS.items():
        value = getattr(options, name)
        if value and not {*formats} & {*changed}:
            raise UserError(f"`{name}` has no effect on {format_option} (take {' or '.join(changed[:2])})")
        if name.startswith("max") and value is not None and value < 1:
            raise UserError(f"`{name}` is {value}, and must be at least 1")
    limit = options.review_below
    if limit is not None and not (0 <= limit <= 1 and {*formats} & {"text", "txt", "csv"}):
        raise UserError(f"`review_below={limit:g}`: must be from 0 to 1, and is for text, txt and csv")
    Part.parse(options.part)


def is_timed(options: OutputOptions) -> bool:
    """Whether the output holds times."""
    formats = parse_formats(options.format)
    is_asked_for = options.word_timestamps or options.review_below is not None
    return is_asked_for or ("json" in formats and options.full_json) or any(FORMATS[f].timed for f in formats)
