"""Formats of transcripts: to the byte, and as independent readers understand 500 random transcripts."""

import html
import json
import random
import re
from itertools import pairwise

import pytest

from ia3_speech.cli import UserError
from ia3_speech.decoding.formats import ALL, FORMATS, parse_formats
from ia3_speech.decoding.formats.writers import segment_line
from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.segments import make_segments
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment, Word

WORDS = (Word("take", 0.26, 0.48, 0.9812, (2, 3)), Word("two", 0.5, 0.8, 0.5, (4,)))
LAST = (Word("don't", 3661.0, 3661.5, 1.0, (5,)),)
SEGMENTS = (TranscriptSegment(0.26, 0.8, "take two", WORDS), TranscriptSegment(3661.0, 3661.5, "don't", LAST))
TRANSCRIPT = Transcript("d/a b.wav", "take two don't", 3662.25, None, "mini", segments=SEGMENTS)


def written(name: str, transcript: Transcript = TRANSCRIPT, **options) -> str:
    return FORMATS[name].write(transcript, OutputOptions(**options))


# ---- to the byte


def test_plain():
    assert written("text") == "take two don't\n" and written("txt") == "take two\ndon't\n"
    assert written("tsv") == "start\tend\ttext\n260\t800\ttake two\n3661000\t3661500\tdon't\n"
    heading = "recording,channel,start,end,word,confidence"
    assert written("csv", review_below=0.6) == (
        f"{heading},review\na b,,0.26,0.48,take,0.9812,\na b,,0.5,0.8,two,0.5,yes\n"
        "a b,,3661.0,3661.5,don't,1.0,\n"
    )
    assert written("csv").splitlines()[:2] == [heading, "a b,,0.26,0.48,take,0.9812"]
    assert written("txt", review_below=0.6) == "take [two?]\ndon't\n"


def test_subtitles():
    assert written("srt") == (
        "1\n00:00:00,260 --> 00:00:00,800\ntake two\n\n2\n01:01:01,000 --> 01:01:01,500\ndon't\n\n"
    )
    assert written("vtt") == (
        "WEBVTT\n\n00:00.260 --> 00:00.800\ntake two\n\n01:01:01.000 --> 01:01:01.500\ndon't\n\n"
    )
    assert written("srt", max_line_width=5).startswith("1\n00:00:00,260 --> 00:00:00,800\ntake\ntwo\n\n2\n")
    assert written("srt", max_line_width=5, max_line_count=1).startswith(
        "1\n00:00:00,260 --> 00:00:00,480\ntake\n\n2\n00:00:00,500 --> 00:00:00,800\ntwo\n\n3\n"
    )
    assert written("vtt", highlight_words=True).startswith(
        "WEBVTT\n\n00:00.260 --> 00:00.480\n<u>take</u> two\n\n00:00.480 --> 00:00.500\ntake two\n\n"
        "00:00.500 --> 00:00.800\ntake <u>two</u>\n\n"
    )


def test_kaldi_and_nist():
    assert written("ctm") == (
        "a_b 1 0.26 0.22 take 0.98\na_b 1 0.50 0.30 two 0.50\na_b 1 3661.00 0.50 don't 1.00\n"
    )
    assert written("stm") == "a_b 1 a_b 0.26 0.80 take two\na_b 1 a_b 3661.00 3661.50 don't\n"


def test_textgrid():
    short = Transcript("a.wav", "take two", 1.0, None, "mini", segments=SEGMENTS[:1])
    content = written("textgrid", short)
    assert content.startswith(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 1 \ntiers? <exists> \n'
        'size = 2 \nitem []: \n    item [1]:\n        class = "IntervalTier" \n        name = "segments" \n'
        "        xmin = 0 \n        xmax = 1 \n        intervals: size = 3 \n        intervals [1]:\n"
        '            xmin = 0 \n            xmax = 0.26 \n            text = "" \n        intervals [2]:\n'
        '            xmin = 0.26 \n            xmax = 0.8 \n            text = "take two" \n'
    )


def test_json():
    plain = {
        "path": "d/a b.wav",
        "text": "take two don't",
        "seconds": 3662.25,
        "adapter": None,
        "base": "mini",
    }
    assert json.loads(written("json")) == plain
    full = json.loads(written("json", word_timestamps=True))
    assert {key: full[key] for key in plain} == plain and full["duration"] == 3662.25
    assert full["segments"][0] == {
        "id": 0, "seek": 0, "start": 0.26, "end": 0.8, "text": "take two", "tokens": [2, 3, 4],
        "temperature": 0.0, "avg_logprob": -0.2374, "compression_ratio": 0.5, "no_speech_prob": 0.0,
        "confidence": 0.7406,
    }  # fmt: skip
    assert full["words"][1] == {"word": "two", "start": 0.5, "end": 0.8, "confidence": 0.5}
    assert written("jsonl").splitlines()[0] == (
        '{"path": "d/a b.wav", "id": 0, "start": 0.26, "end": 0.8, "text": "take two", "confidence": 0.7406}'
    )
    assert (
        segment_line(TRANSCRIPT, 0, SEGMENTS[0], OutputOptions()) == written("jsonl").splitlines()[0] + "\n"
    )


