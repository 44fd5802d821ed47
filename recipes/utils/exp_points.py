"""How much is forgotten, and how much audio does it take? trade_off.json and curve.json of an exp folder.

In: EXP/SYSTEM_seedN/scale_W and EXP/SYSTEM_pullP_seed1 (the adapter scaled, or trained with a pull of l
towards 1), each with decode_greedy_general; EXP/curve/minutes_M_seedN (trained on so much of train). Out:
EXP/trade_off.json and EXP/curve.json, in the formats of ia3_speech/report/curve_files.py, and their rows.
"""

from itertools import groupby
from pathlib import Path
from typing import Any

from exp_folder import (
    GENERAL,
    System,
    find_systems,
    is_current,
    load_json,
    load_scores,
    load_system,
)

from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError

Json = dict[str, Any]


def write_points(
    exp: Path, system: str, seeds: int, own: str, shown: Path, pulls: list[str], minutes: list[str]
) -> None:
    """Write EXP/trade_off.json (the adapter in `shown`, and pulls) and EXP/curve.json (parts of train).

    One that has no points is removed.
    """
    systems = find_systems(exp)
    trained = [one for one in systems if one.name == system and one.seed and one.seed <= seeds]
    if not trained:
        raise UserError(f"{exp}/{system}_seed1: not trained yet (run the earlier stages)")
    pulled = [one for one in systems if one.name in {f"{system}_pull{pull}" for pull in pulls}]
    parts = [exp / f"curve/minutes_{name}_seed{seed}" for name in minutes for seed in range(1, seeds + 1)]
    for name, found in {
        "trade_off.json": trade_off(systems[0], one_in(systems, shown), pulled, own),
        "curve.json": curve(systems[0], trained, parts, own),
    }.items():
        if found:
            write_json(exp / name, found)
        else:
            (exp / name).unlink(missing_ok=True)


def one_in(systems: list[System], folder: Path) -> System:
    for one in systems:
        if one.folder == folder:
            return one
    raise UserError(f"{folder}: not scored yet (run the earlier stages)")


def trade_off(base: System, shown: System, pulled: list[System], own: str) -> Json | None:
    """One adapter from off (the base) to on, and those trained with a pull; None without general speech."""
    found: list[tuple[Json, dict[str, Json]]] = [({"scale": 0.0}, base.scores)]
    for folder in shown.folder.glob("scale_*"):
        found.append(({"scale": float(folder.name.removeprefix("scale_"))}, current_scores(folder, base)))
    found.append(({"scale": 1.0}, shown.scores))
    found.sort(key=lambda pair: pair[0]["scale"])
    found += [({"pull": one.options()["decay_to_one"]}, one.scores) for one in pulled]
    points = [
        what | rate_of(scores[own]) | rate_of(scores[GENERAL], "general_")
        for what, scores in found
        if own in scores and GENERAL in scores
    ]
    return {"own": own, "general": "general speech", "points": points} if len(points) > 1 else None


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
    found = read(exp / "trade_off.json")
    ways = [("pull" if "pull" in point else "scale", point) for point in found.get("points", [])]
    points = [(f"{way} {point[way]:g}", point) for way, point in ways]
    return found.get("own", ""), found.get("general", ""), points


def curve_rows(exp: Path) -> tuple[str, float, list[tuple[float, list[float]]]]:
    """The set, the base's WER, and the WERs of the seeds by minutes; none where there is no such curve."""
    found = read(exp / "curve.json")
    points = [point for point in found.get("points", []) if "minutes" in point]  # not one by utterances
    groups = groupby(points, key=lambda point: point["minutes"])
    rows = [(minutes, [point["wer"] for point in group]) for minutes, group in groups]
    return found.get("set", ""), found["base"]["wer"] if rows else 0.0, rows


def read(file: Path) -> Json:
    return load_json(file) if file.is_file() else {}
