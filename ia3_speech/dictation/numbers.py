"""Numbers of dictated text in digits: which rule looks first.

In: words between two punctuation marks, and a `Grammar`. Out: the changes that write their numbers. A rule
looks at one place and returns what is written there, or nothing. A number that can be read in two ways ("two
fifty milligrams": 250 mg, or two of 50 mg) is left in words: nothing is lost.
"""

import re
from itertools import pairwise

from ia3_speech.dictation.codes import codes, digits, letters, ordinals
from ia3_speech.dictation.dates import MONTHS, dates, times, years
from ia3_speech.dictation.edits import Replacement
from ia3_speech.dictation.grammar import Grammar
from ia3_speech.dictation.measures import Rule, Written, ambiguous
from ia3_speech.dictation.quantities import (
    cardinals,
    counted_noun,
    currencies,
    labels,
    over,
    ranges,
    ratios,
    temperature,
    units,
)
from ia3_speech.dictation.spoken_numbers import (
    BELOW_HUNDRED,
    HYPHENATED,
    LARGE_ORDINALS,
    ORDINALS,
    SCALES,
    ZERO,
)

NUMBER_RULES: tuple[tuple[str, Rule], ...] = (  # in this order
    *(("dates", dates), ("over", over), ("years", years), ("times", times), ("digits", digits)),
    *(("ordinals", ordinals), ("codes", codes), ("letters", letters), ("ratios", ratios)),
    *(("ranges", ranges), ("", ambiguous), ("currencies", currencies), ("units", units)),
    *(("temperature", temperature), ("counted", counted_noun), ("labels", labels), ("cardinals", cardinals)),
)


SPOKEN = {*BELOW_HUNDRED, *ZERO, "hundred", *SCALES}
BEGINNINGS = {
    *(*BELOW_HUNDRED, *ZERO, *ORDINALS, *LARGE_ORDINALS, *MONTHS),
    *("a", "the", "minus", "negative", "point", "oh"),
}


def may_begin(word: str) -> bool:
    """Whether a rule can write anything where this word stands: most words need no closer look."""
    return word in BEGINNINGS or len(word) == 1 or word[0].isdigit()


def split_signs(word: str, following: str) -> list[str]:
    """ "five-s", "one" → "five", "-", "s": parts between which a sign was dictated, beside a spoken number; a
    letter behind the sign is one of a code that goes on with a number."""
    made = [""]
    for part in re.split("(?=[/-])", word):
        before, sign, behind = made[-1], part[:1], part[1:]
        if sign and sign in "/-" and joins_number(before.lower(), sign, behind.lower(), following.lower()):
            made += [sign, behind]
        else:
            made[-1] += part
    return made


def joins_number(before: str, sign: str, behind: str, following: str) -> bool:
    """Whether a sign stands between numbers, of which one is spoken, or between a number and a code."""
    sides = (before, behind)
    if not any(side in SPOKEN for side in sides) or (sign == "-" and f"{before}-{behind}" in HYPHENATED):
        return False
    code = len(behind) == 1 and following in SPOKEN
    return all(side in SPOKEN or side.isdigit() for side in sides) or (before in SPOKEN and code)


def number_changes(stretch: str, offset: int, grammar: Grammar) -> list[Replacement]:
    """Digits in place of the numbers of one stretch without punctuation, which begins at `offset`."""
    parts: list[str] = []
    starts: list[int] = []
    for word, following in pairwise([*stretch.split(" "), ""]):
        for part in split_signs(word, following):
            parts.append(part)
            starts.append(offset)
            offset += len(part)
        offset += 1
    lower = [part.lower().replace("’", "'") for part in parts]
    rules = [rule for name, rule in NUMBER_RULES if not name or name in grammar.rules]
    changes, at = [], 0
    while at < len(parts):
        results = (rule(lower, at, grammar) for rule in rules) if may_begin(lower[at]) else ()
        found = next((one for one in results if one), Written("", at + 1))
        if found.text:
            end = starts[found.end - 1] + len(parts[found.end - 1])
            changes.append(Replacement(starts[at], end, re.sub(" ([/-]) ", r"\1", found.text)))
        at = found.end
    return changes
