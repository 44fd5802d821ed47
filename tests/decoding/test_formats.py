"""Formats of transcripts, to the byte."""

import json
from dataclasses import replace

import pytest

from ia3_speech.common.errors import UserError
from ia3_speech.decoding.formats import ALL, FORMATS, check_output, parse_formats
from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.transcript import Transcript, TranscriptSegment, Word

WORDS = (Word("take", 0.26, 0.48, 0.9812, (2, 3)), Word("two", 0.5, 0.8, 0.5, (4,)))
LAST = (Word("don't", 3661.0, 3661.5, 1.0, (5,)),)
SEGMENTS = (TranscriptSegment(0.26, 0.8, "take two", WORDS), TranscriptSegment(3661.0, 3661.5, "don't", LAST))
TRANSCRIPT = Transcript("d/a b.wav", "take two don't", 3662.25, None, "mini", segments=SEGMENTS)


def written(name: str, transcript: Transcript = TRANSCRIPT, **options) -> str:
    return FORMATS[name].write(transcript, OutputOptions(**options))


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
    latin = replace(TRANSCRIPT, path="caf\udce9.wav")  # a file's name need not be UTF-8
    assert all(written(name, latin).encode() for name in FORMATS)


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
    plain = (
        '{"path": "d/a b.wav", "text": "take two don\'t", "seconds": 3662.25, "adapter": null, "base": "mini"'
    )
    assert written("json") == f"{plain}}}\n"
    assert written("json", word_timestamps=True).startswith(
        f'{plain}, "task": "transcribe", "language": null, '
    )
    full = json.loads(written("json", word_timestamps=True))
    assert full["duration"] == 3662.25
    assert full["segments"][0] == {
        "id": 0, "seek": 0, "start": 0.26, "end": 0.8, "text": "take two", "tokens": [2, 3, 4],
        "temperature": 0.0, "avg_logprob": -0.2374, "compression_ratio": 0.5, "no_speech_prob": 0.0,
        "confidence": 0.7406,
    }  # fmt: skip
    assert full["words"][1] == {"word": "two", "start": 0.5, "end": 0.8, "confidence": 0.5}
    assert written("jsonl").splitlines()[0] == (
        '{"path": "d/a b.wav", "id": 0, "start": 0.26, "end": 0.8, "text": "take two", "confidence": 0.7406}'
    )


def test_alternatives_of_unsure_words():
    words = (WORDS[0], replace(WORDS[1], alternatives=("too", "to", "tow")))
    segment = replace(SEGMENTS[0], words=words)
    options = {"transcript": replace(TRANSCRIPT, segments=(segment,)), "alternatives": 2}
    word = {"word": "two", "start": 0.5, "end": 0.8, "confidence": 0.5}
    assert json.loads(written("json", **options))["words"][1] == word | {"alternatives": ["too", "to"]}
    assert json.loads(written("jsonl", **options))["words"][1]["alternatives"] == ["too", "to"]
    assert json.loads(written("json", word_timestamps=True))["words"][1] == word
    for faults, message in (({}, "has no effect on"), ({"alternatives": -1, "format": "json"}, "0 or more")):
        with pytest.raises(UserError, match=f"`alternatives.*{message}"):
            check_output(OutputOptions(**{"alternatives": 3} | faults))


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
        with pytest.raises(UserError, match=r"^`format`: [^\n]+$"):
            parse_formats(bad)


def test_odd_words_of_no_length():
    """What is syntax to a format is escaped or left out; nothing lasts 0 s."""

    def spoken(text: str) -> Transcript:
        words = tuple(Word(word, 0.5, 0.5, 1.0) for word in text.split())
        segment = TranscriptSegment(0.5, 0.5, text, words)
        return Transcript(";;é b.flac", text, 0.5, None, "mini", segments=(segment,))

    odd = spoken('"x" (uh) @ /')
    assert written("ctm", odd) == "".join(f"_é_b 1 0.50 0.01 {word.text} 1.00\n" for word in odd.words)
    assert written("stm", odd) == '_é_b 1 _é_b 0.50 0.51 "x" uh\n'
    lines = [line.strip() for line in written("textgrid", odd).split("\n")]
    texts = ["", '""x"" (uh) @ /', "", "", '""x""', "(uh)", "@", "/"]
    assert [line for line in lines if line.startswith("text")] == [f'text = "{text}"' for text in texts]
    ends = [line for line in lines if line.startswith("xmax")]
    assert ends[-4:] == [f"xmax = 0.50{n}" for n in (1, 2, 3, 4)]
    odd = spoken("a&b <b> -->")
    assert written("srt", odd) == "1\n00:00:00,500 --> 00:00:00,501\na&b <b> ->\n\n"
    assert written("vtt", odd) == "WEBVTT\n\n00:00.500 --> 00:00.501\na&amp;b &lt;b&gt; --&gt;\n\n"
    assert written("srt", odd, highlight_words=True).splitlines()[5::4] == [
        "00:00:00,501 --> 00:00:00,502", "00:00:00,502 --> 00:00:00,503",
    ]  # fmt: skip
