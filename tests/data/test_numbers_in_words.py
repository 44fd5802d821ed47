"""Numbers in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.data.numbers_in_words import needs_words, verbalize_numbers
from ia3_speech.data.text import Vocabulary

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WITHOUT_DIGITS = Vocabulary({"<pad>": 0, "|": 1, "'": 2} | {c: n for n, c in enumerate(LETTERS, 3)}, blank=0)
WITH_DIGITS = Vocabulary(WITHOUT_DIGITS.tokens | {str(n): 40 + n for n in range(10)}, blank=0)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("1,250,000 or 007", "one million two hundred and fifty thousand or zero zero seven"),
        ("1st, 2nd, 21st-century", "first, second, twenty first-century"),
        ("3.14, .5 and 2.50.", "three point one four, point five and two point five zero."),
        ("v1.2.3", "v one point two point three"),
        ("38.5 °C 38.5°c -5 °F",
         "thirty eight point five degrees celsius thirty eight point five degrees celsius "
         "minus five degrees fahrenheit"),
        ("1 mg, 5-10 mg, 2.5 ml", "one milligram, five to ten milligrams, two point five milliliters"),
        ("80 km/h at 5 kg/m²", "eighty kilometers per hour at five kilograms per square meter"),
        ("120/80 mmHg", "one hundred and twenty over eighty millimeters of mercury"),
        ("1/2, 2½, 3/4 h", "one half, two and one half, three quarters hour"),
        ("$3.50 £1 €1,200", "three dollars and fifty cents one pound one thousand two hundred euros"),
        ("$5 million, 20 €, $0.50", "five million dollars, twenty euros, fifty cents"),
        ("in 2005, 1999–2003, in 1812",
         "in two thousand and five, nineteen ninety nine to two thousand and three, "
         "in eighteen twelve"),
        ("1812 men, 1990s, '80s", "one thousand eight hundred and twelve men, nineteen nineties, eighties"),
        ("10:05, 10:00, 10:30 am", "ten oh five, ten o'clock, ten thirty am"),
        ("555-123-4567", "five five five one two three four five six seven"),
        ("b12 covid-19 3D", "b twelve covid-nineteen three D"),
        ("2x3 5 + 3 #1 <5", "two times three five plus three number one less than five"),
        (4_000 * "9" + "/2", 3_999 * "nine " + "nine/two"),
        ("3." + 40 * "1" + " mg", "three point" + 40 * " one" + " mg"),
    ],
)  # fmt: skip
def test_numbers_symbols_and_units(text, spoken):
    assert verbalize_numbers(text) == spoken


@given(st.text().filter(lambda text: not any(c.isnumeric() for c in text)))
def test_texts_without_digits_are_left_as_they_are(text):
    assert verbalize_numbers(text) is text


@given(st.text(alphabet="0123456789.,:/-%°C$£x+ ½amstkg'²"))
def test_no_digit_is_left(text):
    assert not any(c in "0123456789½" for c in verbalize_numbers(text))


def test_only_english_without_digits_needs_words():
    assert needs_words(WITHOUT_DIGITS.letters) and needs_words(["hello world", ""])
    assert not needs_words(WITH_DIGITS.letters) and not needs_words(["room 5"])
    assert not needs_words(["schön"])
