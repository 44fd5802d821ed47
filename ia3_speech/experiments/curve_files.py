"""curve.json, trade_off.json and metrics.jsonl: their formats, a reader that checks them, what writes them.

    curve.json      {"set": SET, "base": {"wer": …, "lo": …, "hi": …},
                     "points": [{"minutes": 5, "seed": 1, "wer": …, "lo": …, "hi": …}, …]}
    trade_off.json  {"own": SET, "out_of_domain": SET,
                     "points": [{"scale": 0.5, "wer": …, "lo": …, "hi": …,
                                 "out_of_domain_wer": …, "out_of_domain_lo": …, "out_of_domain_hi": …}, …]}
    metrics.jsonl   {"epoch": 1, "loss": …, "dev_wer": …, "selected_epoch": 1}, one line per epoch; epoch 0,
                    the start, has no loss

Rates are fractions. `set`, `base`, `seed`, `lo` and `hi` may be missing; a list instead of an object is its
points. A learning curve may count `utterances` instead of `minutes`; without `base`, points at 0 minutes are
the base. Points of a trade-off with `decay_to_one` instead of `scale` are adapters trained with that decay.
recipes/study.sh and speakers.sh train and decode what the points are made of.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError
from ia3_speech.experiments.systems import (
    DEV,
    GREEDY,
    OUT_OF_DOMAIN,
    Json,
    System,
    is_current,
    load_system,
    median_of,
)
from ia3_speech.scoring.results import Results


@dataclass(frozen=True)
class WerEstimate:
    """A WER as a fraction; low and high bound its 95 % interval, None without one."""

    wer: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def values(self) -> list[float]:
        """The WER and the bounds: what an axis has to include."""
        return [self.wer, *(self.interval or ())]


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training; number 0 is the start, which has no loss.

    Attributes:
        loss: mean CTC loss.
        dev_wer: WER of the development set, as a fraction.
        selected: the epoch whose adapter was selected, as of this epoch.
    """

    number: int
    loss: float | None
    dev_wer: float
    selected: int


@dataclass(frozen=True)
class LearningCurvePoint:
    """The WER after adaptation to so many minutes or utterances, above 0; the seed is "–" where unknown."""

    amount: float
    seed: str
    estimate: WerEstimate


@dataclass(frozen=True)
class LearningCurve:
    """WER by the amount of audio adapted to.

    Attributes:
        unit: of the amounts.
        base: the WER of the base; None where unknown.
        points: in order of amount and seed.
        set: name of the test set; empty where unknown.
    """

    unit: Literal["minutes", "utterances"]
    base: WerEstimate | None
    points: list[LearningCurvePoint]
    set: str = ""


@dataclass(frozen=True)
class TradeOffPoint:
    """One adapter on an in-domain test set (own) and on out-of-domain speech.

    Attributes:
        setting: what was varied: the scale of the adapter, or the decay towards 1 that it was trained with.
    """

    setting: Literal["scale", "decay_to_one"]
    value: float
    own: WerEstimate
    out_of_domain: WerEstimate

    @property
    def name(self) -> str:
        """`scale 0.5` or `decay 0.1`."""
        return f"{'scale' if self.setting == 'scale' else 'decay'} {self.value:g}"


@dataclass(frozen=True)
class TradeOff:
    """In-domain WER against out-of-domain WER, with the names of both test sets.

    Attributes:
        points: the scaled adapter first, by scale, then those trained with a decay.
    """

    own: str
    out_of_domain: str
    points: list[TradeOffPoint]


def read_training_log(file: Path) -> list[Epoch]:
    """The epochs of metrics.jsonl. Raises UserError naming file and line."""
    epochs: list[Epoch] = []
    for line_number, line in enumerate(file.read_bytes().splitlines(), start=1):
        location = f"{file}:{line_number}"
        row = as_object(location, parse_json(location, line))
        names = ("epoch", "dev_wer", "selected_epoch")
        number, dev_wer, selected = (finite_number(location, row, name) for name in names)
        loss = finite_number(location, row, "loss") if number else None
        epochs.append(Epoch(number, loss, dev_wer, selected))
    return epochs