def test_a_call():
    left = TranscriptSegment(0.26, 0.8, "take two", WORDS, "left")
    right = TranscriptSegment(0.4, 0.6, "hm", (Word("hm", 0.4, 0.6, 0.7),), "right")
    call = Transcript("c.wav", "", 2.0, None, "mini", segments=(left, right), channels=("left", "right"))
    assert written("text", call) == written("txt", call) == "left: take two\nright: hm\n"
    assert written("ctm", call) == "c A 0.26 0.22 take 0.98\nc A 0.50 0.30 two 0.50\nc B 0.40 0.20 hm 0.70\n"
    assert written("stm", call) == "c A c-left 0.26 0.80 take two\nc B c-right 0.40 0.60 hm\n"
    assert "<v left>take two\n" in written("vtt", call) and "right: hm\n" in written("srt", call)
    assert 'name = "right - words"' in written("textgrid", call)
    assert json.loads(written("jsonl", call).splitlines()[1])["channel"] == "right"


def test_dictation_keeps_the_raw_text_beside_it():
    spoken = TranscriptSegment(0.26, 0.8, "Take 2.\n\nNow", WORDS)
    result = Transcript("a.wav", "Take 2.\n\nNow", 1.0, None, "mini", raw_text="take two", segments=(spoken,))
    assert json.loads(written("json", result))["raw_text"] == "take two"
    assert json.loads(written("jsonl", result))["raw_text"] == "take two"
    assert written("srt", result) == "1\n00:00:00,260 --> 00:00:00,800\nTake 2. Now\n\n"
    assert written("ctm", result).count("\n") == 2 and written("txt", result) == "Take 2. Now\n"


def test_names_of_formats():
    assert parse_formats("srt,JSON, srt") == ["srt", "json"]
    assert parse_formats("all") == ALL and set(ALL) == set(FORMATS) - {"text", "dictation"}
    for bad in ("xml", "", "srt,", "text,txt", "dictation,all"):
        with pytest.raises(UserError, match=r"^--format: [^\n]+$"):
            parse_formats(bad)


# ---- odd words, read by other people's programs

ODD = [
    "don't", "naïve", "日本語", "a&b", "<b>", "-->", "{x}", "{\\an8}", "(uh)", "/", "@", '"', '""', "\\",
    "\\N", "NOTE", "WEBVTT", "1", "00:01", "<v", "&amp;", ";;", "%", "\u200b", "🙂", "é",
    "a\u0301", "item", "]:",
]  # fmt: skip


@pytest.fixture(params=[(), ("left", "right")])
def odd(request) -> Transcript:
    """Odd words with pauses of any length, perhaps of two channels."""
    rng, segments = random.Random(0), []
    for channel in request.param or (None,):
        now, words = 3590.0, []
        for text in rng.sample(ODD, len(ODD)):
            now += rng.choice([0.0, 0.02, 0.3, 0.8, 4.0])
            end = now + rng.choice([0.0, 0.0004, 0.02, 0.31, 1.7])
            words.append(Word(text, now, end, rng.random(), (1,)))
            now = end
        segments += make_segments(words, None, channel)
    segments.sort(key=lambda one: one.start)
    return Transcript(";;é b.flac", "", now, None, "mini", segments=tuple(segments), channels=request.param)


def words_of(transcript: Transcript) -> list[str]:
    return [word.text for segment in transcript.segments for word in segment.words]


def test_subtitles_by_pysubs2_and_webvtt_py(odd):
    pysubs2, webvtt = pytest.importorskip("pysubs2"), pytest.importorskip("webvtt")
    for layout in ({}, {"max_line_width": 12}, {"max_line_width": 20, "max_line_count": 2}):
        content = written("srt", odd, **layout)
        events = pysubs2.SSAFile.from_string(content, format_="srt", keep_unknown_html_tags=True).events
        bodies = re.findall(r",\d{3}\n((?:.+\n)*)\n", content)
        assert len(events) == len(bodies) and all(event.start < event.end for event in events)
        shown = " ".join(re.sub(r"^(left|right): ", "", body) for body in bodies).split()
        assert shown == [word.replace("-->", "->") for word in words_of(odd)]
        captions = webvtt.from_string(written("vtt", odd, **layout)).captions
        shown = [html.unescape(re.sub(r"<v \w+>|</?u>", "", caption.raw_text)) for caption in captions]
        assert " ".join(shown).split() == words_of(odd)


def test_textgrid_by_praatio(odd, tmp_path):
    textgrid = pytest.importorskip("praatio.textgrid")
    file = tmp_path / "a.TextGrid"
    file.write_text(written("textgrid", odd), "utf-8", newline="")
    grid = textgrid.openTextgrid(str(file), includeEmptyIntervals=True)
    for channel in odd.channels or (None,):
        entries = grid.getTier(f"{channel} - words" if channel else "words").entries
        assert all(one.end == other.start for one, other in pairwise(entries))
        assert entries[0].start == 0 and entries[-1].end == grid.maxTimestamp
        labels = [entry.label.replace('""', '"') for entry in entries if entry.label]
        words = [w.text for s in odd.segments if s.channel == channel for w in s.words]
        assert labels == [word.replace('""', '"') for word in words]


def test_ctm_and_stm_by_the_rules_of_sclite(odd):
    for name, start in (("ctm", 2), ("stm", 3)):
        rows = [line.split(" ") for line in written(name, odd).split("\n")[:-1]]
        assert sorted(rows, key=lambda cells: (cells[0], cells[1], float(cells[start]))) == rows
        assert {cells[0] for cells in rows} == {"_é_b"}
        if name == "ctm":
            assert sorted(cells[4] for cells in rows) == sorted(words_of(odd))
            assert all(len(cells) == 6 and float(cells[3]) > 0 for cells in rows)
        else:
            assert all(float(cells[3]) < float(cells[4]) for cells in rows)
            assert not {word for cells in rows for word in cells[5:]} & {"@", "/", "", "{x}", "(uh)", "<b>"}
