#!/usr/bin/env python3
"""IA³ and other methods on one trainer, the same data and the same base.

1, 2  prepare and validate the data        5  choose each method's rate by dev, train its seeds
3     time a step of each method,          6  decode and score
      and print the hours                  7  time forward passes
4     decode and score with the base       8  table and figure
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import speechocean762
import yaml
from stages import CorpusOptions, DecodingOptions, Study, Word, located, python
from subset import subset

from ia3_speech.adapters.record import read_json
from ia3_speech.common.atomic import write_json, write_text
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import provenance, read_inputs
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.report.charts import Axis, Chart, Point, Series, has_cairo, rate_axis, write_picture
from ia3_speech.report.curve_files import spread
from ia3_speech.report.systems import median_of, trained_systems
from ia3_speech.scoring.record import read_result
from ia3_speech.scoring.table import Rate, Table

HERE = Path(__file__).resolve().parents[1]
METHODS = yaml.load((HERE / "conf/methods.yaml").read_text("utf-8"), yaml.BaseLoader)
SETS = ("test", "out_of_domain")
BATCH, SECONDS, REPEATS = 16, 4, 5  # of the forward passes


@dataclass(frozen=True, kw_only=True)
class Options(DecodingOptions, CorpusOptions):
    """Options of the study."""

    task: Literal["orders", "accent", "own"] | None = None
    """orders (barista_orders), accent (speechocean762) or own (as egs/TEMPLATE takes it) (default: own,
    unless the corpus is that of the orders)"""
    minutes: float = 20
    """minutes of the accent's train set to use"""
    methods: str = " ".join(METHODS)
    """methods to compare"""
    rates: str = ""
    """learning rates that are known, as 'full=1e-4 ia3_plus=2e-2'; for each other method dev chooses one of
    three"""
    replay: float = 0.0
    """weight of replay of the shipped speech in each training; with replay the table is one of its own"""
    seeds: int = 3
    """number of seeds of each method at its best rate"""
    epochs: int = 8
    """epochs of each seed; the learning rates are chosen with one seed and half as many"""


