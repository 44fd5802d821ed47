"""English number words to digits: one number at a place in a list of words.

In: words in lower case, and where to look. Out: a `Number` (digits, and where it ends) or None. The other
direction is `ia3_speech.data.numbers_in_words`. Whether a number is written in digits is decided by the
rules of `dictation.numbers` alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

ZERO = ("zero", "nought", "naught")
ONES = {
    word: n
    for n, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), 1)
}
TEENS = {
    word: n
    for n, word in enumerate(
        (
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
            *("eighteen", "nineteen"),
        ),
        10,
    )
}
TENS = {
    word: 10 * n
    for n, word in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
}
HYPHENATED = {f"{ten}-{one}": TENS[ten] + ONES[one] for ten in TENS for one in ONES}
BELOW_HUNDRED = {**ONES, **TEENS, **TENS, **HYPHENATED}
SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
DIGITS = {**dict.fromkeys((*ZERO, "oh", "o"), 0), **ONES}
IRREGULAR_ORDINALS = {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
ORDINALS = {
    **{f"{word}th": n for word, n in (ONES | TEENS).items() if n not in IRREGULAR_ORDINALS.values()},
    **{f"{word[:-1]}ieth": n for word, n in TENS.items()},
    **IRREGULAR_ORDINALS,
}
DECADES = {f"{word[:-1]}ies": n for word, n in TENS.items()}
ORDINALS |= {f"{ten}-{one}": TENS[ten] + n for ten in TENS for one, n in [*ORDINALS.items()] if n < 10}
LARGE_ORDINALS = {"hundredth": 100, "thousandth": 1_000, "millionth": 1_000_000}
WRITTEN = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?½?")
GROUPED_FROM = 1_000  # 1,000: a missing comma has been read as 100 and as 10,000


@dataclass(frozen=True)
class Number:
    """A number in a list of words.

    Attributes:
        text: in digits: "0.5", "1,000", "-5".
        end: the place of the first word behind it.
        value: its value.
        spoken: it was in words, not in digits.
    """

    text: str
    end: int
    value: float
    spoken: bool = True


def word_at(words: Sequence[str], at: int) -> str:
    """The word at a place; "" outside of the list."""
    return words[at] if 0 <= at < len(words) else ""


def is_digit_zero(words: Sequence[str], at: int) -> bool:
    """Whether an "oh" there is a zero: a digit follows it."""
    return word_at(words, at) in ("oh", "o") and word_at(words, at + 1) in ONES


def starts_number(words: Sequence[str], at: int) -> bool:
    """Whether the word there begins or continues a number in words or digits."""
    word = word_at(words, at)
    return word in BELOW_HUNDRED or word in ZERO or bool(WRITTEN.fullmatch(word))


def read_number(words: Sequence[str], at: int) -> Number | None:
    """The longest number that begins at a place: "one hundred and five", "nought point five", "500".

    "a hundred" is a number too; "point five" without a digit before it, "half" and ordinals are not.
    """
    word = word_at(words, at)
    if WRITTEN.fullmatch(word):
        if word.isdigit() and (decimals := read_decimals(words, at + 1)):
            return Number(f"{word}.{decimals[0]}", decimals[1], float(f"{word}.{decimals[0]}"))
        value = float(word.replace(",", "").removesuffix("½")) + 0.5 * word.endswith("½")
        return Number(word, at + 1, value, spoken=False)
    if word in ("minus", "negative"):
        found = read_number(words, at + 1) if not starts_number(words, at - 1) else None
        return Number(f"-{found.text}", found.end, -found.value) if found and found.spoken else None
    if word in ZERO or (word in ("oh", "o") and word_at(words, at + 1) == "point"):
        value, end = 0, at + 1
    elif found := read_cardinal(words, at):
        value, end = found
    else:
        return None
    if decimals := read_decimals(words, end):
        text, end = f"{grouped(value)}.{decimals[0]}", decimals[1]
        number = float(f"{value}.{decimals[0]}")
        if scale := SCALES.get(word_at(words, end)):
            return Number(f"{text} {words[end]}", end + 1, number * scale)
        return Number(text, end, number)
    return Number(grouped(value), end, value)


def grouped(value: int) -> str:
    """1000 → "1,000", 1500000 → "1.5 million"."""
    for word, scale in (("billion", 10**9), ("million", 10**6)):
        if value >= scale and value * 10 % scale == 0:
            return f"{value / scale:,.1f}".removesuffix(".0") + f" {word}"
    return f"{value:,}" if value >= GROUPED_FROM else str(value)


def read_decimals(words: Sequence[str], at: int) -> tuple[str, int] | None:
    """The digits behind "point", and where they end: "point two five" and "point twenty five" are 25."""
    if word_at(words, at) != "point":
        return None
    digits, end = read_digits(words, at + 1)
    if digits:
        return digits, end
    if word_at(words, at + 1).isdecimal():
        return words[at + 1], at + 2
    found = read_below_hundred(words, at + 1)
    return (str(found[0]), found[1]) if found else None


def read_digits(words: Sequence[str], at: int) -> tuple[str, int]:
    """Single digits in a row, "five oh one" → "501", and where they end."""
    end = at
    while word_at(words, end) in DIGITS:
        end += 1
    return "".join(str(DIGITS[word]) for word in words[at:end]), end


def read_below_hundred(words: Sequence[str], at: int) -> tuple[int, int] | None:
    """1 to 99, and where it ends."""
    word = word_at(words, at)
    if word in TENS and word_at(words, at + 1) in ONES:
        return TENS[word] + ONES[words[at + 1]], at + 2
    return (BELOW_HUNDRED[word], at + 1) if word in BELOW_HUNDRED else None


def read_below_thousand(words: Sequence[str], at: int) -> tuple[int, int] | None:
    """1 to 9999: also "a hundred", "twelve hundred" and "twenty five hundred and six"."""
    article = word_at(words, at) == "a" and word_at(words, at + 1) in ("hundred", *SCALES)
    found = (1, at + 1) if article else read_below_hundred(words, at)
    if found and word_at(words, found[1]) == "hundred":
        value, end = found[0] * 100, found[1] + 1
        rest = read_below_hundred(words, end + (word_at(words, end) == "and"))
        return (value + rest[0], rest[1]) if rest else (value, end)
    return found


def read_cardinal(words: Sequence[str], at: int) -> tuple[int, int] | None:
    """1 to 10¹² − 1, and where it ends."""
    total, end, scale = 0, at, 10**12
    while True:
        joined = end + (total > 0 and word_at(words, end) == "and")
        group = read_below_thousand(words, joined)
        if not group or (total and (group[0] >= scale or word_at(words, joined) == "a")):
            return (total, end) if total else None
        following = SCALES.get(word_at(words, group[1]))
        if following and following < scale:
            total, end, scale = total + group[0] * following, group[1] + 1, following
        elif total and (following or (joined > end and group[0] >= 100)):
            return total, end
        else:
            return total + group[0], group[1]


def read_pair(words: Sequence[str], at: int) -> tuple[int, int, int] | None:
    """Two numbers below a hundred that are spoken as one ("ten thirty", "one oh five", "nineteen ninety
    nine"): the first, the second (of two digits), and where they end.
    """
    first = read_below_hundred(words, at)
    if not first:
        return None
    if word_at(words, first[1]) in ("oh", "o", *ZERO) and word_at(words, first[1] + 1) in ONES:
        return first[0], ONES[words[first[1] + 1]], first[1] + 2
    second = read_below_hundred(words, first[1])
    return (first[0], *second) if second and second[0] >= 10 else None


def read_year(words: Sequence[str], at: int) -> tuple[int, int] | None:
    """A year from 1700 to 2099, and where it ends."""
    word = word_at(words, at)
    if re.fullmatch("(1[7-9]|20)[0-9]{2}", word):
        return int(word), at + 1
    pair = read_pair(words, at)
    if pair and 17 <= pair[0] <= 20:
        return 100 * pair[0] + pair[1], pair[2]
    found = read_cardinal(words, at)
    return found if found and 1700 <= found[0] < 2100 and word in ("two", *TEENS) else None


def read_ordinal(words: Sequence[str], at: int) -> tuple[int, int] | None:
    """ "third", "twenty first", "one hundred and second", "hundredth", and where it ends."""
    word = word_at(words, at)
    if found := ORDINALS.get(word) or LARGE_ORDINALS.get(word):
        return found, at + 1
    if word in TENS and ORDINALS.get(word_at(words, at + 1), 10) < 10:
        return TENS[word] + ORDINALS[words[at + 1]], at + 2
    found = read_cardinal(words, at)
    if found and found[0] % 100 == 0:
        rest = read_ordinal(words, found[1] + (word_at(words, found[1]) == "and"))
        if rest and rest[0] < 100:
            return found[0] + rest[0], rest[1]
    return None


def ordinal_text(value: int) -> str:
    """1 → "1st", 12 → "12th", 1000 → "1,000th"."""
    ending = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{grouped(value)}{ending}"
