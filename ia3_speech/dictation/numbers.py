"""Numbers in standard wording: words → digits, or None where the words are anything else.

    read_number(["two", "hundred", "and", "fifty"])           # "250"
    read_number(["nought", "point", "five"])                  # "0.5"
    read_number(["two", "fifty"]), read_number(["one", "oh", "five"]), read_number(["point", "five"])   # None

Standard wording is what the digits are read aloud as, so that nothing is written that can be read in two
ways. Digits are written as ISMP's list of error-prone dose designations wants it: 1,000; never .5 or 1.0.
"""

import re
from collections.abc import Sequence

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen")  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ZERO = ("zero", "nought", "naught")
ONES = {word: value for value, word in enumerate(DIGITS) if value}
BELOW_HUNDRED = {word: value for value, word in enumerate((*DIGITS, *TEENS)) if value}
BELOW_HUNDRED |= {word: value for value, word in zip(range(20, 100, 10), TENS, strict=True)}
SCALES = {"million": 10**6, "thousand": 10**3}
# Words that make another number of a number that they stand beside, or that a number may be a part of.
NUMBER_WORDS = {
    *BELOW_HUNDRED, *ZERO, *SCALES, "hundred", "billion", "trillion", "oh", "o", "nil", "and", "point", "dot",
    "decimal", "double", "triple", "treble", "half", "halve", "quarter", "dozen", "couple",
    *("first", "second", "third", "fifth", "eighth", "ninth", "twelfth", "billionth"),
    *(f"{word}th" for word in (*DIGITS, *TEENS, "hundred", *SCALES)), *(f"{word[:-1]}ieth" for word in TENS),
}  # fmt: skip


def is_number_word(word: str) -> bool:
    """Whether a word, in lower case, may belong to a number: "twenty-five", "5", "thirds", "five,", "and"."""
    parts = {form for part in re.findall(r"\w+", word) for form in (part, part.removesuffix("s"))}
    return not NUMBER_WORDS.isdisjoint(parts) or any(letter.isdigit() for letter in word)


def read_number(words: Sequence[str]) -> str | None:
    """The digits of all these words, which are one number below 10⁹ in standard wording.

    Decimals are single digits behind "point", the last one is not zero, and "point" has a number before it.
    """
    words = [part for word in words for part in word.split("-")]
    whole, decimals = words, []
    if "point" in words:
        place = words.index("point")
        whole, decimals = words[:place], [DIGITS[0] if word in ZERO else word for word in words[place + 1 :]]
        if not decimals or decimals[-1] not in ONES or not set(decimals) <= set(DIGITS):
            return None
    value = 0 if len(whole) == 1 and whole[0] in ZERO else read_cardinal(whole)
    if value is None:
        return None
    return f"{value:,}" + ("." if decimals else "") + "".join(str(DIGITS.index(word)) for word in decimals)


def read_cardinal(words: Sequence[str]) -> int | None:
    """1 to 999,999,999."""
    total = 0
    for scale, value in SCALES.items():
        if scale in words:
            place = words.index(scale)
            group, words = read_below_thousand(words[:place]), words[place + 1 :]
            if group is None:
                return None
            total += group * value
    if not words and total:
        return total
    joined = bool(total) and words[0] == "and"
    rest = read_below_hundred(words[1:]) if joined else read_below_thousand(words)
    return None if rest is None else total + rest


def read_below_thousand(words: Sequence[str]) -> int | None:
    """1 to 999: "five hundred", "one hundred twenty", "one hundred and twenty five"."""
    if len(words) < 2 or words[1] != "hundred" or words[0] not in ONES:
        return read_below_hundred(words)
    hundreds, rest = 100 * ONES[words[0]], words[2:]
    if not rest:
        return hundreds
    below = read_below_hundred(rest[1:] if rest[0] == "and" else rest)
    return None if below is None else hundreds + below


def read_below_hundred(words: Sequence[str]) -> int | None:
    """1 to 99: "five", "twelve", "twenty", "twenty five"."""
    if len(words) == 2 and words[0] in TENS and words[1] in ONES:
        return BELOW_HUNDRED[words[0]] + ONES[words[1]]
    return BELOW_HUNDRED.get(words[0]) if len(words) == 1 else None
