"""curve.json, trade_off.json and metrics.jsonl: their formats, readers that check them, and writers.

    curve*.json     {"set": SET, "systems": [NAME, …], "base": {"wer": …, "lo": …, "hi": …},
                     "points": [{"minutes": 5, "seed": 1, "wer": …, "lo": …, "hi": …}, …]}
    trade_off.json  {"own": SET, "out_of_domain": SET,
                     "points": [{"setting": "scale", "value": "0.5", "wer": …, "lo": …, "hi": …,
                                 "out_of_domain_wer": …, "out_of_domain_lo": …, "out_of_domain_hi": …}, …]}
    metrics.jsonl   {"epoch": 1, "loss": …, "dev_wer": …, "selected_epoch": 1}, one line per epoch; epoch 0,
                    the start, has no loss

Rates are fractions; the bounds lo and hi are null without an interval. A learning curve may count
`utterances` instead of `minutes`; then it names the `systems` of its points. The setting of a trade-off's
point is the scale of the adapter, or an option in which another training differs, such as `replay-weight`.
recipes/study.sh and speakers.sh train and decode the adapters of the points.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import numeric_order, percent
from ia3_speech.model.location import BASE_CURVE, base_folder
from ia3_speech.report.systems import System, is_current, median_of, scored_systems, start_of
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.record import DEV, GREEDY, OUT_OF_DOMAIN, Result, load_json, read_result
from ia3_speech.scoring.table import INTERVAL, Cell, Rate, Table


class LearningCurve(NamedTuple):
    """WER by the amount of audio adapted to."""

    unit: Literal["minutes", "utterances"]
    base: Rate
    set: str  # name of the test set; empty if unknown
    points: dict[float, list[tuple[int, Rate]]]  # amount → seeds with their WERs, in order

    @property
    def medians(self) -> dict[float, float]:
        """Amount → the median WER of its seeds."""
        return {amount: median(rate.value for _, rate in seeds) for amount, seeds in self.points.items()}


class TradeOffPoint(NamedTuple):
    """An adapter on an in-domain test set and on out-of-domain speech."""

    setting: str  # the scale of the adapter, or an option in which its training differs
    value: str
    in_domain: Rate
    out_of_domain: Rate


class TradeOff(NamedTuple):
    """In-domain WER against out-of-domain WER, with the names of both test sets."""

    in_domain: str
    out_of_domain: str
    points: list[TradeOffPoint]  # the scaled adapter first, by scale, then others, by option and value


@contextmanager
def reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: is not in its format: {error!r} (damaged: make it again)") from error


def read_training_log(file: Path) -> list[Json]:
    """The lines of metrics.jsonl, without other entries than the four above."""
    names = ("epoch", "loss", "dev_wer", "selected_epoch")
    with reading(file):
        return [
            {name: row[name] for name in names}
            for row in map(json.loads, file.read_text("utf-8").splitlines())
        ]


def read_learning_curve(file: Path) -> LearningCurve:
    """A learning curve."""
    content, points = load_json(file), {}
    with reading(file):
        unit = "utterances" if "utterances" in content["points"][0] else "minutes"
        for row in sorted(content["points"], key=lambda row: (row[unit], row["seed"])):
            points.setdefault(row[unit], []).append((row["seed"], read_rate(row)))
        return LearningCurve(unit, read_rate(content["base"]), content.get("set", ""), points)


def read_trade_off(file: Path) -> TradeOff:
    """A trade-off."""
    content = load_json(file)
    with reading(file):
        points = [
            TradeOffPoint(row["setting"], row["value"], read_rate(row), read_rate(row, "out_of_domain_"))
            for row in content["points"]
        ]
        return TradeOff(content["own"], content["out_of_domain"], points)


def read_rate(row: Json, prefix: str = "") -> Rate:
    low, high = (row.get(f"{prefix}{name}") for name in ("lo", "hi"))
    return Rate(float(row[f"{prefix}wer"]), None if low is None else (low, high))


def learning_curve_table(curve: LearningCurve) -> Table:
    """The median of the seeds, their range, and the change of the median, by amount of audio."""
    base = curve.base.value
    rows: list[list[Cell]] = [["0 (the base)", None, Rate(base), None, None]]
    for amount, wer in curve.medians.items():
        rates = [rate.value for _, rate in curve.points[amount]]
        change = Rate(wer / base - 1 if base else None, signed=True)
        rows.append([f"{amount:g}", str(len(rates)), Rate(wer), change, spread(rates)])
    head = [f"{curve.unit} to adapt on", "seeds", f"{curve.set} WER %, median".lstrip(), "change %"]
    head.append("WER % of the seeds")
    return Table("learning_curve", "Change of the median relative to the base", head, rows)


def gain_of_others(base: str) -> str:
    """A sentence on the gain of other speakers, by BASE_CURVE in the base's folder, whose set names them."""
    folder = base_folder(base)
    if not folder or not (folder / BASE_CURVE).is_file():
        return ""
    curve = read_learning_curve(folder / BASE_CURVE)
    gains = {amount: percent(1 - wer / curve.base.value) for amount, wer in curve.medians.items()}
    (first, gain), *others = gains.items()
    more = "".join(f", {gain} % after {amount:g}" for amount, gain in others)
    gain = f"{gain} % fewer errors after {first:g} utterances of their own"
    return f"With this base {curve.set or 'others'} made {gain}{more}."