def read_learning_curve(file: Path) -> LearningCurve:
    """A learning curve. Raises UserError naming file and point."""
    content, rows = read_points(file)
    unit = "utterances" if "utterances" in rows[0][1] else "minutes"
    base = content.get("base")
    base = read_estimate(f"{file}: base", as_object(f"{file}: base", base)) if base else None
    points = []
    for location, row in rows:
        seed = "–" if row.get("seed") is None else str(row["seed"])
        amount = finite_number(location, row, unit)
        points.append(LearningCurvePoint(amount, seed, read_estimate(location, row)))
    base = base or next((point.estimate for point in points if point.amount <= 0), None)
    points = sorted((p for p in points if p.amount > 0), key=lambda point: (point.amount, point.seed))
    if not points:
        raise UserError(f"{file}: no point has more than 0 {unit}")
    return LearningCurve(unit, base, points, str(content.get("set") or ""))


def read_trade_off(file: Path) -> TradeOff:
    """A trade-off. Raises UserError naming file and point."""
    content, rows = read_points(file)
    points = []
    for location, row in rows:
        setting = "decay_to_one" if "decay_to_one" in row else "scale"
        value = finite_number(location, row, setting)
        own, out_of_domain = read_estimate(location, row), read_estimate(location, row, "out_of_domain_")
        points.append(TradeOffPoint(setting, value, own, out_of_domain))
    points.sort(key=lambda point: (point.setting != "scale", point.value))
    names = (content.get("own", "in-domain speech"), content.get("out_of_domain", "out-of-domain speech"))
    return TradeOff(*map(str, names), points)


def read_points(file: Path) -> tuple[Json, list[tuple[str, Json]]]:
    """The object of a file of points, and each point with the location that an error names."""
    content = parse_json(str(file), file.read_bytes())
    content = {"points": content} if isinstance(content, list) else as_object(str(file), content)
    points = content.get("points")
    if not isinstance(points, list) or not points:
        raise UserError(f'{file}: has no "points"')
    rows = [(f"{file}: point {index}", point) for index, point in enumerate(points, start=1)]
    return content, [(location, as_object(location, point)) for location, point in rows]


def read_json_object(file: Path) -> Json:
    """A JSON object. Raises UserError for anything else."""
    return as_object(str(file), parse_json(str(file), file.read_bytes()))


