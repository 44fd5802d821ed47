"""Doses, units, ranges, ratios, blood pressure and plain numbers of dictated text.

In: words in lower case and a place. Out: the quantity that begins there, as it is written, or None.
"""

from collections.abc import Sequence

from ia3_speech.dictation.grammar import Grammar
from ia3_speech.dictation.measures import (
    NEAR,
    Written,
    alone,
    degrees_at,
    is_followed_by_number,
    is_measured_at,
    measured,
    unit_at,
)
from ia3_speech.dictation.spoken_numbers import (
    SCALES,
    Number,
    read_number,
    read_pair,
    read_year,
    starts_number,
    word_at,
)

# "at this point five milligrams": what stands before a "point" that is no decimal point.
POINT_IS_A_WORD = (
    *("this", "that", "the", "a", "which", "what", "some", "any", "no", "one", "each", "every", "trigger"),
    *("end", "starting", "entry", "focal", "same", "last", "first", "turning"),
)
AGES = ("day", "week", "month", "year")  # "three year old"
EYES = ("vision", "acuity", "eye", "eyes")  # "vision twenty over forty", "left eye six over nine"
GRADES = ("grade", "power")  # "grade three over six"


def over(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """Blood pressure, "one twenty over eighty" → "120/80", "grade three over six" → "3/6", "vision twenty
    over forty" → "20/40", and numbers with a dictated slash between."""
    pair = read_pair(words, at)
    if pair and pair[0] <= 2:
        upper, end = 100 * pair[0] + pair[1], pair[2]
    elif number := read_number(words, at):
        upper, end = number.value, number.end
    else:
        return None
    if word_at(words, end) == "/":
        return slashed(words, f"{upper:g}", end, grammar)
    lower = alone(read_number(words, end + 1), words) if word_at(words, end) == "over" else None
    if not lower:
        return None
    pressure = 60 <= upper <= 300 and 20 <= lower.value <= 200 and lower.value < upper
    grade = word_at(words, at - 1) in GRADES and upper <= lower.value <= 10
    seen = upper in (6, 20) and any(word in EYES for word in words[max(0, at - NEAR) : at])
    if seen and is_measured_at(words, lower.end, grammar):
        return None
    return Written(f"{upper:g}/{lower.text}", lower.end) if pressure or grade or seen else None


def slashed(words: Sequence[str], first: str, at: int, grammar: Grammar) -> Written | None:
    """Numbers with dictated slashes between, the third of which may be a year: "three / four / twenty
    twenty" → "3/4/2020"."""
    texts, end = [first], at
    while word_at(words, end) == "/":
        found = alone(read_number(words, end + 1), words)
        year = read_year(words, end + 1) if len(texts) == 2 else None
        if year and not is_followed_by_number(words, year[1]):
            texts, end = [*texts, str(year[0])], year[1]
        elif found:
            texts, end = [*texts, found.text], found.end
        else:
            return Written("", end) if starts_number(words, end + 1) else None
    unit = unit_at(words, end, grammar) if "units" in grammar.rules else None
    return Written("/".join(texts) + (unit.text if unit else ""), unit.end if unit else end)


def ratios(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "one in one thousand" → "1 in 1,000", "seven out of ten" → "7 out of 10"."""
    first = read_number(words, at)
    if not first:
        return None
    out_of = tuple(words[first.end : first.end + 2]) == ("out", "of")
    if not out_of and word_at(words, first.end) != "in":
        return None
    second = alone(read_number(words, first.end + 1 + out_of), words)
    if not second or not 0 <= first.value <= second.value:
        return None
    unit = measured(words, second, grammar)
    if unit and (unit.text or not out_of):
        return None
    if not out_of and (second.value < 10 or 1700 <= second.value < 2100):  # a year
        return None
    return Written(f"{first.text} {'out of' if out_of else 'in'} {second.text}", second.end)


def ranges(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "five to ten milligrams" → "5 to 10 mg", "two by two centimetres" → "2 × 2 cm", "between two and three
    weeks"."""
    first = read_number(words, at)
    joint = word_at(words, first.end) if first else ""
    if joint not in ("to", "or", "by", "-") and not (joint == "and" and word_at(words, at - 1) == "between"):
        return None
    second = alone(read_number(words, first.end + 1), words)
    if not second or min(first.value, second.value) < 0:
        return None
    if shares_scale(words, first, second):
        return Written("", second.end)
    if unit := measured(words, second, grammar):
        sign = "×" if joint == "by" else joint
        return Written(f"{first.text} {sign} {second.text}{unit.text}", unit.end)
    if joint == "by":
        return None
    if first.value > second.value:
        return Written("", second.end)  # "ten to three" is a time
    if second.value < 10 or first.value == second.value:
        return None
    return Written(f"{first.text} {joint} {second.text}", second.end)


def shares_scale(words: Sequence[str], first: Number, second: Number) -> bool:
    """Whether "hundred" or "thousand" may belong to both: "two to three hundred", "ten or fifteen
    thousand"."""
    scale = {"hundred": 100, **SCALES}.get(words[second.end - 1])
    return bool(scale and first.value < second.value / scale)


def units(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "five hundred milligrams" → "500 mg", "point five milligrams" → "0.5 mg", "two and a half grams"."""
    if word_at(words, at) == "point":
        number = point_number(words, at)
    else:
        number = with_half(words, read_number(words, at))
    unit = number and unit_at(words, number.end, grammar)
    return Written(number.text + unit.text, unit.end) if unit else None


def point_number(words: Sequence[str], at: int) -> Number | None:
    """ "point five" → 0.5, unless the point is a word or belongs to a number before it."""
    if word_at(words, at - 1) in POINT_IS_A_WORD or starts_number(words, at - 1):
        return None
    found = read_number(["zero", *words[at:]], 0)
    return Number(found.text, found.end + at - 1, found.value) if found else None


def with_half(words: Sequence[str], number: Number | None) -> Number | None:
    """ "two and a half" → "2½"."""
    if number and number.spoken and list(words[number.end : number.end + 3]) == ["and", "a", "half"]:
        return Number(f"{number.text}½", number.end + 3, number.value + 0.5)
    return number


def temperature(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "thirty eight point five degrees" → "38.5 °C"."""
    number = read_number(words, at)
    unit = number and degrees_at(words, number, grammar)
    return Written(number.text + unit.text, unit.end) if unit else None


def currencies(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "two hundred fifty dollars" → "$250"."""
    number = read_number(words, at)
    symbol = number and grammar.currency_forms.get(word_at(words, number.end))
    return Written(f"{symbol}{number.text}", number.end + 1) if symbol and number.value >= 0 else None


def counted_noun(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "two tablets" → "2 tablets", "three year old" → "3-year-old", but "one day" stays."""
    number = with_half(words, read_number(words, at))
    if not number or not number.spoken or is_article_alone(words, at, number):
        return None
    unit, old = word_at(words, number.end), word_at(words, number.end + 1)
    if number.value > 1 and unit in AGES and old in ("old", "olds"):
        return Written(f"{number.text}-{unit}-{old}", number.end + 2)
    known = grammar.counted_from_one if number.value == 1 else grammar.counted_words
    return Written(number.text, number.end) if word_at(words, number.end) in known else None


def labels(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """The number behind "type" or "grade"; "step two by two" and "in this section one finds" stay."""
    if word_at(words, at - 1) not in grammar.labels:
        return None
    if words[at] == "one" and word_at(words, at - 2) in ("this", "that"):
        return None
    number = alone(read_number(words, at), words)
    if not number or not number.spoken or is_measured_at(words, number.end, grammar):
        return None
    return None if word_at(words, number.end) == "by" else Written(number.text, number.end)


def cardinals(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """From ten on, and with decimals."""
    number = with_half(words, read_number(words, at))
    if not number or not number.spoken or not alone(number, words):
        return None
    if is_article_alone(words, at, number):
        return Written("", number.end)
    if abs(number.value) < 10 and number.value == int(number.value):
        return None
    year = 2000 <= number.value < 2100 and not is_measured_at(words, number.end, grammar)
    return Written(number.text.replace(",", "") if year else number.text, number.end)


def is_article_alone(words: Sequence[str], at: int, number: Number) -> bool:
    """ "a hundred", which is a number only before a unit."""
    return words[at] == "a" and number.end == at + 2
