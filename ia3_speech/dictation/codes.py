"""Codes, spelled letters, rows of digits and ordinals of dictated text.

In: words in lower case and a place. Out: what begins there, as it is written, or None.
"""

from collections.abc import Sequence

from ia3_speech.dictation.dates import half_of_day
from ia3_speech.dictation.grammar import Grammar
from ia3_speech.dictation.measures import (
    Written,
    alone,
    is_followed_by_number,
    is_measured_at,
    is_written,
)
from ia3_speech.dictation.spoken_numbers import (
    DIGITS,
    ONES,
    TENS,
    ZERO,
    Number,
    ordinal_text,
    read_digits,
    read_number,
    read_ordinal,
    starts_number,
    word_at,
)

FEWEST_DIGITS = 4  # single digits in a row that are one number, such as a telephone's
# An interval of seconds; "the thirty second" is an ordinal.
INTERVALS = ("interval", "intervals", "pause", "hold", "holds", "walk", "test", "break", "strip", "rest")


def codes(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "j eighteen point nine" → "J18.9", "l four" → "L4", "b twelve" → "B12", "c five / six" → "C5/6"."""
    letter = words[at]
    if len(letter) != 1 or not letter.isalpha() or letter in ("x", "o") or is_written(words, at - 1):
        return None
    if letter in ("a", "i") and word_at(words, at - 1) not in grammar.codes:
        return None
    number = alone(code_number(words, at + 1), words)
    if not number or not number.spoken or not 0 <= number.value < 1000:
        return None
    if is_measured_at(words, number.end, grammar) or half_of_day(words, number.end):
        return None
    written = Written(f"{letter.upper()}{number.text}", number.end)
    sign, second = word_at(words, number.end), alone(read_number(words, number.end + 1), words)
    if sign not in ("/", "-") or not second or is_measured_at(words, second.end, grammar):
        return written
    return Written(f"{written.text}{sign}{second.text}", second.end)


def code_number(words: Sequence[str], at: int) -> Number | None:
    """The number of a code, which may begin with a zero: "zero nine point one"."""
    if word_at(words, at) in ZERO and word_at(words, at + 1) in ONES:
        text, end = f"0{DIGITS[words[at + 1]]}", at + 2
        decimals, after = read_digits(words, end + 1) if word_at(words, end) == "point" else ("", end)
        return Number(f"{text}.{decimals}", after, 0) if decimals else Number(text, end, 0)
    return read_number(words, at) if word_at(words, at) != "a" else None


def letters(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "e c g" → "ECG", "a c t scan" → "a CT scan", "hepatitis b" → "hepatitis B"; a and i
    alone are words."""
    end = at
    while len(word_at(words, end)) == 1 and words[end].isascii() and words[end].isalpha():
        end += 1
    spelled = "".join(words[at:end])
    if known := known_letters(spelled, {one.lower(): one for one in grammar.letters}):
        return Written(known, end)
    if not spelled.strip("ai") or spelled == "x" or (len(spelled) == 1 and is_written(words, at - 1)):
        return None
    if spelled[0] == "a" and (len(spelled) > 2 or (len(spelled) == 2 and codes(words, at + 1, grammar))):
        return Written("", at + 1)  # an article: "a t twelve fracture"
    if len(spelled) == 2 and spelled[1] == "a":
        return Written(spelled[0].upper(), at + 1)  # "hepatitis b a week ago"
    return Written(spelled.upper(), end)


def known_letters(spelled: str, known: dict[str, str]) -> str | None:
    """Letters cut into abbreviations of the list, if they can be: "ecgct" → "ECG CT"."""
    for length in range(len(spelled), 1, -1):
        first = known.get(spelled[:length])
        rest = known_letters(spelled[length:], known) if first and spelled[length:] else ""
        if first and rest is not None:
            return f"{first} {rest}".strip()
    return None


def digits(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "five five five one two" → "55512"; a dictated hyphen stays."""
    text, end = read_digits(words, at)
    while text and word_at(words, end) == "-" and (more := read_digits(words, end + 1))[0]:
        text, end = f"{text}-{more[0]}", more[1]
    clear = (
        len(text.replace("-", "")) >= FEWEST_DIGITS
        and text.strip("0-")
        and not is_followed_by_number(words, end)
    )
    return Written(text, end) if clear else None


def ordinals(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """From the tenth on; "thirty second" is one only behind "the", and "one twentieth" is a fraction."""
    found = read_ordinal(words, at)
    if not found or found[0] < 10 or starts_number(words, at - 1):
        return None
    if words[found[1] - 1] == "second" and words[at] in TENS and word_at(words, at - 1) != "the":
        interval = word_at(words, at - 1) == "a" or word_at(words, found[1]) in INTERVALS
        return Written(f"{TENS[words[at]]} second" if interval else "", found[1])
    return Written(ordinal_text(found[0]), found[1])
