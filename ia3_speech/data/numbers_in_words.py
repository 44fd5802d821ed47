"""Numbers in English text, written in words: for a base that cannot write digits.

"give 2.5 mg at 38.5 °C" → "give two point five milligrams at thirty eight point five degrees celsius".
Cardinals, ordinals and years are num2words's. Digits do not tell how a number was spoken (2015: two thousand
and fifteen, twenty fifteen): the most frequent reading is taken, and examples are logged.
"""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ia3_speech.common.formatting import plural, shorten
from ia3_speech.data.utterance import Utterance

logger = logging.getLogger(__name__)

MAX_LOGGED = 8  # changes that the log shows
ENGLISH_LETTERS = set("abcdefghijklmnopqrstuvwxyz")

# Symbols → singular; the plural adds an s to the first word, where IRREGULAR has no other.
# fmt: off
UNITS = {
    "%": "percent", "‰": "per mille", "°C": "degree celsius", "°F": "degree fahrenheit", "°": "degree",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "µg": "microgram", "mcg": "microgram", "ng": "nanogram",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "km": "kilometer", "m": "meter", "cm": "centimeter",
    "mm": "millimeter", "µm": "micrometer", "nm": "nanometer", "mi": "mile", "ft": "foot", "yd": "yard",
    "l": "liter", "L": "liter", "dl": "deciliter", "cl": "centiliter", "ml": "milliliter", "dL": "deciliter",
    "mL": "milliliter", "h": "hour", "hr": "hour", "hrs": "hour", "min": "minute", "mins": "minute",
    "s": "second", "sec": "second", "secs": "second", "ms": "millisecond", "Hz": "hertz", "kHz": "kilohertz",
    "MHz": "megahertz", "GHz": "gigahertz", "dB": "decibel", "V": "volt", "mV": "millivolt", "kV": "kilovolt",
    "W": "watt", "kW": "kilowatt", "kWh": "kilowatt hour", "mA": "milliampere", "J": "joule",
    "kJ": "kilojoule", "kcal": "kilocalorie", "Pa": "pascal", "hPa": "hectopascal", "kPa": "kilopascal",
    "mol": "mole", "mmol": "millimole", "IU": "international unit", "kB": "kilobyte", "MB": "megabyte",
    "GB": "gigabyte", "TB": "terabyte", "mmHg": "millimeter of mercury", "mph": "mile per hour",
    "kph": "kilometer per hour", "bpm": "beat per minute", "rpm": "revolution per minute",
}
IRREGULAR = {
    "percent": "percent", "per mille": "per mille", "foot": "feet", "hertz": "hertz",
    "kilohertz": "kilohertz", "megahertz": "megahertz", "gigahertz": "gigahertz",
    "kilowatt hour": "kilowatt hours", "international unit": "international units",
}
ANY_CASE = {symbol.lower(): name for symbol, name in UNITS.items() if len(symbol) > 1}  # "38 °c", "5 MG"
POWERS = {"²": "square ", "³": "cubic ", "": ""}
CURRENCIES = {  # symbol → singular, plural, singular and plural of a hundredth
    "$": ("dollar", "dollars", "cent", "cents"), "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"), "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
SCALES = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion"}
SYMBOLS = {
    "-": "minus", "−": "minus", "+": "plus", "±": "plus or minus", "=": "equals", "×": "times", "x": "times",
    "<": "less than", ">": "more than", "≤": "at most", "≥": "at least", "~": "about", "≈": "about",
    "#": "number", "№": "number",
}
# fmt: on
DENOMINATORS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
SIGNS = "-−+±"

HOLDS_DIGIT = re.compile("[0-9０-９¼-¾⅐-⅞]")
WIDE_DIGITS = str.maketrans("０１２３４５６７８９", "0123456789")
INTEGER = "(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
NUMBER = rf"(?:{INTEGER}(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
SIGN = rf"(?:(?<![^\s(\[])[{SIGNS}])?"  # at the start of a word; elsewhere a hyphen is a range or joins words
RANGE = rf"({SIGN}{NUMBER})(?:\s?[-–—]\s?({NUMBER}))?"
SYMBOL = "|".join(re.escape(symbol) for symbol in sorted([*UNITS, *ANY_CASE], key=len, reverse=True))
# It is read digit by digit, and before all else, since patterns and num2words are slow on it.
LONG_NUMBER = r"((?<=[0-9])\.)?([0-9](?:,?[0-9]){39,})"
UNIT = rf"({SYMBOL})([²³]?)(?:/({SYMBOL})([²³]?))?(?![\w°])"


def needs_words(characters: Iterable[str]) -> bool:
    """Whether numbers must be in words: `characters`, which a base can write or has written, hold no
    digits and only English letters. Numbers in other languages are not changed."""
    letters = {letter for text in characters for letter in text.lower() if letter.isalnum()}
    return letters <= ENGLISH_LETTERS


