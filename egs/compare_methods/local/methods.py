#!/usr/bin/env python3
"""What compare.sh needs beside the package's commands: the accent's data, hours, forward passes, the table.

    local/methods.py accent CORPUS data/accent --minutes 20
    local/methods.py plan exp/orders 'ia3_plus lora_r4' data/orders/train --epochs 8 --half 4 --seeds 3
    local/methods.py forward exp/orders/forward/lora_r4.json exp/orders/lora_r4_seed1/adapter --base mini
    local/methods.py table exp/orders 'ia3_plus lora_r4'

In: a corpus, and what was trained, decoded and timed in EXP. Out: a data directory; JSON; EXP/methods.md and
EXP/methods.{svg,pdf,csv}.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.data.corpora import speechocean762
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi import read_data_directory, subset_data_directory, write_data_directory
from ia3_speech.inputs import provenance, read_inputs
from ia3_speech.report.charts import Axis, Chart, Point, Series, rate_axis
from ia3_speech.report.figures import Figure, write_figures
from ia3_speech.results.curve_files import spread
from ia3_speech.results.systems import OUT_OF_DOMAIN, System, load_json, load_system, median_of
from ia3_speech.scoring.table import Rate, Table

BATCH, SECONDS, REPEATS = 16, 4, 5  # of the forward passes


def accent(corpus: Path, out: Path, minutes: float = 20, size: Size = "full") -> None:
    """The adults of speechocean762: so many minutes of train, dev, and the test set.

    Args:
        corpus: in its published layout
        out: folder of the data directories
        minutes: of train
        size: small takes a little of each set
    """
    whole = out / "whole"
    speechocean762.prepare(corpus, whole, size)
    for name, source in (("train", "train"), ("dev", "dev"), ("test", "test_adults")):
        adults = [u for u in read_data_directory(whole / source).utterances if speechocean762.is_adult(u)]
        write_data_directory(out / ("adults" if name == "train" else name), adults)
    most = sum(u.duration or 0.0 for u in read_data_directory(out / "adults").utterances) / 60
    print(subset_data_directory(out / "adults", out / "train", minutes=min(minutes, most)))


def plan(
    exp: Path, methods: str, train: Path, epochs: int = 8, half: int = 4, seeds: int = 3, rates: int = 3
) -> None:
    """Print the hours that training will take, by the steps that were timed; evaluations on dev come on top.

    Args:
        exp: folder of the experiment
        methods: their names
        train: data directory to train on
        epochs: of each seed
        half: epochs of each rate
        seeds: of each method
        rates: of each method
    """
    seconds, hours = sum(u.duration for u in read_data_directory(train).utterances), {}
    for method in methods.split():
        timed = load_json(exp / "timed" / method / "train.json")
        epoch = timed["seconds_per_step"] * timed["steps"] * seconds / timed["audio_seconds"]
        hours[method] = epoch * (rates * half + seeds * epochs) / 3600
    print(*(f"    {method}: {time_of:.2f} hours" for method, time_of in hours.items()), sep="\n")
    print(f"    {len(hours)} methods: {sum(hours.values()):.1f} hours of training")


def forward(out: Path, adapter: Path, base: str = "mini") -> None:
    """Time a forward pass of 16 rows with one adapter, and with sixteen, relative to the base's.

    Sixteen are IA³'s in the bank, and LoRA's as PEFT computes mixed batches, by `adapter_names`: the adapter
    under sixteen names. Other methods have no way to. The three take turns; the median of their ratios is
    written.

    Args:
        out: JSON: one, sixteen (null where the method can't)
        adapter: folder of an adapter of any method
        base: its base
    """
    import torch

    from ia3_speech.adapters.bank import Bank
    from ia3_speech.adapters.methods import load_any
    from ia3_speech.adapters.record import method_of
    from ia3_speech.adapters.spec import parse_sum
    from ia3_speech.model.base import load_base

    waves = [
        np.random.default_rng(row).normal(size=SECONDS * 16_000).astype(np.float32) / 10
        for row in range(BATCH)
    ]
    alone, adapted, method = load_base(base), load_base(base), method_of(adapter)
    load_any(adapted, parse_sum(adapter))
    runs: dict[str, Callable[[], Any]] = {
        "base": lambda: alone.logits(waves),
        "one": lambda: adapted.logits(waves),
    }
    names = [f"voice{row}" for row in range(BATCH)]
    if method == "ia3_plus":
        bank = Bank(load_base(base))
        for name in names:
            bank.add(name, str(adapter))
        runs["sixteen"] = partial(bank.logits, waves, names)
    elif method == "lora":
        import peft

        mixed = load_base(base)
        wrapper = peft.PeftModel.from_pretrained(mixed.model, adapter, adapter_name=names[0])
        for name in names[1:]:
            wrapper.load_adapter(adapter, adapter_name=name)
        batch = torch.stack([mixed.prepare(wave) for wave in waves])
        runs["sixteen"] = torch.no_grad()(lambda: wrapper(batch, adapter_names=names))
        runs["base of sixteen"] = torch.no_grad()(
            lambda: alone.model(batch)
        )  # transformers' own forward pass
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - start)

    def ratio(name: str, to: str) -> float | None:
        return float(np.median(np.divide(seconds[name], seconds[to]))) if name in seconds else None

    to = "base of sixteen" if "base of sixteen" in runs else "base"
    write_json(out, {"one": ratio("one", "base"), "sixteen": ratio("sixteen", to)})


def table(exp: Path, methods: str, measured: Path | None = None) -> None:
    """Write EXP/methods.{md,json}, EXP/figures/methods.{svg,pdf,csv}, and print the first.

    Args:
        exp: folder of the experiment
        methods: their names, in the table's order; those that have no results are left out
        measured: EXP/methods.json of an earlier run, perhaps on another machine, for methods not trained here
    """
    base = load_system(exp / "base")
    earlier = load_json(measured) if measured else {"methods": {}}
    rows = earlier["methods"]
    for name in methods.split():
        seeds = [load_system(path) for path in sorted(exp.glob(f"{name}_seed*"))]
        if seeds and all({"test", OUT_OF_DOMAIN} <= set(one.results) for one in seeds):
            rows[name] = measured_row(exp, name, seeds)
    rows = {name: rows[name] for name in methods.split() if name in rows}
    before = base.results["test"].all.wer.value
    gains = {name: (before - row["test"][0]) / before for name, row in rows.items()}
    head = ["method", "trained", "bytes", "s a step", "peak MB", "test WER %", "of the seeds"]
    head += ["gain, % of full", "out-of-domain WER %", "rate", "no gain at", "forward, one", "sixteen"]
    first = [base.results["test"].all.wer, None, None, base.results[OUT_OF_DOMAIN].all.wer]
    lines: list[list[Any]] = [["base", None, None, None, None, *first, None, None, "1.00", "1.00"]]
    for name, row in rows.items():
        line = [name, row["trained"], row["bytes"], f"{row['step']:.2f}", f"{row['peak'] / 2**20:.0f}"]
        line += [Rate(row["test"][0], row["test"][1:]), spread(row["seeds"])]
        line += [f"{100 * gains[name] / gains['full']:.0f}" if "full" in rows else None]
        line += [Rate(row["other"][0], row["other"][1:]), f"{row['rate']:g}", row["no_gain_at"] or None]
        lines.append(line + [f"{row[way]:.2f}" if row[way] else None for way in ("one", "sixteen")])
    shown = Table("methods", "Methods", head, lines)
    commits = dict.fromkeys(f"`{row['command']}` (commit {row['commit']})" for row in rows.values())
    made = "".join(f"\n- {line}" for line in commits)
    figures = [Figure("methods", chart(rows, gains).svg_file, shown)]
    text = shown.markdown + made + "\n" * bool(made)
    curve = measured_curve(exp, rows, earlier.get("curve") or {})
    if curve:
        figures.append(curve_figure(curve, before))
        text += "\n" + figures[1].table.markdown
    write_json(exp / "methods.json", {"methods": rows, "curve": curve})
    write_text(exp / "methods.md", text)
    write_figures(exp / "figures", figures)
    print(text)


def measured_row(exp: Path, name: str, seeds: list[System]) -> dict[str, Any]:
    """What the table says of a method: of the median seed, and what all of them have."""
    system, forward_passes = median_of(seeds), load_json(exp / "forward" / f"{name}.json")
    made = provenance() | read_inputs(system.folder)  # of when it was trained, if that is known
    rates = {wanted: system.results[wanted].all.wer for wanted in ("test", OUT_OF_DOMAIN)}
    failed = [
        path.parent.name.removeprefix(f"{name}_rate").removesuffix("_seed1")
        for path in sorted(exp.glob(f"rates/{name}_rate*_seed1/train.json"))
        if not load_json(path)["selected_epoch"]
    ]
    return {
        "trained": system.train["trainable"],
        "bytes": system.train["bytes"],
        "step": load_json(exp / "timed" / name / "train.json")["seconds_per_step"],
        "peak": system.train["peak_memory_bytes"],
        "test": [rates["test"].value, *(rates["test"].bounds or ())],
        "seeds": [one.results["test"].all.wer.value for one in seeds],
        "other": [rates[OUT_OF_DOMAIN].value, *(rates[OUT_OF_DOMAIN].bounds or ())],
        "rate": system.options["learning_rate"],
        "no_gain_at": ", ".join(failed),
        "one": forward_passes["one"],
        "sixteen": forward_passes["sixteen"],
        "command": made["command"],
        "commit": made["commit"],
    }


def short(number: int) -> str:
    """100000 → "100 k"."""
    return f"{number // 1_000_000} M" if number >= 1_000_000 else f"{number // 1_000} k"


def chart(rows: dict[str, dict[str, Any]], gains: dict[str, float]) -> Chart:
    """Gain against the number of trained parameters, on a logarithmic axis."""
    points = [
        Point(math.log10(row["trained"]), gains[name], f"{name}: {row['trained']:,}", text=name)
        for name, row in rows.items()
    ]
    low, high = (math.floor(min(p.x for p in points)), math.ceil(max(p.x for p in points)))
    x = Axis("trained parameters", low, high, [(tick, short(10**tick)) for tick in range(low, high + 1)])
    y = rate_axis("fewer word errors on test, %", [point.y for point in points])
    ours = [point for point in points if point.text.startswith("ia3_plus")]
    others = [point for point in points if point not in ours]
    series = [Series(ours, "system", "IA³", line=False), Series(others, "third", "other methods", line=False)]
    return Chart(
        "Gain by trained parameters", "The median seed of each method at its best rate on dev", x, y, series
    )


def measured_curve(
    exp: Path, rows: dict[str, dict[str, Any]], earlier: dict[str, dict[str, list[float]]]
) -> dict[str, dict[str, list[float]]]:
    """Method → minutes of train, or "all" → test WER of each seed; empty where no curve was asked for."""
    curve: dict[str, dict[str, list[float]]] = {}
    for folder in sorted(exp.glob("curve/*_seed*")):
        method, _, amount = folder.name.rpartition("_seed")[0].rpartition("_")
        results = load_system(folder).results
        if "test" in results:
            curve.setdefault(method, {}).setdefault(amount, []).append(results["test"].all.wer.value)
    curve |= {name: by_amount | curve.get(name, {}) for name, by_amount in earlier.items()}
    return {
        name: by_amount | {"all": rows[name]["seeds"]} for name, by_amount in curve.items() if name in rows
    }


def curve_figure(curve: dict[str, dict[str, list[float]]], base: float) -> Figure:
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


if __name__ == "__main__":
    command({"accent": accent, "plan": plan, "forward": forward, "table": table})
