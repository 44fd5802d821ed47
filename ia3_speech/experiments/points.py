"""What an adapter costs on out-of-domain speech, and how much audio it takes: trade_off.json and curve.json.

In: EXP/SYSTEM_seedN/scale_W and EXP/SYSTEM_decayD_seed1 (the adapter scaled, or trained with a decay of l
towards 1), each decoded on out-of-domain speech; EXP/curve/minutes_M_seedN (trained on so much of train).
Out: EXP/trade_off.json and EXP/curve.json, in the formats of curve_files.py, and what tables show of them.
"""

from itertools import groupby
from pathlib import Path

from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError
from ia3_speech.experiments.curve_files import (
    Json,
    LearningCurve,
    TradeOff,
    estimate_fields,
    read_learning_curve,
    read_trade_off,
)
from ia3_speech.experiments.plan import Plan
from ia3_speech.experiments.systems import (
    GREEDY,
    OUT_OF_DOMAIN,
    System,
    is_current,
    load_scores,
    load_system,
)


def write_points(exp: Path, plan: Plan, systems: list[System], selected: Path) -> None:
    """Write EXP/trade_off.json (the adapter in `selected`, and decays) and EXP/curve.json (parts of train).

    One that has no points is removed.
    """
    trained = [one for one in systems if one.name == plan.system]
    if not trained:
        raise UserError(f"{exp}/{plan.system}_seed1: not trained yet (run the earlier stages)")
    decayed = [one for one in systems if one.name.startswith(f"{plan.system}_decay")]
    parts = [exp / name for name in plan.made if name.startswith("curve/")]
    for name, found in {
        "trade_off.json": trade_off(systems[0], one_in(systems, selected), decayed, plan.sets[0]),
        "curve.json": curve(systems[0], trained, parts, plan.sets[0]),
    }.items():
        if found:
            write_json(exp / name, found)
        else:
            (exp / name).unlink(missing_ok=True)


def one_in(systems: list[System], folder: Path) -> System:
    for one in systems:
        if one.folder == folder and one.search == GREEDY:
            return one
    raise UserError(f"{folder}: not scored yet (run the earlier stages)")


def trade_off(base: System, selected: System, decayed: list[System], own: str) -> Json | None:
    """One adapter from 0 (the base) to 1, and those with a decay; None where these two ends are all."""
    found: list[tuple[Json, dict[str, Json]]] = [({"scale": 0.0}, base.scores)]
    for folder in selected.folder.glob("scale_*"):
        found.append(({"scale": float(folder.name.removeprefix("scale_"))}, current_scores(folder, base)))
    found.append(({"scale": 1.0}, selected.scores))
    found.sort(key=lambda pair: pair[0]["scale"])
    found += [({"decay_to_one": one.options()["decay_to_one"]}, one.scores) for one in decayed]
    points = [
        what | estimate_fields(scores[own]) | estimate_fields(scores[OUT_OF_DOMAIN], "out_of_domain_")
        for what, scores in found
        if own in scores and OUT_OF_DOMAIN in scores
    ]
    if len(points) <= 2:
        return None
    return {"own": own, "out_of_domain": "out-of-domain speech", "points": points}


def curve(base: System, trained: list[System], parts: list[Path], own: str) -> Json | None:
    """WER on the set `own` by minutes of train; None where nothing was trained on a part of it."""
    points = []
    for folder in parts:
        minutes = float(folder.name.removeprefix("minutes_").rpartition("_seed")[0])
        if (folder / "train.json").is_file() and own in (scores := current_scores(folder, base)):
            points.append(
                {"minutes": minutes, "seed": load_system(folder).seed, **estimate_fields(scores[own])}
            )
    if not points:
        return None
    for one in trained:
        if own in one.scores:
            minutes = round(one.train["audio_seconds"] / 60, 1)
            points.append({"minutes": minutes, "seed": one.seed, **estimate_fields(one.scores[own])})
    points.sort(key=lambda point: (point["minutes"], point["seed"]))
    return {"set": own, "base": estimate_fields(base.scores[own]), "points": points}


def current_scores(folder: Path, base: System) -> dict[str, Json]:
    return {name: score for name, score in load_scores(folder).items() if is_current(score, name, base)}


# ---- read again, for tables


def trade_off_of(exp: Path) -> TradeOff | None:
    """EXP/trade_off.json; None where there is no trade-off."""
    file = exp / "trade_off.json"
    return read_trade_off(file) if file.is_file() else None


def curve_by_minutes(exp: Path) -> tuple[LearningCurve | None, list[tuple[float, list[float]]]]:
    """EXP/curve.json, and the WERs of the seeds by minutes; none where it counts utterances or is missing."""
    file = exp / "curve.json"
    found = read_learning_curve(file) if file.is_file() else None
    if found is None or found.unit != "minutes":
        return None, []
    groups = groupby(found.points, key=lambda point: point.amount)
    return found, [(minutes, [point.estimate.wer for point in group]) for minutes, group in groups]
