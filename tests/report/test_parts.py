"""The parts of the report: markup, pictures, players; formats by exact strings."""

import json
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ia3_speech.data.utterance import BadAudio, Utterance
from ia3_speech.report.audio_players import embedded_audio, linked_audio
from ia3_speech.report.charts import Axis, Point, Series, draw_chart, rate_axis, tick_labels
from ia3_speech.report.markup import element, json_block, raw_block
from ia3_speech.report.svg import Bar, draw_bars, draw_colour_strip, encode_png, round_ticks


class One(HTMLParser):
    """The one element of a piece of markup: its attributes and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.text = [], {}, ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= dict(attributes)

    def handle_data(self, data):
        self.text += data


# ---- markup


def test_element():
    assert element("p", "5 < 6 & 7", class_="note") == '<p class="note">5 &lt; 6 &amp; 7</p>'
    assert (
        element("a", element("b", "x"), ["y", None], href='"><') == '<a href="&quot;&gt;&lt;"><b>x</b>y</a>'
    )
    assert element("rect", x=1.0, rx=2.504, aria_label="a", viewBox="0") == (
        '<rect x="1" rx="2.5" aria-label="a" viewBox="0"></rect>'
    )
    assert element("option", "a", selected=True, disabled=False, id=None) == "<option selected>a</option>"
    assert element("meta", name="viewport") == '<meta name="viewport">'


@given(st.text(st.characters(exclude_characters="\r\0")))
def test_any_text_stays_text(text):
    read = One(element("p", text, title=text))
    assert (read.tags, read.attributes, read.text) == (["p"], {"title": text}, text)


@given(st.text(st.characters(exclude_categories=[])))
def test_any_json_stays_json(text):
    """Also lone surrogates, as in file names that aren't UTF-8: the page can be written."""
    block = json_block("data", {"key": text})
    read = One(block)
    assert read.tags == ["script"]
    assert json.loads(read.text) == {"key": text}
    block.encode()


def test_json_block():
    assert json_block("data", ["</script><!--", "é\u2028"]) == (
        '<script type="application/json" id="data">["\\u003c/script\\u003e\\u003c!--","é\\u2028"]</script>'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_block("data", float("nan"))


@pytest.mark.parametrize("text", ["a </SCRIPT>", "<!-- a"])
def test_a_script_that_would_end_itself(text):
    with pytest.raises(ValueError, match="would end its <script>"):
        raw_block("script", text)


# ---- pictures and charts


def test_bars():
    """To the byte: two bars of a limit of 0.5, one with an interval."""
    drawn = draw_bars([Bar(0.25, None, "baseline"), Bar(0.2, (0.1, 0.9), "system")], 0.5, [0.25], "spk: 25 %")
    assert drawn == (
        '<svg role="img" width="100%" height="33" class="bars"><title>spk: 25 %</title>'
        '<line x1="50.00%" x2="50.00%" y1="0" y2="33" class="grid"></line>'
        '<rect x="0" y="5" width="50.00%" height="9" rx="2" class="baseline"></rect>'
        '<rect x="0" y="19" width="40.00%" height="9" rx="2" class="system"></rect>'
        '<line x1="20.00%" x2="100.00%" y1="23.5" y2="23.5" class="whisker"></line>'
        '<line x1="20.00%" x2="20.00%" y1="20" y2="27" class="whisker"></line>'
        '<line x1="100.00%" x2="100.00%" y1="20" y2="27" class="whisker"></line></svg>'
    )


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6), st.integers(3, 10))
@example(0.0, 0.15, 3)  # 0.15 / 0.05 is a little under 3
def test_ticks_are_few_and_inside(low, span, most):
    ticks = round_ticks(low, low + span, most)
    steps = np.diff(ticks)
    assert len(ticks) <= most
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert len(steps) == 0 or np.allclose(steps, steps[0], rtol=1e-3)


def test_texts_of_ticks():
    assert round_ticks(0, 0.63) == [0.0, 0.2, 0.4, 0.6]
    assert tick_labels([0.305, 0.31], 100) == [(0.305, "30.5"), (0.31, "31.0")]
    assert tick_labels([], 100) == []


def test_png():
    """Read back by the format's own rules: header, one unfiltered line, checksums."""
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    data = encode_png(pixels)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        (check,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
        assert check == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + size
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (3, 2, 8, 6, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(2, 13)
    assert not lines[:, 0].any()
    assert np.array_equal(lines[:, 1:].reshape(2, 3, 4), pixels)


def test_strip_is_one_picture_with_a_title():
    drawn = draw_colour_strip(np.array([0.1, -0.2, 0.0]), 0.1, "key, layer 0")
    assert drawn.startswith(
        '<svg role="img" width="100%" height="18"><title>key, layer 0</title><image href='
    )


def test_chart_has_its_words_and_escapes_them():
    axis = Axis("x", 0, 10, [(5, "5")])
    series = Series("<b>", [Point(0, 0.1, "<i>"), Point(10, 0.3, "b")], "system")
    drawn = draw_chart("Title", "It rises", axis, rate_axis("y", [0.1, 0.3]), [series, series])
    assert "<title>Title. It rises</title>" in drawn
    assert "<title>&lt;i&gt;</title>" in drawn and "&lt;b&gt;" in drawn
    assert 'points="50,' in drawn and "462," in drawn


@pytest.mark.parametrize("rates", [[0.3], [0.0], [0.3, 0.3, None]])
def test_an_axis_of_one_rate_has_a_length(rates):
    axis = rate_axis("WER", rates)
    assert axis.low < max(rate for rate in rates if rate is not None) < axis.high or rates == [0.0]
    assert axis.high > axis.low


# ---- players


def utterance(source, start=None, end=None, name="a"):
    return Utterance(name, "spk", name, str(source), start, end)


@pytest.mark.parametrize(
    "name, link",
    [
        ("a.wav", "./audio/a.wav"),
        ("a b#1?&.flac", "./audio/a%20b%231%3F%26.flac"),
        ("javascript:alert(1).ogg", "./audio/javascript%3Aalert%281%29.ogg"),
        ('"><script>.mp3', "./audio/%22%3E%3Cscript%3E.mp3"),
        ("ä.opus", "./audio/%C3%A4.opus"),
    ],
)
def test_links_are_quoted(tmp_path, name, link):
    file = tmp_path / "audio" / name
    file.parent.mkdir()
    file.write_bytes(b"")
    assert linked_audio([utterance(file)], tmp_path) == {"a": link}
    assert linked_audio([utterance(file)], tmp_path / "exp/x") == {"a": "../." + link}
    assert linked_audio([utterance(file, 1.5, 3.25)], tmp_path) == {"a": link + "#t=1.5,3.25"}


def test_what_has_no_link(tmp_path):
    (tmp_path / "a.sph").write_bytes(b"")
    (tmp_path / "folder.wav").mkdir()
    sources = ["", "cat a.wav |", tmp_path / "none.wav", tmp_path / "a.sph", tmp_path / "folder.wav"]
    assert linked_audio([utterance(source, name=str(n)) for n, source in enumerate(sources)], tmp_path) == {}


def test_pipes_run_only_where_allowed(tmp_path):
    bad: list[BadAudio] = []
    touched = tmp_path / "touched"
    assert embedded_audio([utterance(f"touch {touched} |")], allow_pipes=False, bad=bad) == {}
    assert not touched.exists()
    assert "is a shell command (pass --allow-pipes" in str(bad[0])
