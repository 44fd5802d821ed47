"""Spectrograms with words: valid SVG that needs nothing else, in a file and in the report."""

import base64
from xml.etree import ElementTree

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.formats import ctm_line
from ia3_speech.decoding.transcript import Word
from ia3_speech.report.spectrogram import LINE_SECONDS, draw_spectrogram, mel_image

SVG = "{http://www.w3.org/2000/svg}"
TIME = np.arange(int(2.5 * LINE_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE


def texts(svg: ElementTree.Element, name: str = "text") -> list[str]:
    return [element.text for element in svg.iter(f"{SVG}{name}")]


def test_a_tone_is_a_dark_line_in_its_band():
    low, high = (mel_image(np.sin(2 * np.pi * hertz * TIME[:SAMPLE_RATE])) for hertz in (300, 3000))
    assert low.min() == 0 and low.mean(1).argmin() > high.mean(1).argmin()  # the highest band is the first
    assert set(np.unique(mel_image(np.zeros(SAMPLE_RATE)))) <= {0}  # silence has no loudest point


def test_long_audio_has_several_strips_with_the_words_in_them():
    words = [(Word("no", 1.0, 1.4, 0.9), False), (Word("</text><script>", 21.0, 21.2, 0.25), True)]
    picture = draw_spectrogram(np.sin(2000 * TIME), {"<base>": words}, "a & b")
    svg = ElementTree.fromstring(picture)
    images = [image.get("href") for image in svg.iter(f"{SVG}image")]
    assert len(images) == 3 and all(image.startswith("data:image/png;base64,") for image in images)
    assert all(base64.b64decode(image.partition(",")[2]).startswith(b"\x89PNG") for image in images)
    assert texts(svg).count("<base>") == 3 and {"no", "</text><script>", "25 s"} <= {*texts(svg)}
    titles = texts(svg, "title")
    assert titles[0] == "a & b" and "no: 1.00 to 1.40 s, confidence 90 %" in titles
    colours = {text.text: text.get("fill") for text in svg.iter(f"{SVG}text")}
    assert colours["no"] != colours["</text><script>"]


def test_the_report_draws_what_changed_most(recipe):
    """Of the utterances with audio and timed words; the rest of the page is as without."""
    assert 'id="spectrograms"' not in recipe.page()
    for folder in (recipe.base, recipe.adapted):
        lines = [line.split() for line in (folder / "text").read_text().splitlines()]
        ctm = [
            ctm_line(id, Word(word, n / 9, (n + 1) / 9, 0.5))
            for id, *words in lines
            for n, word in enumerate(words)
        ]
        (folder / "hyp.ctm").write_text("".join(ctm))
    (recipe.data / "audio/ann-1.wav").write_bytes(b"no sound")
    recipe.score()
    section = recipe.page().partition('<section id="spectrograms"')[2].partition("</section>")[0]
    assert section.count("<figure") == 4  # bob-1 and bob-2, ann-2, cat-10; ann-1 can't be read
    assert "<b>cat-10</b> 1 error → 0 errors. Reference: no fever no cough" in section
    assert ">two: 0.22 to 0.33 s, confidence 50 %</title>" in section and "#b2182b" in section
