"""The tables and figures of compare_methods, of the trainings, scores and times in EXP:
EXP/methods.{md,json}, EXP/figures/{methods,curves}.{svg,pdf,csv}.
"""

import math
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from ia3_speech.adapters.record import read_json
from ia3_speech.atomic import write_json, write_text
from ia3_speech.inputs import provenance, read_inputs
from ia3_speech.report.charts import Axis, Chart, Point, Series, rate_axis
from ia3_speech.report.figures import Figure, write_figures
from ia3_speech.results.curve_files import spread
from ia3_speech.scoring.table import Rate, Table

SETS = ("test", "out_of_domain")
Curve = dict[str, dict[str, list[float]]]  # method → minutes of train, or "all" → test WER of each seed


def write_tables(
    exp: Path, methods: list[str], measured: Path | None, seeds: int, amounts: list[str]
) -> None:
    """Write the tables and figures, and print the tables.

    Args:
        exp: folder of the experiment
        methods: in the table's order; those without results are left out
        measured: EXP/methods.json of an earlier run, for the methods that this run leaves out
        seeds: of each method
        amounts: minutes of train of the learning curve
    """
    earlier = read_json(measured) if measured else {"methods": {}}
    rows = earlier["methods"]
    for name in methods:
        if row := measured_row(exp, name, seeds):
            rows[name] = row
    rows = {name: rows[name] for name in methods if name in rows}
    base = {name: scored(exp / "base", name) for name in SETS}
    gains = {name: 1 - row["test"][0] / base["test"].value for name, row in rows.items()}
    head = ["method", "trained", "bytes", "s a step", "peak MB", "test WER %", "of the seeds"]
    head += ["gain, % of full", "out-of-domain WER %", "rate", "no gain at", "forward, one", "sixteen"]
    first = ["base", *[None] * 4, base["test"], None, None, base["out_of_domain"], None, None, "1.00", "1.00"]
    lines: list[list[Any]] = [first]
    for name, row in rows.items():
        line = [name, row["trained"], row["bytes"], f"{row['step']:.2f}", f"{row['peak'] / 2**20:.0f}"]
        line += [Rate(row["test"][0], row["test"][1:]), spread(row["seeds"])]
        line += [f"{100 * gains[name] / gains['full']:.0f}" if "full" in rows else None]
        line += [Rate(row["other"][0], row["other"][1:]), f"{row['rate']:g}", row["no_gain_at"] or None]
        lines.append(line + [f"{row[way]:.2f}" if row[way] else None for way in ("one", "sixteen")])
    table = Table("methods", "Methods", head, lines)
    commits = dict.fromkeys(f"`{row['command']}` (commit {row['commit']})" for row in rows.values())
    figures = [Figure("methods", gain_chart(rows, gains).svg_file, table)]
    text = table.markdown + "".join(f"\n- {line}" for line in commits) + "\n" * bool(commits)
    if curve := measured_curve(exp, rows, seeds, amounts, earlier.get("curve") or {}):
        figures.append(curve_figure(curve, base["test"].value))
        text += "\n" + figures[1].table.markdown
    write_json(exp / "methods.json", {"methods": rows, "curve": curve})
    write_text(exp / "methods.md", text)
    write_figures(exp / "figures", figures)
    print(f"{text}The table is in {exp}/methods.md, the figure in {exp}/figures.")


def scored(folder: Path, set_name: str) -> Rate:
    record = read_json(folder / f"decode_greedy_{set_name}/score.json")
    return Rate(record["wer"], record["wer_ci"])


def rate_of(folder: Path) -> float:
    """The learning rate of a training."""
    return yaml.safe_load((folder / "config.yaml").read_text("utf-8"))["learning_rate"]


