"""What stands behind a number of dictated text: a unit, degrees, a counted noun, or another number.

In: words in lower case, a place, and a `Grammar`. Out: what is written there. The rules of `dates`,
`quantities` and `codes` share it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ia3_speech.dictation.grammar import Grammar
from ia3_speech.dictation.spoken_numbers import (
    SCALES,
    WRITTEN,
    Number,
    is_digit_zero,
    read_number,
    starts_number,
    word_at,
)

DEGREES = ("degrees", "degree")
SCALES_OF_DEGREES = {"celsius": "C", "centigrade": "C", "c": "C", "fahrenheit": "F", "f": "F"}
LONGEST_UNIT = 3  # words: "millimetres of mercury"
NEAR = 9  # words before "degrees" in which a temperature or an angle is named


@dataclass(frozen=True)
class Written:
    """What stands in place of words up to `end`; without a text they stay, and no other rule sees them."""

    text: str
    end: int


Rule = Callable[[Sequence[str], int, Grammar], Written | None]  # words in lower case, a place


def is_followed_by_number(words: Sequence[str], at: int) -> bool:
    """Whether another number, or a scale such as "hundred", begins there."""
    word = word_at(words, at)
    return starts_number(words, at) or is_digit_zero(words, at) or word in ("hundred", *SCALES)


def is_written(words: Sequence[str], at: int) -> bool:
    """Whether a number in digits stands there; a letter behind it is a unit."""
    return bool(WRITTEN.fullmatch(word_at(words, at)))


def alone(number: Number | None, words: Sequence[str]) -> Number | None:
    """The number, unless another one stands behind it."""
    return number if number and not is_followed_by_number(words, number.end) else None


def ambiguous(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """Numbers beside one another stay as they are."""
    end, count = at, 0
    while word_at(words, end) != "a" and (found := read_number(words, end)):
        end, count = found.end, count + 1
    return Written("", end) if count > 1 else None


def unit_at(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """The symbol of a unit, "mg" or "mcg/kg/min", with the blank before it."""
    lengths = range(min(LONGEST_UNIT, len(words) - at), 0, -1)
    forms = grammar.unit_forms
    length = next((n for n in lengths if tuple(words[at : at + n]) in forms), None)
    if length is None:
        return None
    symbol, end = forms[tuple(words[at : at + length])], at + length
    blank = "" if symbol in grammar.joined else " "
    if word_at(words, end) == "per":
        below = unit_at(words, end + 1, grammar)
        per = below.text.strip() if below else grammar.per.get(word_at(words, end + 1))
        if per and per not in grammar.joined:
            return Written(f"{blank}{symbol}/{per}", below.end if below else end + 2)
    return Written(f"{blank}{symbol}", end)


def degrees_at(words: Sequence[str], number: Number, grammar: Grammar) -> Written | None:
    """What "degrees" behind a number is: °C, °F or °."""
    end = number.end + 1
    if word_at(words, number.end) not in DEGREES:
        return None
    if scale := SCALES_OF_DEGREES.get(word_at(words, end)):
        return Written(f" °{scale}", end + 1)
    known = grammar.temperature
    before = words[max(0, number.end - NEAR) : number.end]
    if not any(word in known.angles for word in (*before, word_at(words, end))):
        if known.celsius[0] <= number.value <= known.celsius[1]:
            return Written(" °C", end)
        named = any(word in known.words for word in before)
        if named and known.fahrenheit[0] <= number.value <= known.fahrenheit[1]:
            return Written(" °F", end)
    return Written("°", end)


def measured(words: Sequence[str], number: Number, grammar: Grammar) -> Written | None:
    """The unit, degrees or counted noun behind a number; a noun has no text and is not passed."""
    if "temperature" in grammar.rules and (found := degrees_at(words, number, grammar)):
        return found
    if "units" in grammar.rules and (found := unit_at(words, number.end, grammar)):
        return found
    if "counted" in grammar.rules and word_at(words, number.end) in grammar.counted_words:
        return Written("", number.end)
    return None


def is_measured_at(words: Sequence[str], at: int, grammar: Grammar) -> bool:
    """Whether a unit or a counted noun stands at a place."""
    return measured(words, Number("", at, 0), grammar) is not None
