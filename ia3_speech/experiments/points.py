"""What an adapter costs on out-of-domain speech, and how much audio it takes: trade_off.json and curve.json.

In: EXP/SYSTEM_seedN/scale_W and EXP/SYSTEM_decayD_seed1 (the adapter scaled, or trained with a decay of l
towards 1), each decoded on out-of-domain speech; EXP/curve/minutes_M_seedN (trained on so much of train).
Out: EXP/trade_off.json and EXP/curve.json, in the formats of ia3_speech/report/points.py, and their rows.
"""

from itertools import groupby
from pathlib import Path
from typing import Any

from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError
from ia3_speech.experiments.plan import Plan
from ia3_speech.experiments.systems import (
    GREEDY,
    OUT_OF_DOMAIN,
    System,
    is_current,
    load_json,
    load_scores,
    load_system,
)

Json = dict[str, Any]
WAYS = {"scale": "scale", "pull": "decay"}  # a field of trade_off.json → what tables call it


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
    found += [({"pull": one.options()["decay_to_one"]}, one.scores) for one in decayed]
    points = [
        what | rate_of(scores[own]) | rate_of(scores[OUT_OF_DOMAIN], "general_")
        for what, scores in found
        if own in scores and OUT_OF_DOMAIN in scores
    ]
    return {"own": own, "general": "out-of-domain speech", "points": points} if len(points) > 2 else None


def curve(base: System, trained: list[System], parts: list[Path], own: str) -> Json | None:
    """WER on the set `own` by minutes of train; None where nothing was trained on a part of it."""
    points = []
    for folder in parts:
        minutes = float(folder.name.removeprefix("minutes_").rpartition("_seed")[0])
        if (folder / "train.json").is_file() and own in (scores := current_scores(folder, base)):
            points.append({"minutes": minutes, "seed": load_system(folder).seed, **rate_of(scores[own])})
    if not points:
        return None
    for one in trained:
        if own in one.scores:
            minutes = round(one.train["audio_seconds"] / 60, 1)
            points.append({"minutes": minutes, "seed": one.seed, **rate_of(one.scores[own])})
    points.sort(key=lambda point: (point["minutes"], point["seed"]))
    return {"set": own, "base": rate_of(base.scores[own]), "points": points}


def current_scores(folder: Path, base: System) -> dict[str, Json]:
    return {name: score for name, score in load_scores(folder).items() if is_current(score, name, base)}


def rate_of(score: Json, prefix: str = "") -> Json:
    low, high = score["wer_ci"] or (None, None)
    return {f"{prefix}wer": score["wer"], f"{prefix}lo": low, f"{prefix}hi": high}


# ---- read again, for tables


def trade_off_rows(exp: Path) -> tuple[str, str, list[tuple[str, Json]]]:
    """The two sets, and the points by name (`scale 0.5`); no points where there is no trade-off."""
    found = read_points(exp / "trade_off.json")
    ways = [("pull" if "pull" in point else "scale", point) for point in found.get("points", [])]
    points = [(f"{WAYS[way]} {point[way]:g}", point) for way, point in ways]
    return found.get("own", ""), found.get("general", ""), points


def curve_rows(exp: Path) -> tuple[str, float, list[tuple[float, list[float]]]]:
    """The set, the base's WER, and the WERs of the seeds by minutes; none where there is no such curve."""
    found = read_points(exp / "curve.json")
    points = [point for point in found.get("points", []) if "minutes" in point]  # not one by utterances
    groups = groupby(points, key=lambda point: point["minutes"])
    rows = [(minutes, [point["wer"] for point in group]) for minutes, group in groups]
    return found.get("set", ""), found["base"]["wer"] if rows else 0.0, rows


def read_points(file: Path) -> Json:
    return load_json(file) if file.is_file() else {}