def measured_row(exp: Path, name: str, seeds: int) -> dict[str, Any] | None:
    """A method's row of the table: the seed with the median dev WER, and the test WER of all seeds; None if
    a seed is not scored on both sets."""
    folders = [exp / f"{name}_seed{seed}" for seed in range(1, seeds + 1)]
    folders = [folder for folder in folders if (folder / "train.json").is_file()]
    if not folders or not all(
        (f / f"decode_greedy_{name}/score.json").is_file() for f in folders for name in SETS
    ):
        return None
    trained = [read_json(folder / "train.json") for folder in folders]
    order = sorted(range(len(folders)), key=lambda at: trained[at]["dev_wer"])
    shown = order[(len(order) - 1) // 2]
    folder, train = folders[shown], trained[shown]
    test, other = (scored(folder, name) for name in SETS)
    tried = sorted((exp / "rates").glob(f"{name}_rate*_seed1/train.json"))
    failed = [rate_of(file.parent) for file in tried if not read_json(file)["selected_epoch"]]
    record = provenance() | read_inputs(folder)  # of when it was trained, if that is known
    return {
        "trained": train["trainable"], "bytes": train["bytes"], "peak": train["peak_memory_bytes"],
        "step": read_json(exp / f"timed/{name}/train.json")["seconds_per_step"],
        "test": [test.value, *(test.bounds or ())], "other": [other.value, *(other.bounds or ())],
        "seeds": [scored(folder, "test").value for folder in folders],
        "rate": rate_of(folder), "no_gain_at": ", ".join(f"{rate:g}" for rate in failed),
        **read_json(exp / f"forward/{name}.json"),
        "command": record["command"], "commit": record["commit"],
    }  # fmt: skip


def short(number: int) -> str:
    """100000 → "100 k"."""
    return f"{number // 1_000_000} M" if number >= 1_000_000 else f"{number // 1_000} k"


def gain_chart(rows: dict[str, dict[str, Any]], gains: dict[str, float]) -> Chart:
    """Gain against the number of trained parameters, on a logarithmic axis."""
    points = {
        name: Point(math.log10(row["trained"]), gains[name], f"{name}: {row['trained']:,}", text=name)
        for name, row in rows.items()
    }
    low = math.floor(min(point.x for point in points.values()))
    high = math.ceil(max(point.x for point in points.values()))
    x = Axis("trained parameters", low, high, [(tick, short(10**tick)) for tick in range(low, high + 1)])
    y = rate_axis("fewer word errors on test, %", [*gains.values()])
    ours = [point for name, point in points.items() if name.startswith("ia3")]
    others = [point for name, point in points.items() if not name.startswith("ia3")]
    series = [Series(ours, "system", "IA³", line=False), Series(others, "third", "other methods", line=False)]
    caption = "The median seed of each method at its best rate on dev"
    return Chart("Gain by trained parameters", caption, x, y, series)


def measured_curve(
    exp: Path, rows: dict[str, dict[str, Any]], seeds: int, amounts: list[str], earlier: Curve
) -> Curve:
    """The learning curves of the methods in `rows`, with what an earlier run measured; empty without any."""
    curve = {name: dict(by_amount) for name, by_amount in earlier.items()}
    for name in rows:
        for amount in amounts:
            folders = [exp / f"curve/{name}_{amount}_seed{seed}" for seed in range(1, seeds + 1)]
            done = [f for f in folders if (f / "decode_greedy_test/score.json").is_file()]
            if done:
                curve.setdefault(name, {})[amount] = [scored(folder, "test").value for folder in done]
    return {
        name: by_amount | {"all": rows[name]["seeds"]} for name, by_amount in curve.items() if name in rows
    }


def curve_figure(curve: Curve, base: float) -> Figure:
    """WER by minutes of train: median and range of the seeds, as lines and, with all of train, a table."""
    amounts = sorted({amount for by_amount in curve.values() for amount in by_amount} - {"all"}, key=float)
    rows: list[list[Any]] = [["0 (the base)", *(Rate(base) for _ in curve)]]
    for amount in [*amounts, "all"]:
        seeds = [by_amount.get(amount) for by_amount in curve.values()]
        rows.append(
            [amount, *(f"{100 * median(rates):.1f} ({spread(rates)})" if rates else None for rates in seeds)]
        )
    series = []
    for (name, by_amount), style in zip(curve.items(), ("system", "third", "baseline"), strict=False):
        drawn = [(float(amount), by_amount[amount]) for amount in amounts if amount in by_amount]
        points = [Point(minutes, median(rates), bounds=(min(rates), max(rates))) for minutes, rates in drawn]
        series.append(Series([Point(0, base), *points], style, name))
    ticks = [(float(amount), amount) for amount in ["0", *amounts]]
    x = Axis("minutes of train", 0, float(amounts[-1]), ticks)
    y = rate_axis("WER on test, %", [0.0, *(point.y for line in series for point in line.points)])
    drawing = Chart("Learning curves", "Medians and ranges of the seeds", x, y, series)
    head = ["minutes of train", *(f"{name}: test WER %, median (range of seeds)" for name in curve)]
    return Figure("curves", drawing.svg_file, Table("curves", "Learning curves", head, rows))
