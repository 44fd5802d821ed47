"""The points of a learning curve and of a trade-off, and the epochs of a training: read and checked.

    curve.json      {"set": SET, "base": {"wer": …, "lo": …, "hi": …},
                     "points": [{"minutes": 5, "seed": 1, "wer": …, "lo": …, "hi": …}, …]}
    trade_off.json  {"own": SET, "general": SET,
                     "points": [{"scale": 0.5, "wer": …, "lo": …, "hi": …,
                                 "general_wer": …, "general_lo": …, "general_hi": …}, …]}
    metrics.jsonl   {"epoch": 1, "loss": …, "dev_wer": …, "selected_epoch": 1}, a line an epoch

Rates are fractions; `set`, `base`, `seed`, `lo` and `hi` may be missing, and a list alone is its points. A
learning curve may count `utterances` in place of `minutes`; without `base` its points of 0 minutes are the
base. Points of a trade-off with `pull` in place of `scale` are adapters trained with that pull.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ia3_speech.cli import UserError
from ia3_speech.training.records import present_names

Json = dict[str, Any]


@dataclass(frozen=True)
class Rate:
    """A WER as a fraction, with its interval or None and None."""

    wer: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class CurvePoint:
    """What so much audio made of the base; `amount` is above 0."""

    amount: float
    seed: str
    rate: Rate


@dataclass(frozen=True)
class Curve:
    """A learning curve, points in order of amount and seed."""

    unit: Literal["minutes", "utterances"]
    base: Rate | None
    points: list[CurvePoint]
    set: str = ""  # its name, if it is known


@dataclass(frozen=True)
class TradeOffPoint:
    """One adapter on its own set and on general speech."""

    way: Literal["scale", "pull"]
    value: float
    own: Rate
    general: Rate


@dataclass(frozen=True)
class TradeOff:
    """`own` and `general` are the names of the two sets."""

    own: str
    general: str
    points: list[TradeOffPoint]


def read_json(file: Path) -> Json:
    """A JSON object. Raises UserError for anything else."""
    return an_object(str(file), parse(str(file), file.read_bytes()))


def parse(place: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: is not JSON: {error} (damaged: make it again)") from None


def an_object(place: str, found: Any) -> Json:
    if not isinstance(found, dict):
        raise UserError(f"{place}: is not a JSON object")
    return found


def number(place: str, record: Json, name: str) -> float:
    """A finite number. Raises UserError."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{place}: {name} is {value!r}, not a number")
    return value


def read_training(file: Path) -> list[Json]:
    """metrics.jsonl: each epoch has epoch, loss, dev_wer and, so far, selected_epoch. Raises UserError."""
    rows: list[Json] = []
    for line_number, line in enumerate(file.read_bytes().splitlines(), start=1):
        place = f"{file}:{line_number}"
        rows.append(present_names(an_object(place, parse(place, line))))
        for name in ("epoch", "loss", "dev_wer", "selected_epoch"):
            number(place, rows[-1], name)
        if rows[-1]["selected_epoch"] not in {row["epoch"] for row in rows}:
            raise UserError(f"{place}: no line has the selected epoch, {rows[-1]['selected_epoch']}")
    return rows


def read_curve(file: Path) -> Curve:
    """A learning curve. Raises UserError."""
    found, records = read_records(file)
    unit = "utterances" if "utterances" in records[0][1] else "minutes"
    base = an_object(f"{file}: base", found["base"]) if found.get("base") else None
    rates = [(number(place, point, unit), rate(place, point), point.get("seed")) for place, point in records]
    at_zero = [own for amount, own, _ in rates if amount <= 0]
    points = [
        CurvePoint(amount, "–" if seed is None else str(seed), own)
        for amount, own, seed in rates
        if amount > 0
    ]
    if not points:
        raise UserError(f"{file}: no point has more than 0 {unit}")
    return Curve(
        unit,
        rate(f"{file}: base", base) if base else at_zero[0] if at_zero else None,
        sorted(points, key=lambda point: (point.amount, point.seed)),
        str(found.get("set") or ""),
    )


def read_trade_off(file: Path) -> TradeOff:
    """A trade-off. Raises UserError."""
    found, records = read_records(file)
    points = []
    for place, point in records:
        way = "pull" if "pull" in point else "scale"
        value = number(place, point, way)
        points.append(TradeOffPoint(way, value, rate(place, point), rate(place, point, "general_")))
    points.sort(key=lambda point: (point.way != "scale", point.value))
    return TradeOff(str(found.get("own", "own speech")), str(found.get("general", "general speech")), points)


def read_records(file: Path) -> tuple[Json, list[tuple[str, Json]]]:
    """The object, and each of its points with the place that an error names."""
    found = parse(str(file), file.read_bytes())
    found = {"points": found} if isinstance(found, list) else an_object(str(file), found)
    points = found.get("points")
    if not isinstance(points, list) or not points:
        raise UserError(f'{file}: has no "points"')
    places = [f"{file}: point {count}" for count in range(1, len(points) + 1)]
    return found, [(place, an_object(place, point)) for place, point in zip(places, points, strict=True)]


def rate(place: str, record: Json, prefix: str = "") -> Rate:
    ends = [
        None if record.get(prefix + name) is None else number(place, record, prefix + name)
        for name in ("lo", "hi")
    ]
    return Rate(number(place, record, f"{prefix}wer"), *ends)


def all_ends(rates: list[Rate]) -> Iterator[float]:
    """Every number in the rates: what an axis has to reach."""
    for one in rates:
        yield one.wer
        yield from one.interval or ()
