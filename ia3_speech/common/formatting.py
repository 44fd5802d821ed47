"""Rates, intervals, counts and tables as text for people: fractions in, percent out."""

import math
import re
from collections.abc import Collection, Iterable, Sequence

MISSING = "–"  # for a rate that does not exist: None or nan


def percent(fraction: float | None, digits: int = 1, signed: bool = False) -> str:
    """A fraction as a percentage without the percent sign; `signed` writes the plus sign of an increase.

    >>> percent(0.4567, 2), percent(-0.05), percent(0.05, signed=True), percent(None), percent(math.nan)
    ('45.67', '-5.0', '+5.0', '–', '–')
    """
    if fraction is None or math.isnan(fraction):
        return MISSING
    return f"{100 * fraction:{'+' if signed else ''}.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 1, signed: bool = False) -> str:
    """The lower and the upper bound; empty without an interval.

    >>> interval((-0.1, 0.02), signed=True), interval([0.401, 0.513], 2), interval(None)
    ('[-10.0, +2.0]', '[40.10, 51.30]', '')
    """
    return f"[{', '.join(percent(bound, digits, signed) for bound in bounds)}]" if bounds else ""


def with_interval(
    fraction: float | None, bounds: Sequence[float] | None, digits: int = 1, signed: bool = False
) -> str:
    """A percentage and the interval around it, if there is one.

    >>> with_interval(0.457, (0.401, 0.513)), with_interval(0.457, None), with_interval(None, None)
    ('45.7 [40.1, 51.3]', '45.7', '–')
    """
    return f"{percent(fraction, digits, signed)} {interval(bounds, digits, signed)}".rstrip()


def fewer_errors(change: float | None, bounds: Sequence[float]) -> str:
    """A relative change of errors, and its 95 % interval, in words.

    >>> fewer_errors(-0.287, (-0.364, -0.198))
    '29 % fewer errors (95 % interval 20 to 36 %)'
    >>> fewer_errors(0.05, (-0.02, 0.1))
    '5 % more errors (95 % interval 2 % fewer to 10 % more)'
    """
    if change is None:
        return "no errors before"
    low, high = ([percent(abs(bound), 0), "more" if bound > 0 else "fewer"] for bound in bounds)
    if low[1] == high[1]:  # the smaller number first
        ends = " to ".join(sorted([low[0], high[0]], key=float)) + " %"
    else:
        ends = f"{low[0]} % {low[1]} to {high[0]} % {high[1]}"
    return f"{percent(abs(change), 0)} % {'more' if change > 0 else 'fewer'} errors (95 % interval {ends})"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """A number of things; `nouns` is an irregular plural.

    >>> plural(1, "word"), plural(2345, "word"), plural(0, "hypothesis", "hypotheses")
    ('1 word', '2,345 words', '0 hypotheses')
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def shorten(entries: Sequence[str], separator: str = ", ", most: int = 10) -> str:
    """The first entries, and the number of the rest: `a, b and 3 more`."""
    more = len(entries) - most
    return separator.join(entries[:most]) + (f" and {more} more" if more > 0 else "")


def in_columns(rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """The lines of a table, columns two spaces apart: the columns in `left` flush left, others flush right.

    >>> in_columns([("accent", "words", "note"), ("indian", "9", "")], left=(0, 2))
    ['accent  words  note', 'indian      9']
    """
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    form = "  ".join(f"{{:{'<' if at in left else '>'}{width}}}" for at, width in enumerate(widths))
    return [form.format(*row).rstrip() for row in table]


def numeric_order(name: str) -> list[tuple[int, str]]:
    """A sort key for names that contain numbers.

    >>> sorted(["k10", "k5", "11-15", "6-10", "base"], key=numeric_order)
    ['6-10', '11-15', 'base', 'k5', 'k10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