def trade_off_table(trade_off: TradeOff) -> Table:
    """In-domain and out-of-domain WER of the scaled adapter, and of adapters trained with other options."""
    head = ["adapter", f"{trade_off.in_domain} WER %", f"{trade_off.out_of_domain} WER %"]
    rows = [[f"{setting} {value}", *rates] for setting, value, *rates in trade_off.points]
    return Table("trade_off", f"WER {INTERVAL}", head, rows)


def spread(rates: Sequence[float]) -> str:
    """`31.2 to 33.0`, the range of several seeds; `–` for a single seed."""
    return f"{percent(min(rates))} to {percent(max(rates))}" if len(rates) > 1 else "–"


def rate_fields(result: Result, prefix: str = "") -> Json:
    """The fields of a point that `read_rate` reads."""
    low, high = result.all.wer_ci or (None, None)
    return {f"{prefix}wer": result.all.wer, f"{prefix}lo": low, f"{prefix}hi": high}


def write_curves(exp: Path, systems: Sequence[System]) -> None:
    """Write EXP/trade_off.json and EXP/curve*.json from the scores; a file without points is removed."""
    for earlier in (*exp.glob("curve*.json"), exp / "trade_off.json"):
        earlier.unlink(missing_ok=True)
    greedy = [system for system in systems if system.search == GREEDY and system.results]
    files = {"trade_off.json": trade_off(greedy), "curve.json": curve_of_minutes(exp, greedy)}
    for name, content in (files | curves_of_speakers(greedy)).items():
        if content:
            write_json(exp / name, content)


