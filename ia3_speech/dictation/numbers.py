"""Numbers in standard wording → digits: "two hundred and fifty" → 250, "nought point five" → 0.5.

"two fifty", "one oh five" and "point five" are ambiguous. Digits follow ISMP's list of error-prone dose
designations: 1,000; never .5 or 1.0.
"""

import re
from collections.abc import Sequence

from ia3_speech.data.numbers_in_words import num2words

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen")  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
BELOW_HUNDRED = {word: value for value, word in enumerate((*DIGITS, *TEENS))}
BELOW_HUNDRED |= {word: value for value, word in zip(range(20, 100, 10), TENS, strict=True)}
SCALES = {"million": 10**6, "thousand": 10**3}
# Words that change a number beside them, or may be a part of a number.
NUMBER_WORDS = {
    *BELOW_HUNDRED, *SCALES, "hundred", "billion", "trillion", "nought", "naught", "oh", "o", "nil", "and",
    "point", "dot", "decimal", "double", "triple", "treble", "half", "halve", "quarter", "dozen", "couple",
    *("first", "second", "third", "fifth", "eighth", "ninth", "twelfth", "billionth"),
    *(f"{word}th" for word in (*DIGITS, *TEENS, "hundred", *SCALES)), *(f"{word[:-1]}ieth" for word in TENS),
}  # fmt: skip


def is_number_word(word: str) -> bool:
    """Whether a word, in lower case, may belong to a number: "twenty-five", "5", "thirds", "five,", "and"."""
    parts = {form for part in re.findall(r"\w+", word) for form in (part, part.removesuffix("s"))}
    return not NUMBER_WORDS.isdisjoint(parts) or any(letter.isdigit() for letter in word)


def read_number(words: Sequence[str]) -> str | None:
    """The digits of a number below 10⁹ in standard wording; None where `words` hold anything else."""
    text = re.sub(r"\b(nought|naught)\b", DIGITS[0], " ".join(words).replace("-", " "))
    whole, point, rest = text.partition(" point ")
    decimals = rest.split()
    if point and (not set(decimals) <= set(DIGITS) or decimals[-1:] in ([], [DIGITS[0]])):
        return None
    value = read_cardinal(whole)
    if value is None:
        return None
    return f"{value:,}" + ("." if point else "") + "".join(str(DIGITS.index(word)) for word in decimals)


def read_cardinal(text: str) -> int | None:
    """The number whose wording by num2words is `text`, with or without each "and"."""
    total = group = 0
    for word in text.split():
        if word in SCALES:
            total, group = total + group * SCALES[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += BELOW_HUNDRED.get(word, 0)
    value = total + group
    wording = num2words(value).replace(" and ", " (and )?") if value < 10**9 else ""
    return value if re.fullmatch(wording, text) else None