class Comparison(Study):
    """Data and results of one task."""

    def __init__(self, options: Options):
        if options.out_of_domain == "none":
            raise UserError("`out_of_domain` none: the table shows what each method costs on other speech")
        self.methods = options.methods.split()
        self.known = dict(word.partition("=")[::2] for word in options.rates.split())
        for name, given in (("methods", self.methods), ("rates", self.known)):
            if unknown := sorted({*given} - METHODS.keys()):
                raise UserError(f"`{name}`: no method {unknown[0]} (there are {' '.join(sorted(METHODS))})")
        for method, rate in self.known.items():
            if not rate.replace("e-", "").replace(".", "").isdecimal():
                raise UserError(f"`rates` takes METHOD=RATE, as 'full=1e-4', not '{method}={rate}'")
        self.trained = list(dict.fromkeys(map(trained_as, self.methods)))
        corpus = options.corpus or Path()
        is_orders = (corpus / "data/speech/clean").is_dir()
        self.task = options.task or ("orders" if is_orders else "own")
        folder = re.sub(r"[^\w.-]", "_", corpus.resolve().name)  # it stands in lines of the shell
        name = folder if self.task == "own" else self.task
        super().__init__(__file__, name + f"_replay{options.replay:g}" * (options.replay > 0), options)
        self.epochs, self.half = (2, 1) if self.small else (options.epochs, (options.epochs + 1) // 2)

    def prepare_and_decode_base(self) -> None:
        """Stages 1, 2 and 4, by the recipe of the task."""
        options, corpus = self.options, self.options.corpus
        if self.task == "accent":
            corpus, given = self.data / "published", {"minutes": options.minutes, "size": options.size}
            make = partial(adults, options.corpus)
            self.once("the adults of speechocean762", corpus, [options.corpus], make, **given)
        recipe = "barista_orders" if self.task == "orders" else "TEMPLATE"
        given = {"corpus_name": self.corpus_name, "work_dir": self.work, "lm": "none", "terms": ""}
        for first, last in ((1, 2), (4, 4)):
            first, last = max(first, options.stage), min(last, options.stop_stage)
            if first <= last:
                self.recipe(recipe, corpus, last, stage=first, **given)
            if not (self.data / "dev").is_dir():
                raise UserError(f"{self.data} has no dev to choose rates on (of five minutes of train)")

    def train(self, out: str, method: str, *words: Word, part: Path | None = None, seeds: int = 0) -> None:
        """Train a method with its options into EXP/OUT, or with several seeds into EXP/OUT_seedN."""
        of_method, jobs = METHODS[method], "_seedJOB" * (seeds > 0)
        config = HERE / f"conf/{of_method['config']}.yaml"
        if not config.is_file():
            config = of_method["config"]
        line = python("train", "--base", located(self.options.base), "--dev", self.data / "dev")
        line += ["--config", config, "--train", part or self.data / "train", *user_method(method)]
        if self.options.replay:
            line += ["--replay", "shipped", "--replay-weight", self.options.replay]
        line += ["--placements", *of_method["placements"]] if "placements" in of_method else []
        line += [*words, "--out", self.exp / f"{out}{jobs}", *(["--seed", "JOB"] if seeds else [])]
        print(f"train {out}", flush=True)
        self.job("train", f"train_{out}{jobs}.log", line, seeds)

    def time_steps(self) -> None:
        """Stage 3: three epochs of three minutes with each method; print the hours that training takes,
        evaluations on dev on top."""
        part, minutes, hours = self.data / "timed", 1 if self.small else 3, {}
        self.command(["subset.py", self.data / "train", part, "--minutes", minutes])
        seconds = sum(u.duration or 0.0 for u in read_data_directory(self.data / "train").utterances)
        for method in self.trained:
            self.train(f"timed/{method}", method, "--epochs", 3, part=part)
            timed = read_json(self.exp / f"timed/{method}/train.json")
            epoch = timed["seconds_per_step"] * timed["steps"] * seconds / timed["audio_seconds"]
            hours[method] = epoch * (3 * self.half + self.options.seeds * self.epochs) / 3600
        print(*(f"    {method}: {of_method:.2f} hours" for method, of_method in hours.items()), sep="\n")
        print(f"    {len(hours)} methods: {sum(hours.values()):.1f} hours of training", flush=True)

    def train_all(self) -> None:
        """Stage 5."""
        for method in self.trained:
            if (rate := self.known.get(method)) is None:
                dev = {}
                for rate in METHODS[method]["rates"]:
                    self.train(f"rates/{method}_rate{rate}", method, *at(rate, self.half), seeds=1)
                    dev[rate] = read_json(self.exp / f"rates/{method}_rate{rate}_seed1/train.json")["dev_wer"]
                rate = min(dev, key=dev.__getitem__)
            self.train(method, method, *at(rate, self.epochs), seeds=self.options.seeds)

    def decode_all(self, method: str) -> None:
        """Decode and score both sets with each seed of a method."""
        options = user_method(method) + (["--guard", "on"] if "guarded" in METHODS[method] else [])
        cluster = ["--cluster", "utterance"] if self.task == "orders" else []  # the speakers are unknown
        for seed, test in product(range(1, self.options.seeds + 1), SETS):
            decode = ["--adapter", self.exp / f"{trained_as(method)}_seed{seed}/adapter", *options]
            self.decode_and_score(method, seed, self.data / test, *cluster, decode=decode)


def trained_as(method: str) -> str:
    """The method whose adapters are decoded: a guarded system has none of its own."""
    return METHODS[method].get("guarded", method)


def user_method(method: str) -> list[Word]:
    """Options of train and decode for a method of local/methods.py."""
    function = METHODS[method].get("function")
    return ["--method", f"{HERE}/local/methods.py:{function}"] if function else []


def at(rate: str, epochs: int) -> list[Word]:
    """Options of train."""
    return ["--patience", 99, "--learning-rate", rate, "--epochs", epochs]


def main(options: Options) -> None:
    """Compare IA³ with other methods."""
    study = Comparison(options)
    study.prepare_and_decode_base()
    if study.runs(3):
        study.time_steps()
    if study.runs(5):
        study.train_all()
    if study.runs(6):
        for method in study.methods:
            study.decode_all(method)
    if study.runs(7):
        for method in study.trained:
            adapter, out = study.exp / f"{method}_seed1/adapter", study.exp / f"forward/{method}.json"
            given = {"base": located(options.base), "method": method}
            make = partial(time_forward, adapter=adapter)
            study.once(f"time forward passes of {method}", out, [adapter], make, **given)
    if study.runs(8):
        # Methods that this run leaves out were measured earlier, perhaps on another machine.
        measured = HERE / f"measured_{study.task}.json"
        earlier = measured if measured.is_file() and not (study.small or options.replay) else None
        write_tables(study.exp, [*METHODS], earlier, options.seeds)


def adults(corpus: Path, out: Path, minutes: float, size: Size) -> None:
    """Write the adults of speechocean762, and of train this many minutes: OUT/{train,dev,test}."""
    speechocean762.prepare(corpus, out / "whole", size)
    for name, source in (("adults", "train"), ("dev", "dev"), ("test", "test_adults")):
        utterances = read_data_directory(out / "whole" / source).utterances
        write_data_directory(out / name, [u for u in utterances if speechocean762.is_adult(u)])
    whole = sum(u.duration or 0.0 for u in read_data_directory(out / "adults").utterances) / 60
    subset(out / "adults", out / "train", minutes=min(minutes, whole))


def time_forward(out: Path, adapter: Path, base: str, method: str) -> None:
    """Time a forward pass of 16 rows with one adapter, and with sixteen, relative to the base's, and write
    them to OUT, medians of ratios; null if the method can't. Sixteen adapters of IA³ are in the bank; PEFT
    computes LoRA's mixed batches by `adapter_names`, with the adapter under sixteen names."""
    import torch
    from benchmark import rounds

    from ia3_speech.adapters.bank import Bank
    from ia3_speech.adapters.card import other_method
    from ia3_speech.adapters.methods import add_user_method, load_any
    from ia3_speech.adapters.spec import parse_sum
    from ia3_speech.model.base import WAVEFORM, load_base

    rows = [np.random.default_rng(row).normal(size=SECONDS * 16_000) / 10 for row in range(BATCH)]
    waves, names = [row.astype(np.float32) for row in rows], [f"voice{row}" for row in range(BATCH)]
    alone, adapted = load_base(base), load_base(base)
    add_user_method(*user_method(method)[1:] or [None])
    spec = parse_sum(str(adapter))
    load_any(adapted, spec)
    runs: dict[str, Callable[[], Any]] = {"base": lambda: alone.logits(waves)}
    runs["one"] = lambda: adapted.logits(waves)
    recorded = other_method(spec.terms[0].record)
    if recorded is None:
        bank = Bank(load_base(base))
        for name in names:
            bank.add(name, str(adapter))
        runs["sixteen"] = partial(bank.logits, waves, names)
    elif recorded == "lora":
        import peft

        mixed = load_base(base)
        wrapper = peft.PeftModel.from_pretrained(mixed.model, adapter, adapter_name=names[0])
        for name in names[1:]:
            wrapper.load_adapter(adapter, adapter_name=name)
        batch = torch.stack([mixed.features(wave, WAVEFORM) for wave in waves])
        runs["sixteen"] = torch.no_grad()(lambda: wrapper(batch, adapter_names=names))
        # In transformers' own forward pass, as PEFT runs it
        runs["base of sixteen"] = torch.no_grad()(lambda: alone.model(batch))
    seconds = rounds(runs, REPEATS)

    def ratio(name: str, to: str) -> float | None:
        return float(np.median(np.divide(seconds[name], seconds[to]))) if name in seconds else None

    to = "base of sixteen" if "base of sixteen" in runs else "base"
    write_json(out, {"one": ratio("one", "base"), "sixteen": ratio("sixteen", to)})


# ---- tables


def write_tables(exp: Path, methods: list[str], measured: Path | None, seeds: int) -> None:
    """Write the table and its figure, and print the table: of `methods` in this order those with results,
    also from `measured`, an earlier run's methods.json."""
    rows = read_json(measured)["methods"] if measured else {}
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
    text = table.markdown + "".join(f"\n- {line}" for line in commits) + "\n" * bool(commits)
    write_json(exp / "methods.json", {"methods": rows})
    write_text(exp / "methods.md", text)
    write_text(exp / "figures/methods.csv", table.csv())
    for suffix in (".svg", ".pdf") if has_cairo() else (".svg",):
        write_picture(exp / f"figures/methods{suffix}", gain_chart(rows, gains).svg_file)
    print(f"{text}The table is in {exp}/methods.md, the figure in {exp}/figures.")


def scored(folder: Path, set_name: str) -> Rate:
    return read_result(folder / f"decode_greedy_{set_name}/score.json").all.rate()


def measured_row(exp: Path, name: str, seeds: int) -> dict[str, Any] | None:
    """A method's row of the table: the seed with the median dev WER, and the test WER of all seeds; None if
    a seed is not scored on both sets."""
    adapters = trained_as(name)
    trained = trained_systems(exp.glob(f"{adapters}_seed*/train.json"))
    trained = [system for system in trained if system.name == adapters and system.seed <= seeds]
    decoded = {system.seed: exp / f"{name}_seed{system.seed}" for system in trained}
    files = [folder / f"decode_greedy_{each}/score.json" for folder in decoded.values() for each in SETS]
    if not trained or not all(file.is_file() for file in files):
        return None
    shown = median_of(trained)
    folder, train, forward = shown.folder, shown.train, exp / f"forward/{name}.json"
    test, other = (scored(decoded[shown.seed], each) for each in SETS)
    tried = trained_systems((exp / "rates").glob(f"{adapters}_rate*_seed1/train.json"))
    failed = [system.options["learning_rate"] for system in tried if not system.train["selected_epoch"]]
    record = provenance() | read_inputs(folder)  # of when it was trained, if that is known
    return {
        "trained": train["trainable"], "bytes": train["bytes"], "peak": train["peak_memory_bytes"],
        "step": read_json(exp / f"timed/{adapters}/train.json")["seconds_per_step"],
        "test": [test.value, *(test.bounds or ())], "other": [other.value, *(other.bounds or ())],
        "seeds": [scored(seed, "test").value for seed in decoded.values()],
        "rate": shown.options["learning_rate"], "no_gain_at": ", ".join(f"{rate:g}" for rate in failed),
        **(read_json(forward) if forward.is_file() else {"one": None, "sixteen": None}),
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
    ours, others = (
        [point for name, point in points.items() if name.startswith("ia3") == is_ours]
        for is_ours in (True, False)
    )
    series = [Series(ours, "system", "IA³", line=False), Series(others, "third", "other methods", line=False)]
    caption = "The median seed of each method at its best rate on dev"
    return Chart("Gain by trained parameters", caption, x, y, series)


if __name__ == "__main__":
    command(main)