def trade_off(systems: Sequence[System]) -> Json | None:
    """The scaled adapter, from 0 (the base) to 1, and trainings with an option changed; else None."""
    trained = [system for system in systems if system.method_options and not system.of_speakers]
    scaled: dict[Path, dict[float, dict[str, Result]]] = {}  # folder of a system → scale → set → result
    for system in trained:
        for result in map(read_result, system.folder.glob("*/*/score.json")):
            if result.record["scale"] != 1:
                by_scale = scaled.setdefault(system.folder, {})
                by_scale.setdefault(result.record["scale"], {})[result.set] = result
    # Name of a system → an option and its value → the trainings that differ from it in this option only
    variants: dict[str, dict[tuple[str, str], list[System]]] = {}
    for name, first in {system.name: system for system in reversed(trained)}.items():
        for other in trained:
            if len(changed := changed_options(first, other)) == 1:
                variants.setdefault(name, {}).setdefault(changed[0], []).append(other)
    with_points = [
        system for system in trained if (system.folder in scaled if scaled else system.name in variants)
    ]
    if not with_points:
        return None
    name = with_points[0].name
    seeds = with_points if scaled else trained
    shown = median_of([system for system in seeds if system.name == name])
    points = [("scale", "0", systems[0].results), ("scale", "1", shown.results)]
    points += [("scale", f"{scale:g}", results) for scale, results in scaled.get(shown.folder, {}).items()]
    points.sort(key=lambda point: float(point[1]))
    varied = sorted(variants.get(name, {}).items(), key=lambda item: numeric_order(" ".join(item[0])))
    points += [(*setting, median_of(members).results) for setting, members in varied]
    sets = set.intersection(*(set(results) for *_, results in points)) - {OUT_OF_DOMAIN, DEV}
    in_domain = min(sets, default="")
    rows = [
        {"setting": setting, "value": value}
        | rate_fields(results[in_domain])
        | rate_fields(results[OUT_OF_DOMAIN], "out_of_domain_")
        for setting, value, results in points
        if all(is_current(results.get(name), systems) for name in (in_domain, OUT_OF_DOMAIN))
    ]
    content = {"own": in_domain, "out_of_domain": "out-of-domain speech", "points": rows}
    return content if len(rows) > 2 else None


def changed_options(system: System, other: System) -> list[tuple[str, str]]:
    """The options in which another training differs, spelled like flags, with that training's values."""
    ours, theirs = system.method_options, other.method_options
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    values = [theirs.get(name) for name in names]
    values = [f"{v:g}" if isinstance(v, float) else "none" if v is None else str(v) for v in values]
    return [(name.replace("_", "-"), value) for name, value in zip(names, values, strict=True)]


def learning_curve(
    unit: str, set_name: str, base: System, adapted: Sequence[tuple[float, System]], **names: list[str]
) -> Json:
    """The contents of a curve.json, with a point for each (amount, system)."""
    points = [
        {unit: amount, "seed": system.seed} | rate_fields(system.results[set_name])
        for amount, system in adapted
    ]
    points.sort(key=lambda point: (point[unit], point["seed"]))
    return {"set": set_name, **names, "base": rate_fields(base.results[set_name]), "points": points}


def curve_of_minutes(exp: Path, systems: Sequence[System]) -> Json | None:
    """WER by minutes of training speech, of EXP/curve/* and the same training on all of train; else None."""
    parts = scored_systems(exp.glob("curve/*/*/score.json"))
    set_name = next((name for part in parts for name in part.results if name != OUT_OF_DOMAIN), "")
    parts = [part for part in parts if is_current(part.results.get(set_name), systems)]
    if not parts:
        return None
    whole = [
        system
        for system in systems
        if system.seed is not None and set_name in system.results
        and system.method_options == parts[0].method_options
    ]  # fmt: skip
    points = [(round(system.train["audio_seconds"] / 60, 1), system) for system in (*parts, *whole)]
    return learning_curve("minutes", set_name, systems[0], points)


def curves_of_speakers(systems: Sequence[System]) -> dict[str, Json]:
    """Name of a file → learning curve of speakers' adapters with the same start, which is its base, and the
    same options but `k`. curve.json is the first curve that starts from an adapter, if any."""
    members: dict[str, list[System]] = {}  # start and options → systems
    for system in systems:
        if system.of_speakers and "test" in system.results:
            options = {name: value for name, value in system.method_options.items() if name != "k"}
            members.setdefault(json.dumps(options, sort_keys=True, default=str), []).append(system)
    curves = []
    for adapted in members.values():
        if len({system.options.get("k") for system in adapted}) > 1:
            start, names = start_of(adapted[0], systems), [*dict.fromkeys(system.name for system in adapted)]
            points = [(system.train["utterances"], system) for system in adapted]
            curves.append((start.is_base, learning_curve("utterances", "test", start, points, systems=names)))
    curves.sort(key=lambda curve: curve[0])
    return {f"curve{f'_{n}' if n > 1 else ''}.json": curve for n, (_, curve) in enumerate(curves, 1)}