def parse_json(location: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{location}: is not JSON: {error} (damaged: make it again)") from None


def as_object(location: str, value: Any) -> Json:
    if not isinstance(value, dict):
        raise UserError(f"{location}: is not a JSON object")
    return value


def finite_number(location: str, row: Json, name: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{location}: {name} is {value!r}, not a number")
    return value


def read_estimate(location: str, row: Json, prefix: str = "") -> WerEstimate:
    """The fields wer, lo and hi, after `prefix`. Raises UserError."""
    bounds = (f"{prefix}{name}" for name in ("lo", "hi"))
    bounds = (None if row.get(name) is None else finite_number(location, row, name) for name in bounds)
    return WerEstimate(finite_number(location, row, f"{prefix}wer"), *bounds)


# ---- written, from the systems of an experiment


def estimate_fields(results: Results, prefix: str = "") -> Json:
    """The fields of a point that `read_estimate` reads."""
    wer = results.all.wer
    low, high = wer.bounds or (None, None)
    return {f"{prefix}wer": wer.value, f"{prefix}lo": low, f"{prefix}hi": high}


def write_curves(exp: Path, systems: Sequence[System]) -> None:
    """Write EXP/trade_off.json and EXP/curve*.json of what was scored; those without points are removed.

    Args:
        systems: those of the folder, the base first.
    """
    for earlier in (*exp.glob("curve*.json"), exp / "trade_off.json"):
        earlier.unlink(missing_ok=True)
    greedy = [one for one in systems if one.search == GREEDY]
    curves = {"trade_off.json": trade_off(greedy), "curve.json": curve_of_minutes(exp, greedy)}
    for name, content in (curves | curves_of_speakers(greedy)).items():
        if content:
            write_json(exp / name, content)


def trade_off(systems: Sequence[System]) -> Json | None:
    """The adapter that was scaled, from 0 (the base) to 1, and those with a decay; None without these."""
    base, trained = systems[0], [one for one in systems if one.train]
    scaled = [one for one in trained if any(one.folder.glob("scale_*/decode_greedy_*/score.json"))]
    decayed = [one for one in trained if "_decay" in one.name]
    whole = scaled or [one for one in trained if one not in decayed]
    if not whole or not scaled + decayed:
        return None
    shown = median_of([one for one in whole if one.name == whole[0].name])
    points: list[tuple[Json, System]] = [({"scale": 0.0}, base), ({"scale": 1.0}, shown)]
    for folder in shown.folder.glob("scale_*"):
        points.append(({"scale": float(folder.name.removeprefix("scale_"))}, load_system(folder)))
    points.sort(key=lambda point: point[0]["scale"])
    points += [({"decay_to_one": one.options["decay_to_one"]}, one) for one in decayed]
    own = min(set.intersection(*(set(one.results) for _, one in points)) - {OUT_OF_DOMAIN, DEV}, default="")
    rows = [
        setting
        | estimate_fields(one.results[own])
        | estimate_fields(one.results[OUT_OF_DOMAIN], "out_of_domain_")
        for setting, one in points
        if is_scored(one, own, base) and is_scored(one, OUT_OF_DOMAIN, base)
    ]
    return {"own": own, "out_of_domain": "out-of-domain speech", "points": rows} if len(rows) > 2 else None


def is_scored(system: System, set_name: str, base: System) -> bool:
    return set_name in system.results and is_current(system, set_name, base)


def curve_of_minutes(exp: Path, systems: Sequence[System]) -> Json | None:
    """WER by minutes of train, from EXP/curve/minutes_M_seedN; None without any.

    The last points are those of what was trained on all of train with the same options.
    """
    base = systems[0]
    parts = [load_system(file.parent) for file in sorted(exp.glob("curve/minutes_*_seed*/train.json"))]
    own = next((name for part in parts for name in part.results if name != OUT_OF_DOMAIN), "")
    amounts = [
        (float(part.name.removeprefix("minutes_")), part) for part in parts if is_scored(part, own, base)
    ]
    if not amounts:
        return None
    for one in [one for one in systems if one.seed is not None and own in one.results]:
        if options_but_data(one) == options_but_data(parts[0]):
            amounts.append((round(one.train["audio_seconds"] / 60, 1), one))
    amounts.sort(key=lambda point: (point[0], point[1].seed))
    points = [
        {"minutes": part, "seed": one.seed} | estimate_fields(one.results[own]) for part, one in amounts
    ]
    return {"set": own, "base": estimate_fields(base.results[own]), "points": points}


def options_but_data(system: System) -> Json:
    """The options of a training that its part of the data and its seed don't decide."""
    others = ("train", "out", "seed", "epoch_minutes", "force", "device")
    return {name: value for name, value in system.options.items() if name not in others}


def curves_of_speakers(systems: Sequence[System]) -> dict[str, Json]:
    """Name → learning curve, of each start with several numbers of utterances a speaker.

    curve.json is that of --init-adapter where there is one, else of the base; the others are
    curve_from_START.json. The base of a curve is what its adapters started from.
    """
    alone = {one.name: one for one in systems if not one.of_speakers}
    members: dict[tuple[str, str], list[System]] = {}  # start and variant → adapted from there
    for one in systems:
        if one.of_speakers and "test" in one.results:
            start, _, variant = one.start_and_k
            members.setdefault((start, variant), []).append(one)
    curves = {}
    for (start, _), adapted in members.items():
        points = [
            {"utterances": one.train.get("utterances", one.start_and_k[1]), "seed": one.seed}
            | estimate_fields(one.results["test"])
            for one in adapted
        ]
        if len({one.start_and_k[1] for one in adapted}) > 1:
            main = start != "base" or all(name == "base" for name, _ in members)
            base = estimate_fields(alone.get(start, systems[0]).results["test"])
            content = {"base": base, "points": sorted(points, key=lambda point: point["utterances"])}
            curves["curve.json" if main else f"curve_from_{start}.json"] = content
    return curves
