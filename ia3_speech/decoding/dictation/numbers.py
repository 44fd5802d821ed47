"""Numbers of dictated text in digits: which rule looks first.

In: words between two punctuation marks, and a `Grammar`. Out: the words with their numbers written. A rule
looks at one place and returns what is written there, or nothing. A number that can be read in two ways ("two
fifty milligrams": 250 mg, or two of 50 mg) is left in words: nothing is lost.
"""

from collections.abc import Sequence

from ia3_speech.decoding.dictation.codes import codes, digits, letters, ordinals
from ia3_speech.decoding.dictation.dates import MONTHS, dates, times, years
from ia3_speech.decoding.dictation.grammar import Grammar
from ia3_speech.decoding.dictation.measures import Rule, Written, ambiguous
from ia3_speech.decoding.dictation.quantities import (
    cardinals,
    counted,
    currencies,
    labels,
    over,
    ranges,
    ratios,
    temperature,
    units,
)
from ia3_speech.decoding.dictation.spoken_numbers import BELOW_HUNDRED, LARGE_ORDINALS, ORDINALS, ZERO

NUMBER_RULES: tuple[tuple[str, Rule], ...] = (  # in this order
    *(("dates", dates), ("over", over), ("years", years), ("times", times), ("digits", digits)),
    *(("ordinals", ordinals), ("codes", codes), ("letters", letters), ("ratios", ratios)),
    *(("ranges", ranges), ("", ambiguous), ("currencies", currencies), ("units", units)),
    *(("temperature", temperature), ("counted", counted), ("labels", labels), ("cardinals", cardinals)),
)


BEGINNINGS = {
    *(*BELOW_HUNDRED, *ZERO, *ORDINALS, *LARGE_ORDINALS, *MONTHS),
    *("a", "the", "minus", "negative", "point", "oh"),
}


def may_begin(word: str) -> bool:
    """Whether a rule can write anything where this word stands: most words need no closer look."""
    return word in BEGINNINGS or len(word) == 1 or word[0].isdigit()


def write_numbers(words: Sequence[str], grammar: Grammar) -> list[str]:
    """Words of one stretch without punctuation, with their numbers in digits."""
    lower = [word.lower().replace("’", "'") for word in words]
    rules = [rule for name, rule in NUMBER_RULES if not name or name in grammar.rules]
    made, at = [], 0
    while at < len(words):
        results = (rule(lower, at, grammar) for rule in rules) if may_begin(lower[at]) else ()
        found = next((one for one in results if one), Written("", at + 1))
        made += [found.text] if found.text else words[at : found.end]
        at = found.end
    return made
