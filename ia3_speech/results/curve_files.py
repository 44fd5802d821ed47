"""curve.json, trade_off.json and metrics.jsonl: their formats, a reader that checks them, what writes them.

    curve.json      {"set": SET, "base": {"wer": …, "lo": …, "hi": …},
                     "points": [{"minutes": 5, "seed": 1, "wer": …, "lo": …, "hi": …}, …]}
    trade_off.json  {"own": SET, "out_of_domain": SET,
                     "points": [{"setting": "scale", "value": "0.5", "wer": …, "lo": …, "hi": …,
                                 "out_of_domain_wer": …, "out_of_domain_lo": …, "out_of_domain_hi": …}, …]}
    metrics.jsonl   {"epoch": 1, "loss": …, "dev_wer": …, "selected_epoch": 1}, one line per epoch; epoch 0,
                    the start, has no loss

Rates are fractions; the bounds lo and hi are null where there is no interval. A learning curve may count
`utterances` instead of `minutes`. The setting of a trade-off's point is the scale of the adapter, or an
option that another adapter was trained with, such as `replay-weight`. recipes/study.sh and speakers.sh train
and decode what the points are made of. Both are shown by RESULTS.md and by the report, as the same tables.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from ia3_speech.atomic import write_json
from ia3_speech.errors import UserError
from ia3_speech.formatting import percent
from ia3_speech.model.location import BASE_CURVE, base_folder
from ia3_speech.results.systems import (
    DEV,
    GREEDY,
    OUT_OF_DOMAIN,
    Json,
    System,
    is_current,
    load_json,
    load_system,
    median_of,
)
from ia3_speech.scoring.results import Results
from ia3_speech.scoring.table import INTERVAL, Cell, Rate, Table


class Epoch(NamedTuple):
    """One epoch of a training; number 0 is the start."""

    number: int
    loss: float | None  # the mean CTC loss; the start has none
    dev_wer: float
    selected: int  # the epoch whose adapter was selected, as of this epoch


class LearningCurvePoint(NamedTuple):
    """The WER after adaptation to so many minutes or utterances."""

    amount: float
    seed: int
    wer: Rate


class LearningCurve(NamedTuple):
    """WER by the amount of audio adapted to."""

    unit: Literal["minutes", "utterances"]
    base: Rate
    points: list[LearningCurvePoint]  # in order of amount and seed
    set: str  # name of the test set; empty where unknown

    @property
    def by_amount(self) -> list[tuple[float, list[LearningCurvePoint]]]:
        """Each amount with the points of its seeds."""
        grouped = groupby(self.points, key=lambda point: point.amount)
        return [(amount, list(points)) for amount, points in grouped]


class TradeOffPoint(NamedTuple):
    """One adapter on an in-domain test set (own) and on out-of-domain speech."""

    setting: str  # what was varied: the scale of the adapter, or an option of its training
    value: str
    own: Rate
    out_of_domain: Rate

    @property
    def name(self) -> str:
        """`scale 0.5` or `replay-weight 1`."""
        return f"{self.setting} {self.value}"


class TradeOff(NamedTuple):
    """In-domain WER against out-of-domain WER, with the names of both test sets."""

    own: str
    out_of_domain: str
    points: list[TradeOffPoint]  # the scaled adapter first, by scale, then others, by option and value


# ---- read


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raises UserError that names the file, where it is not in its format."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: is not in its format: {error!r} (damaged: make it again)") from error


def read_training_log(file: Path) -> list[Epoch]:
    """The epochs of metrics.jsonl. Raises UserError naming the file."""
    with reading(file):
        rows = map(json.loads, file.read_text("utf-8").splitlines())
        return [Epoch(row["epoch"], row["loss"], row["dev_wer"], row["selected_epoch"]) for row in rows]


def read_learning_curve(file: Path) -> LearningCurve:
    """A learning curve. Raises UserError naming the file."""
    content = load_json(file)
    with reading(file):
        unit = "utterances" if "utterances" in content["points"][0] else "minutes"
        points = [LearningCurvePoint(row[unit], row["seed"], read_rate(row)) for row in content["points"]]
        points.sort(key=lambda point: (point.amount, point.seed))
        return LearningCurve(unit, read_rate(content["base"]), points, content.get("set", ""))


def read_trade_off(file: Path) -> TradeOff:
    """A trade-off. Raises UserError naming the file."""
    content = load_json(file)
    with reading(file):
        points = [
            TradeOffPoint(row["setting"], row["value"], read_rate(row), read_rate(row, "out_of_domain_"))
            for row in content["points"]
        ]
        return TradeOff(content["own"], content["out_of_domain"], points)


def read_rate(row: Json, prefix: str = "") -> Rate:
    """The fields wer, lo and hi, after `prefix`."""
    low, high = (row.get(f"{prefix}{name}") for name in ("lo", "hi"))
    return Rate(float(row[f"{prefix}wer"]), None if low is None else (low, high))


# ---- shown


def learning_curve_table(curve: LearningCurve) -> Table:
    """The median of the seeds, their range, and the change of the median; the last row is all of train.

    | minutes to adapt on | seeds | test_adults WER %, median | change % | WER % of the seeds |
    | --- | ---: | ---: | ---: | ---: |
    | 0 (the base) | – | 64.8 | – | – |
    | 1 | 1 | 61.6 | -4.9 | – |
    """
    base = curve.base.value
    rows: list[list[Cell]] = [["0 (the base)", None, Rate(base), None, None]]
    for amount, points in curve.by_amount:
        rates = [point.wer.value for point in points]
        change = Rate(median(rates) / base - 1 if base else None, signed=True)
        rows.append([f"{amount:g}", str(len(rates)), Rate(median(rates)), change, spread(rates)])
    head = [f"{curve.unit} to adapt on", "seeds", f"{curve.set} WER %, median".lstrip(), "change %"]
    head.append("WER % of the seeds")
    return Table("learning_curve", "Change of the median relative to the base", head, rows)


def gain_of_others(base: str) -> str:
    """What so many utterances gave others with this base, as a sentence; empty where nobody measured it.

    In the folder of a base, learning_curve.json is the curve.json of egs/speaker_adaptation with several --k,
    whose `set` says who they are.

    With this base others made 5.1 % fewer errors after 5 utterances of their own, 10.2 % after 10.
    """
    folder = base_folder(base)
    if not folder or not (folder / BASE_CURVE).is_file():
        return ""
    curve = read_learning_curve(folder / BASE_CURVE)
    rates = {amount: median(point.wer.value for point in points) for amount, points in curve.by_amount}
    gains = {amount: 1 - rate / curve.base.value for amount, rate in rates.items()}
    (first, gain), *others = gains.items()
    more = "".join(f", {percent(gain)} % after {amount:g}" for amount, gain in others)
    gain = f"{percent(gain)} % fewer errors after {first:g} utterances of their own"
    return f"With this base {curve.set or 'others'} made {gain}{more}."


def trade_off_table(trade_off: TradeOff) -> Table:
    """The adapter from off to on, and trained with other options: its own speech against other speech.

    | adapter | test_adults WER % | out-of-domain speech WER % |
    | --- | ---: | ---: |
    | scale 0 | 65.0 [58.4, 71.5] | 25.2 [21.1, 30.2] |
    """
    head = ["adapter", f"{trade_off.own} WER %", f"{trade_off.out_of_domain} WER %"]
    rows = [[point.name, point.own, point.out_of_domain] for point in trade_off.points]
    return Table("trade_off", f"WER {INTERVAL}", head, rows)


def spread(rates: Sequence[float]) -> str:
    """`31.2 to 33.0`: the range of several seeds."""
    return f"{percent(min(rates))} to {percent(max(rates))}" if len(rates) > 1 else "–"


# ---- written, from the systems of an experiment


def rate_fields(results: Results, prefix: str = "") -> Json:
    """The fields of a point that `read_rate` reads."""
    wer = results.all.wer
    low, high = wer.bounds or (None, None)
    return {f"{prefix}wer": wer.value, f"{prefix}lo": low, f"{prefix}hi": high}


def write_curves(exp: Path, systems: Sequence[System]) -> None:
    """Write EXP/trade_off.json and EXP/curve*.json of what was scored; those without points are removed."""
    for earlier in (*exp.glob("curve*.json"), exp / "trade_off.json"):
        earlier.unlink(missing_ok=True)
    greedy = [one for one in systems if one.search == GREEDY]
    curves = {"trade_off.json": trade_off(greedy), "curve.json": curve_of_minutes(exp, greedy)}
    for name, content in (curves | curves_of_speakers(greedy)).items():
        if content:
            write_json(exp / name, content)


def trade_off(systems: Sequence[System]) -> Json | None:
    """The adapter that was scaled, from 0 (the base) to 1, and those trained with one option changed, such as
    ia3_replay-weight1; None without these."""
    base, trained = systems[0], [one for one in systems if one.train]
    scaled = [one for one in trained if any(one.folder.glob("scale_*/decode_greedy_*/score.json"))]
    names = {one.name for one in trained}
    every: dict[str, dict[tuple[str, float, str], list[System]]] = {}  # of each system
    for one in trained:
        match = re.fullmatch(r"(.+)_([a-z]+(?:-[a-z]+)*)((\d+(?:\.\d+)?).*)", one.name)
        if match and match[1] in names:  # clinic_v2 alone is no variant
            variants = every.setdefault(match[1], {})
            variants.setdefault((match[2], float(match[4]), match[3]), []).append(one)
    if not scaled and not every:
        return None
    name = scaled[0].name if scaled else next(iter(every))
    variants = every.get(name.removesuffix("_average"), {})
    shown = median_of([one for one in scaled or trained if one.name == name])
    points = [("scale", "0", base), ("scale", "1", shown)]
    for folder in shown.folder.glob("scale_*"):
        points.append(("scale", folder.name.removeprefix("scale_"), load_system(folder)))
    points.sort(key=lambda point: float(point[1]))
    points += [(key[0], key[2], median_of(members)) for key, members in sorted(variants.items())]
    own = min(set.intersection(*(set(one.results) for *_, one in points)) - {OUT_OF_DOMAIN, DEV}, default="")
    rows = [
        {"setting": setting, "value": value}
        | rate_fields(one.results[own])
        | rate_fields(one.results[OUT_OF_DOMAIN], "out_of_domain_")
        for setting, value, one in points
        if is_current(one, own, base) and is_current(one, OUT_OF_DOMAIN, base)
    ]
    return {"own": own, "out_of_domain": "out-of-domain speech", "points": rows} if len(rows) > 2 else None


def curve_of_minutes(exp: Path, systems: Sequence[System]) -> Json | None:
    """WER by minutes of train, from EXP/curve/minutes_M_seedN; None without any.

    The last points are those of what was trained on all of train with the same options.
    """
    base = systems[0]
    parts = [load_system(file.parent) for file in sorted(exp.glob("curve/minutes_*_seed*/train.json"))]
    own = next((name for part in parts for name in part.results if name != OUT_OF_DOMAIN), "")
    amounts = [
        (float(part.name.removeprefix("minutes_")), part) for part in parts if is_current(part, own, base)
    ]
    if not amounts:
        return None
    for one in [one for one in systems if one.seed is not None and own in one.results]:
        if options_but_data(one) == options_but_data(parts[0]):
            amounts.append((round(one.train["audio_seconds"] / 60, 1), one))
    amounts.sort(key=lambda point: (point[0], point[1].seed))
    points = [{"minutes": part, "seed": one.seed} | rate_fields(one.results[own]) for part, one in amounts]
    return {"set": own, "base": rate_fields(base.results[own]), "points": points}


def options_but_data(system: System) -> Json:
    """The options of a training that its part of the data and its seed don't decide."""
    others = ("train", "out", "seed", "epoch_minutes", "force", "device")
    return {name: value for name, value in system.options.items() if name not in others}


