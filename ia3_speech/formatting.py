"""Rates, intervals and counts as people read them: fractions in, text in percent out."""

import math
from collections.abc import Sequence

MISSING = "–"  # what stands for a rate that does not exist: None or nan


def percent(fraction: float | None, digits: int = 1, signed: bool = False) -> str:
    """A fraction as a percentage without the percent sign; `signed` writes the plus sign of an increase.

    >>> percent(0.4567), percent(0.05, signed=True), percent(None)
    ('45.7', '+5.0', '–')
    """
    if fraction is None or math.isnan(fraction):
        return MISSING
    return f"{100 * fraction:{'+' if signed else ''}.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 1, signed: bool = False) -> str:
    """`[40.1, 51.3]` from the lower and the upper bound; nothing where there is no interval."""
    return f"[{', '.join(percent(bound, digits, signed) for bound in bounds)}]" if bounds else ""


def with_interval(
    fraction: float | None, bounds: Sequence[float] | None, digits: int = 1, signed: bool = False
) -> str:
    """`45.7 [40.1, 51.3]`: a percentage and the interval around it, if there is one."""
    return f"{percent(fraction, digits, signed)} {interval(bounds, digits, signed)}".rstrip()


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 word`, `2,345 words`; `nouns` is the plural where it is not the singular with an s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
