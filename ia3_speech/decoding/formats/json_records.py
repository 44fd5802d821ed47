"""JSON: an object a recording, with the keys of OpenAI's `verbose_json`; or an object a segment.

The keys of `verbose_json` (https://platform.openai.com/docs/api-reference/audio/verbose-json-object) that a
CTC model has no value for are there all the same, for programs that read them: `language` is null,
`temperature` (of sampling), `seek` and `no_speech_prob` are 0, since segments exist only where words were
found. `tokens` are the base's symbols; `avg_logprob` is of a symbol. `confidence`, `raw_text` (before
dictation) and `channel` are ours.
"""

import json
import zlib
from typing import Any

from ia3_speech.decoding.formats.layout import Layout
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment, Word


def to_json(transcript: Transcript, layout: Layout) -> str:
    """One line: an object with path, text, seconds, adapter and base; with `layout.full_json` also task,
    language, duration and segments, and with `layout.word_timestamps` words."""
    record: dict[str, Any] = transcript.record()
    if transcript.segments is not None and layout.full_json:
        segments = [verbose_segment(n, segment) for n, segment in enumerate(transcript.segments)]
        record |= {"task": "transcribe", "language": None, "duration": round(transcript.seconds, 3)}
        record |= {"segments": segments}
    if transcript.segments is not None and layout.word_timestamps:
        record["words"] = [word_record(w, s.channel) for s in transcript.segments for w in s.words]
    return json.dumps(record, ensure_ascii=False) + "\n"


def to_jsonl(transcript: Transcript, layout: Layout) -> str:
    """A line a segment."""
    segments = enumerate(transcript.segments or ())
    return "".join(segment_line(transcript, number, segment, layout) for number, segment in segments)


def segment_line(transcript: Transcript, number: int, segment: TranscriptSegment, layout: Layout) -> str:
    """The recording's path; the segment's number, start, end, text and confidence; perhaps its words.

    {"path": "a.wav", "id": 0, "start": 0.26, "end": 1.48, "text": "take two", "confidence": 0.9312}
    """
    record = {"path": transcript.record()["path"], "id": number, **times_of(segment), "text": segment.text}
    record |= {"confidence": round(segment.confidence, 4), **extras(segment)}
    if layout.word_timestamps:
        record["words"] = [word_record(word, None) for word in segment.words]
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
        **extras(segment),
    }


def word_record(word: Word, channel: str | None) -> dict[str, Any]:
    record = {"word": word.text, **times_of(word), "confidence": round(word.confidence, 4)}
    return record | ({"channel": channel} if channel else {})


def times_of(span: Word | TranscriptSegment) -> dict[str, float]:
    return {"start": round(span.start, 3), "end": round(span.end, 3)}


def extras(segment: TranscriptSegment) -> dict[str, str]:
    """What only some segments have."""
    raw = {} if segment.raw_text == segment.text else {"raw_text": segment.raw_text}
    return raw | ({"channel": segment.channel} if segment.channel else {})