def curves_of_speakers(systems: Sequence[System]) -> dict[str, Json]:
    """Name → learning curve, of each start with several numbers of utterances a speaker.

    curve.json is that of --init-adapter where there is one, else of the base; the others are
    curve_from_START.json, and of options that --grid varied curve_OPTIONS.json. The base of a curve is what
    its adapters started from.
    """
    alone = {one.name: one for one in systems if not one.of_speakers}
    members: dict[tuple[str, str], list[System]] = {}  # start and variant → adapted from there
    for one in systems:
        if one.of_speakers and "test" in one.results:
            start, _, variant = one.start_and_k
            members.setdefault((start, variant), []).append(one)
    curves = {}
    for (start, variant), adapted in members.items():
        points = [
            {"utterances": one.train.get("utterances", one.start_and_k[1]), "seed": one.seed}
            | rate_fields(one.results["test"])
            for one in adapted
        ]
        if len({one.start_and_k[1] for one in adapted}) > 1:
            main = start != "base" or all(name == "base" for name, _ in members)
            base = rate_fields(alone.get(start, systems[0]).results["test"])
            content = {"base": base, "points": sorted(points, key=lambda point: point["utterances"])}
            curves[f"curve{'' if main else f'_from_{start}'}{variant}.json"] = content
    return curves