def numbers_in_words(
    utterances: Sequence[Utterance], where: str, reason: str = "since the base has no digits"
) -> list[Utterance]:
    """The utterances, their texts as `texts_in_words` returns them."""
    texts = texts_in_words([u.text or "" for u in utterances], where, reason)
    return [replace(u, text=u.text and text) for u, text in zip(utterances, texts, strict=True)]


def texts_in_words(texts: Sequence[str], where: str, reason: str) -> list[str]:
    """The texts with their numbers in words. A warning names the changes, their file (`where`) and reason."""
    changes: Counter[str] = Counter()
    in_words = [verbalize_numbers(text, changes) for text in texts]
    if count := changes.total():
        listed = [f"{change} ({times} ×)" for change, times in changes.most_common()]
        logger.warning(
            f"{where}: {plural(count, 'number was', 'numbers were')} written in words, {reason}: "
            f"{shorten(listed, most=MAX_LOGGED)} (write them out as they were spoken, where that differs)"
        )
    return in_words


def verbalize_numbers(text: str, changes: Counter[str] | None = None) -> str:
    """`text`, not normalised, with its numbers, their symbols and units in English words. A text
    without digits stays as it is. `changes` receives counts: {"$3.50 → three dollars and fifty cents": 1}."""
    if not HOLDS_DIGIT.search(text):
        return text
    text = text.translate(WIDE_DIGITS)
    text = re.sub("(?<=[0-9])(?=[¼-¾⅐-⅞])", " ", text)  # "5½" → "5 1/2"
    text = re.sub("[¼-¾⅐-⅞]", lambda m: unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"), text)
    for pattern, spoken in RULES:
        text = re.sub(pattern, lambda match, spoken=spoken: replaced(match, spoken, changes), text)
    return text


def replaced(match: re.Match, spoken: Callable[[re.Match], str], changes: Counter[str] | None) -> str:
    """The replacement of a match: its words, with blanks between them and letters beside them."""
    words = spoken(match)
    if changes is not None:
        changes[f"{match[0].strip()} → {words.strip()}"] += 1
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return f"{' ' if before.isalnum() else ''}{words}{' ' if after.isalnum() else ''}"


def cardinal(number: str) -> str:
    """ "1,250.50" → "one thousand two hundred and fifty point five zero"; "007" digit by digit."""
    if number[0] in SIGNS:
        return f"{SYMBOLS[number[0]]} {cardinal(number[1:])}"
    whole, point, decimals = number.replace(",", "").partition(".")
    words = []
    if whole:
        by_digit = len(whole) > 12 or (whole[0] == "0" and len(whole) > 1)
        words.append(digits_in_words(whole) if by_digit else num2words(int(whole)))
    return " ".join([*words, "point", digits_in_words(decimals)] if point else words)


def digits_in_words(number: str) -> str:
    return " ".join(num2words(int(digit)) for digit in number)


def num2words(number: int, to: str = "cardinal") -> str:
    """The library's words, without hyphens and commas."""
    from num2words import num2words as convert

    return convert(number, to=to).replace("-", " ").replace(",", "")


def year(number: str) -> str:
    return num2words(int(number), "year")


def unit_name(symbol: str, power: str, *, plural: bool) -> str:
    name = UNITS.get(symbol) or ANY_CASE[symbol.lower()]
    if plural:
        first, *rest = name.split(" ")
        name = IRREGULAR.get(name) or " ".join([IRREGULAR.get(first, first + "s"), *rest])
    return POWERS[power] + name


def unit_names(symbol: str, power: str, per: str | None, per_power: str | None, *, plural: bool) -> str:
    """ "m", "", "s", "²" → "meters per square second"."""
    name = unit_name(symbol, power, plural=plural)
    return f"{name} per {unit_name(per, per_power or '', plural=False)}" if per else name


def quantity(match: re.Match) -> str:
    low, high, *unit = match.groups()
    plural = bool(high) or low.lstrip(SIGNS) != "1"
    return f"{cardinal(low)}{f' to {cardinal(high)}' if high else ''} {unit_names(*unit, plural=plural)}"


def unit_of_fraction(match: re.Match) -> str:
    plural = bool(match[1]) or int(match[2]) >= int(match[3])
    return f"{fraction(match)} {unit_names(*match.groups()[3:], plural=plural)}"


def fraction(match: re.Match) -> str:
    """ "1/2" → "one half", "2 3/4" → "two and three quarters", "7/80" → "seven over eighty"."""
    whole, above, below = match[1], int(match[2]), int(match[3])
    if not above < below <= 10 or above == 0:
        words = f"{num2words(above)} over {num2words(below)}"
        return f"{cardinal(whole)} {words}" if whole else words
    ordinal = num2words(below, "ordinal")
    singular, plural = DENOMINATORS.get(below, (ordinal, ordinal + "s"))
    words = f"{num2words(above)} {singular if above == 1 else plural}"
    return f"{cardinal(whole)} and {words}" if whole else words


def money(symbol: str, low: str, high: str | None, scale: str | None) -> str:
    singular, plural, cent, cents = CURRENCIES[symbol]
    if high or scale:
        scale = scale and SCALES.get(scale.lower(), scale.lower())
        return " ".join(filter(None, [cardinal(low), high and f"to {cardinal(high)}", scale, plural]))
    whole, _, hundredths = low.partition(".")
    amount = whole.replace(",", "").lstrip(f"{SIGNS}0")
    if hundredths and len(hundredths) != 2:
        return f"{cardinal(low)} {plural}"
    small = f"{num2words(int(hundredths or 0))} {cent if hundredths == '01' else cents}"
    if int(hundredths or 0) and not amount:
        return small
    large = f"{cardinal(whole or '0')} {singular if amount == '1' else plural}"
    return f"{large} and {small}" if int(hundredths or 0) else large


def clock_in_words(match: re.Match) -> str:
    hour, minute, second, half_day = int(match[1]), match[2], match[3], match[4] or ""
    words = num2words(hour)
    if minute == "00" and not second:
        return words + (half_day or (" o'clock" if 0 < hour <= 12 else " hundred"))
    words += f" {'oh ' if minute[0] == '0' else ''}{num2words(int(minute))}"
    return words + (f" and {num2words(int(second))} seconds" if second else "") + half_day


def decade(match: re.Match) -> str:
    number = match[1]
    words = year(number) if len(number) == 4 else num2words(int(number))
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def date(match: re.Match) -> str:
    parts = re.split("[-/.]", match[0])
    return " ".join(year(part) if len(part) == 4 else num2words(int(part)) for part in parts)


def number_in_words(match: re.Match) -> str:
    low, high = match.groups()
    if high is None:
        return cardinal(low)
    is_range = len(high) <= 3 or len(low) == len(high)  # else it may be a telephone number
    return f"{cardinal(low)} {'to ' if is_range else ''}{cardinal(high)}"


FRACTION = r"(?:(?<![0-9.])([0-9]+)\s)?(?<![0-9./])([0-9]+)\s?/\s?([0-9]+)(?![0-9/]|\.[0-9])"
YEAR = r"(?:19|20)[0-9]{2}"
EARLIER_YEAR = (
    r"(?<=\b(?:in|of|by) )1[1-8][0-9]{2}|(?<=\b(?:year|from) )1[1-8][0-9]{2}|(?<=\bsince )1[1-8][0-9]{2}"
)
ALONE = r"(?![\w,.:/-]*[0-9])"  # not a part of a longer number
# In this order. A rule writes no digits, so that no later rule changes its words. Patterns are compiled at
# their first use.
RULES: list[tuple[str, Callable[[re.Match], str]]] = [
    (LONG_NUMBER,
     lambda match: f"{'point ' if match[1] else ''}{digits_in_words(match[2].replace(',', ''))}"),
    (r"[<>≤≥~≈#№]\s?(?=[.0-9])", lambda match: SYMBOLS[match[0][0]]),
    (r"(?<=[0-9])\s?([=×±+])\s?(?=[0-9])|(?<=[0-9])\s?(x)\s?(?=[0-9])",
     lambda match: SYMBOLS[match[1] or match[2]]),
    (r"(?<=[0-9])\+(?![\w])", lambda match: "plus"),
    (r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b|\b[0-9]{1,2}([/.])[0-9]{1,2}\1(?:[0-9]{4}|[0-9]{2})\b", date),
    (r"\b[0-9]+(?:-[0-9]+){2,}\b", lambda match: " ".join(map(digits_in_words, match[0].split("-")))),
    (r"(?<![0-9.])[0-9]+(?:\.[0-9]+){2,}\b",
     lambda match: " point ".join(map(cardinal, match[0].split(".")))),
    (r"\b([01]?[0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9]))?\b(\s?[ap]\.?m\b)?", clock_in_words),
    (r"\b([0-9]+):([0-9]+)\b", lambda match: f"{cardinal(match[1])} to {cardinal(match[2])}"),
    (rf"({INTEGER})(?:st|nd|rd|th)\b", lambda match: num2words(int(match[1].replace(",", "")), "ordinal")),
    (r"(?<!\w)['’]?((?:1[0-9]|20)?[0-9]0)['’]?s\b", decade),
    (rf"({SIGN})([$£€¥₹])\s?({NUMBER})(?:\s?[-–—]\s?({NUMBER}))?"
     r"(?:\s?(hundred|thousand|million|billion|trillion|[kKmMbB]|bn)\b)?",
     lambda match: " ".join(filter(None, [SYMBOLS.get(match[1]), money(*match.groups()[1:])]))),
    (rf"{RANGE}()\s?([€£$¥₹])", lambda match: money(match[4], match[1], match[2], None)),
    (rf"{FRACTION}\s?{UNIT}", unit_of_fraction),
    (FRACTION, fraction),
    (rf"{RANGE}\s?{UNIT}", quantity),
    (rf"\b({YEAR})\s?[-–—]\s?({YEAR})\b", lambda match: f"{year(match[1])} to {year(match[2])}"),
    (rf"(?<![\w.,$-])(?:{YEAR}|{EARLIER_YEAR}){ALONE}", lambda match: year(match[0])),
    (RANGE, number_in_words),
]  # fmt: skip
