"""Dates, times and years of dictated text.

In: words in lower case and a place. Out: the date that begins there, as it is written, or None.
"""

import re
from collections.abc import Sequence

from ia3_speech.dictation.edits import Replacement, Tracked
from ia3_speech.dictation.grammar import Grammar
from ia3_speech.dictation.measures import Written, is_followed_by_number, is_measured_at
from ia3_speech.dictation.spoken_numbers import (
    DECADES,
    ONES,
    read_below_hundred,
    read_number,
    read_ordinal,
    read_pair,
    read_year,
    word_at,
)

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december"),
)
AMBIGUOUS_MONTHS = ("march", "may")
DATE_WORDS = ("on", "in", "of", "since", "until", "till", "from", "by", "before", "after", "during", "to")
YEAR_WORDS = (
    *("in", "since", "until", "till", "from", "by", "before", "after", "during", "year", "of"),
    "circa",
)
TIME_WORDS = ("at", "until", "till", "from", "around", "about", "before", "after", "by")
# "march third, twenty twenty four": `dates` itself writes the comma where one belongs.
YEAR_BEHIND_COMMA = re.compile(
    rf"\b(({'|'.join(MONTHS)})(?: (?:the )?(\w+(?:[ -]\w+)?))?), (?=([a-z]+(?: [a-z]+){{1,4}}))",
    re.IGNORECASE,
)
HALVES = {"am": "am", "pm": "pm", "a.m": "am", "p.m": "pm"}


def dates(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "the third of march twenty twenty four" → "3 March 2024", "april second" → "April 2"."""
    if word_at(words, at) in MONTHS:
        return month_first(words, at, grammar)
    start = at + (word_at(words, at) == "the")
    day = read_ordinal(words, start)
    cardinal = None if day or start > at or words[at] == "a" else read_number(words, at)
    if cardinal and cardinal.value == int(cardinal.value):
        day = int(cardinal.value), cardinal.end
    if not day or not 1 <= day[0] <= 31:
        return None
    end = day[1] + (word_at(words, day[1]) == "of" and not cardinal)
    month = word_at(words, end)
    if month not in MONTHS:
        return None
    if month in AMBIGUOUS_MONTHS and end == day[1] and not read_year(words, end + 1):
        return None
    return with_year(f"{day[0]} {month.capitalize()}", words, end + 1, " ")


def month_first(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "march third nineteen ninety nine" → "March 3, 1999", "march the third" → "3 March"; with a year alone
    "March 1999"."""
    month = words[at].capitalize()
    certain = words[at] not in AMBIGUOUS_MONTHS or word_at(words, at - 1) in DATE_WORDS
    article = word_at(words, at + 1) == "the"
    year = None if article else read_year(words, at + 1)
    if year and certain and not is_followed_by_number(words, year[1]):
        return Written(f"{month} {year[0]}", year[1])
    day = read_ordinal(words, at + 1 + article)
    if not day and not article and (found := read_below_hundred(words, at + 1)):
        clear = not is_followed_by_number(words, found[1]) or read_year(words, found[1])
        day = found if clear and not is_measured_at(words, found[1], grammar) else None
    if not day or not 1 <= day[0] <= 31 or word_at(words, day[1]) == "of":
        return None
    text, join = (f"{day[0]} {month}", " ") if article else (f"{month} {day[0]}", ", ")
    made = with_year(text, words, day[1], join)
    return made if certain or made.end > day[1] else None


def with_year(text: str, words: Sequence[str], at: int, join: str) -> Written:
    """A day and a month, with the year behind them if there is one."""
    year = read_year(words, at)
    if year and not is_followed_by_number(words, year[1]):
        return Written(f"{text}{join}{year[0]}", year[1])
    return Written(text, at)


def join_years(text: Tracked) -> Tracked:
    """The text without a dictated comma between a date and its year in words; 2000 may be a count."""

    def certain(match: re.Match) -> bool:
        day = match[3].lower().split() if match[3] else []
        found = read_ordinal(day, 0) or read_below_hundred(day, 0) if day else (0, 0)
        words = match[4].lower().split()
        year = read_year(words, 0)
        clear = year and year[0] != 2000 and not is_followed_by_number(words, year[1])
        return bool(clear and found and found[1] == len(day))

    matches = filter(certain, YEAR_BEHIND_COMMA.finditer(text.text))
    return text.changed(Replacement(match.end(1), match.end(), " ") for match in matches)


def years(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "nineteen ninety nine", "nineteen fifties", and behind "in" or "since" also "twenty fifteen"."""
    century, year = read_below_hundred(words, at), read_year(words, at)
    if century and 17 <= century[0] <= 20 and (decade := DECADES.get(word_at(words, century[1]))):
        return Written(f"{100 * century[0] + decade}s", century[1] + 1)
    if not year or words[at].isdigit() or is_followed_by_number(words, year[1]):
        return None
    before = word_at(words, at - 1)
    if before not in YEAR_WORDS and (words[at] != "nineteen" or before == "at"):
        return None
    return None if is_measured_at(words, year[1], grammar) else Written(str(year[0]), year[1])


def times(words: Sequence[str], at: int, grammar: Grammar) -> Written | None:
    """ "ten thirty a m" → "10:30 am", "three p m" → "3 pm", "at six forty five" → "at 6:45", "oh eight
    hundred hours" → "08:00", "at fourteen thirty hours" → "at 14:30"; "ten past three" stays."""
    if words[at] in ("oh", "zero"):
        hour = ONES.get(word_at(words, at + 1))
        full = hour and tuple(words[at + 2 : at + 4]) == ("hundred", "hours")
        return Written(f"0{hour}:00", at + 4) if full else None
    hour = read_below_hundred(words, at)
    if not hour:
        return None
    if word_at(words, hour[1]) == "past" and (after := read_number(words, hour[1] + 1)):
        return Written("", after.end)
    if hour[0] > 23:
        return None
    if word_at(words, hour[1]) == "hundred" and word_at(words, hour[1] + 1) == "hours":
        return Written(f"{hour[0]:02}:00", hour[1] + 2)
    pair = read_pair(words, at)
    if pair and pair[1] >= 60:
        pair = None
    text, end = (f"{pair[0]}:{pair[1]:02}", pair[2]) if pair else (str(hour[0]), hour[1])
    if half := half_of_day(words, end):
        return Written(f"{text} {half.text}", half.end) if hour[0] <= 12 else None
    if word_at(words, end) == "o'clock" and not pair:
        return Written(f"{text} o'clock", end + 1)
    if pair and word_at(words, end) == "hours" and word_at(words, at - 1) == "at":
        return Written(text, end + 1)
    clear = not is_followed_by_number(words, end) and not is_measured_at(words, end, grammar)
    return Written(text, end) if pair and clear and word_at(words, at - 1) in TIME_WORDS else None


def half_of_day(words: Sequence[str], at: int) -> Written | None:
    """am or pm, in one word or in two."""
    if half := HALVES.get(word_at(words, at)):
        return Written(half, at + 1)
    if word_at(words, at) in ("a", "p") and word_at(words, at + 1) == "m":
        return Written(f"{words[at]}m", at + 2)
    return None
