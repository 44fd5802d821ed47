"""What a recipe trains, decodes and scores: its options in, tables out, which the stages loop over.

    python -m ia3_speech.experiments.plan --exp=exp/medical --data=data/medical --seeds=3 --curve='5 20'

Writes, with TAB between the columns:

    EXP/plan/train.tsv      system, seeds, options of ia3_speech.train
    EXP/plan/baseline.tsv   system, 1, set, options of decode, options of score (stage 4)
    EXP/plan/systems.tsv    system, seeds, set, options of decode, options of score (stage 6)
    EXP/plan/lm.tsv         the same for beam search with a language model (stage 7)
    EXP/plan/hotwords.tsv   the same with hot words as well
    EXP/plan/plan.json      the names of what is made

A system is a folder below EXP; in it JOB stands for the seed, and SELECTED for the folder of the adapter that
the recipe shows, which is known after training. recipes/adapt.sh has the stages.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

from ia3_speech.adapters.expressions import Term, format_terms, parse_terms
from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError, command
from ia3_speech.experiments.systems import GREEDY, HOTWORDS, LM, OUT_OF_DOMAIN

DECIMAL = r"\d+(\.\d+)?"
SPECIAL = re.compile(r"""[][&;|<>()$`*?!#"'\\\s]""")  # what a shell would not take as a word


@dataclass
class PlanOptions:
    """The options of recipes/adapt.sh that decide what is trained and tested, as they were typed."""

    exp: Path
    data: Path = Path("data")
    base: str = "mini"
    corpus: str = ""
    size: str = "full"
    system: str = "ia3"
    seeds: str = "1"
    average: bool = False
    test_sets: str = "test"
    terms: str = ""
    out_of_domain: str = ""
    trade_off: str = ""
    decay_to_one: str = ""
    curve: str = ""
    lm: str = "own"
    hotwords: str = "own"
    train_config: str = ""
    init_adapter: str = ""
    init_name: str = "start"


@dataclass(frozen=True)
class Plan:
    """What a recipe's run makes.

    Attributes:
        sets: test sets, the one that stands for the corpus first.
        made: the folders that are trained.
        kind: a regular expression for the folders that a run of this kind trains; those that are not among
            `made` are of an earlier run, from other inputs perhaps.
        system: the system that is shown.
        seeds: of it.
        average: show the mean of the seeds.
        language_model: the base and the adapter that is shown are decoded with a language model too.
        hotwords: the adapter that is shown is decoded with a language model and hot words too.
    """

    sets: list[str]
    made: list[str]
    kind: str
    system: str
    seeds: int = 1
    average: bool = False
    language_model: bool = False
    hotwords: bool = False


@dataclass(frozen=True)
class Training:
    """A row of train.tsv."""

    system: str
    seeds: int
    options: str


@dataclass(frozen=True)
class Evaluation:
    """A row of baseline.tsv, systems.tsv, lm.tsv or hotwords.tsv."""

    system: str
    seeds: int
    set: str
    decode: str
    score: str


def check_plan(options: PlanOptions) -> None:
    """Raises UserError where options can't be meant, or don't go together."""
    check_common(options)
    check_config(options.train_config)
    if options.average and options.seeds == "1":
        raise UserError("--average takes the mean of several seeds: give --seeds 3")
    for name, form in (("trade_off", DECIMAL), ("curve", DECIMAL), ("decay_to_one", rf"{DECIMAL}(e-?\d+)?")):
        for number in getattr(options, name).split():
            if not re.fullmatch(form, number):
                raise UserError(f"--{name.replace('_', '-')} takes numbers such as 0.5, not {number!r}")
    if options.trade_off and not options.out_of_domain:
        raise UserError("--trade-off needs out-of-domain speech: give --out-of-domain 'DIR DIR', not none")
    if options.decay_to_one and not options.trade_off:
        raise UserError("--decay-to-one needs --trade-off '0.25 0.5 0.75'")
    for name in options.lm.split() if options.lm not in ("own", "none") else ():
        if not Path(name).is_file():
            raise UserError(f"--lm {name}: no such file (own, none, or ARPA files and texts)")
    if options.hotwords not in ("own", "none") and not Path(options.hotwords).is_file():
        raise UserError(
            f"--hotwords {options.hotwords}: no such file (own, none, or a file with a term a line)"
        )
    if OUT_OF_DOMAIN in options.test_sets.split():
        raise UserError(f"--test-sets: no set can be called {OUT_OF_DOMAIN}, --out-of-domain is")
    taken = ("base", "log", "plan", "curve", options.system, f"{options.system}_average")
    if options.init_adapter and options.init_name in taken:
        raise UserError(f"--init-name can't be {options.init_name}: something else below exp/ is called that")


def check_common(options: Any) -> None:
    """What the recipes for a corpus and for speakers have in common."""
    published = Path("local/published.txt")
    if not options.corpus:
        told = published.is_file()
        raise UserError(published.read_text("utf-8").strip() if told else "no corpus: give --corpus DIR")
    for path in map(str, (options.exp, options.data, options.base)):
        if SPECIAL.search(path):
            raise UserError(f"no folder can be called {path} (give another --corpus-name or --work-dir)")
    check_count("seeds", options.seeds)
    if options.size not in ("full", "small"):
        raise UserError(f"--size must be full or small, not {options.size!r}")


def check_config(config: str) -> None:
    """Raises UserError for a file that is not there; a bare name is a configuration of the package."""
    if (config.endswith(".yaml") or "/" in config) and not Path(config).is_file():
        raise UserError(f"there is no configuration {config}")


def check_count(name: str, value: str, least: int = 1) -> None:
    """Raises UserError where a flag's value is no whole number, or too small."""
    if not value.isdecimal() or int(value) < least:
        raise UserError(f"--{name} must be a number from {least} on, not {value!r}")


def trainings(options: PlanOptions) -> Iterator[Training]:
    """The system; with decays towards 1; on parts of train.

    An epoch on a part goes over as much audio as the most minutes asked for, so that all of them take equally
    many steps.
    """
    seeds, minutes = int(options.seeds), options.curve.split()
    start = f" --init-adapter {options.init_adapter}" if options.init_adapter else ""
    whole = f"--train {options.data}/train{start}"
    yield Training(f"{options.system}_seedJOB", seeds, whole)
    for decay in options.decay_to_one.split():
        yield Training(f"{options.system}_decay{decay}_seedJOB", 1, f"{whole} --decay-to-one {decay}")
    for part in minutes:
        epoch = f"--epoch-minutes {max(minutes, key=float)}"
        data = f"--train {options.data}/curve/minutes_{part}"
        yield Training(f"curve/minutes_{part}_seedJOB", seeds, f"{data}{start} {epoch}")


def baselines(options: PlanOptions) -> Iterator[Evaluation]:
    """The base on every set."""
    for name in sets_of(options):
        yield evaluation(options, "base", 1, name)


def systems(options: PlanOptions) -> Iterator[Evaluation]:
    """The starting adapter, the seeds, their mean, decays, parts of train, and the selected adapter scaled.

    With the adapter disabled (`off`) the hypotheses must be the base's; a mean is tested on dev too.
    """
    sets, first = sets_of(options), options.test_sets.split()[0]
    mean = f"{options.system}_average"
    rows = [(one.system, one.seeds) for one in trainings(options)]
    whole = [rows[0], *([(mean, 1)] if options.average else [])]
    for name in sets if options.init_adapter else ():
        yield evaluation(options, options.init_name, 1, name, options.init_adapter)
    for system, seeds in whole:
        adapter = f"{options.exp}/{system}/adapter"
        for name in [*sets, *(["dev"] if system == mean else [])]:
            yield evaluation(options, system, seeds, name, adapter)
        if options.out_of_domain:
            yield evaluation(options, f"{system}/off", seeds, OUT_OF_DOMAIN, f"{adapter}:0")
    for system, seeds in rows[1:]:
        for name in (first,) if system.startswith("curve/") else (first, OUT_OF_DOMAIN):
            yield evaluation(options, system, seeds, name, f"{options.exp}/{system}/adapter")
    for scale in options.trade_off.split():
        for name in (first, OUT_OF_DOMAIN) if float(scale) not in (0, 1) else ():  # base, adapter itself
            yield evaluation(
                options, f"SELECTED/scale_{scale}", 1, name, f"{options.exp}/SELECTED/adapter:{scale}"
            )


def with_language_model(options: PlanOptions) -> Iterator[Evaluation]:
    """The base, then the adapter that is shown, on every set, searched as SYSTEM/lm_search.yaml says."""
    for name in sets_of(options) if options.lm != "none" else ():
        yield evaluation(options, "base", 1, name, search=LM)
    for name in sets_of(options) if options.lm != "none" else ():
        yield evaluation(options, "SELECTED", 1, name, f"{options.exp}/SELECTED/adapter", search=LM)


def has_hotwords(options: PlanOptions) -> bool:
    """`own` are terms that train holds, where the recipe has a list of terms."""
    listed = bool(options.terms) if options.hotwords == "own" else options.hotwords != "none"
    return listed and options.lm != "none"


def with_hotwords(options: PlanOptions) -> Iterator[Evaluation]:
    """The adapter that is shown, with the language model and SYSTEM/hotwords.txt."""
    for name in sets_of(options) if has_hotwords(options) else ():
        yield evaluation(options, "SELECTED", 1, name, f"{options.exp}/SELECTED/adapter", search=HOTWORDS)


def sets_of(options: PlanOptions) -> list[str]:
    return options.test_sets.split() + [OUT_OF_DOMAIN] * bool(options.out_of_domain)


def evaluation(
    options: PlanOptions, system: str, seeds: int, name: str, adapter: str = "", search: str = GREEDY
) -> Evaluation:
    """Out-of-domain speech has no terms, and speakers of its own; dev has no terms and no baseline.

    The baseline is the base with the same search; of the base with a language model the base without, and of
    an adapter with hot words the adapter alone.
    """
    score = []
    if (adapter or search == LM) and name != "dev":
        against = system if search == HOTWORDS else "base"
        baseline = LM if adapter and search == LM else GREEDY
        score.append(f"--baseline {options.exp}/{against}/decode_{baseline}_{name}")
    if name in options.test_sets.split():
        score.append(f"--training {options.data}/train")
        if options.terms:
            score.append(f"--terms {options.exp}/terms_{name}")
    if name == OUT_OF_DOMAIN:
        score.append("--cluster speaker")
    how = "--search greedy" if search == GREEDY else f"--config {options.exp}/{system}/lm_search.yaml"
    if search == HOTWORDS:
        how += f" --hotwords {options.exp}/{system}/hotwords.txt"
    decode = f"--base {options.base} {how}" + (f" --adapter {adapter}" if adapter else "")
    return Evaluation(system, seeds, name, decode, " ".join(score))


def folders(rows: list[Training]) -> list[str]:
    """What the rows train, a folder a seed."""
    return [row.system.replace("JOB", str(seed)) for row in rows for seed in range(1, row.seeds + 1)]


def write_plan(
    exp: Path,
    plan: Plan,
    train: list[Training],
    baseline: Iterable[Evaluation],
    systems: Iterable[Evaluation],
    lm: Iterable[Evaluation] = (),
    hotwords: Iterable[Evaluation] = (),
) -> None:
    """EXP/plan/{train,baseline,systems,lm,hotwords}.tsv and plan.json."""
    tables = {"train": train, "baseline": baseline, "systems": systems, "lm": lm, "hotwords": hotwords}
    for name, rows in tables.items():
        lines = ("\t".join(map(str, astuple(row))) + "\n" for row in rows)
        write_changed(exp / f"plan/{name}.tsv", "".join(lines))
    write_changed(exp / "plan/plan.json", json.dumps(asdict(plan), indent=2) + "\n")


def write_changed(path: Path, text: str) -> None:
    """A plan that stays as it is keeps its date."""
    if not path.is_file() or path.read_text("utf-8") != text:
        write_text(path, text)


def read_plan(exp: Path) -> tuple[Plan, list[Training], list[Evaluation]]:
    """The plan, and the rows of train.tsv and systems.tsv. Raises UserError where there is none."""
    tables = []
    for name, row in (("train", Training), ("systems", Evaluation)):
        path = exp / f"plan/{name}.tsv"
        if not path.is_file():
            raise UserError(f"{path}: there is no plan (run the recipe)")
        lines = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
        tables.append([row(system, int(seeds), *rest) for system, seeds, *rest in lines])
    return Plan(**json.loads((exp / "plan/plan.json").read_text("utf-8"))), *tables


def resolved_adapter(expression: str) -> str:
    """With paths from the root; they are meant from where the user stood, else from the recipe's folder."""
    recipe = Path.cwd()
    os.chdir(os.environ.get("IA3_SPEECH_START_DIR", "."))
    try:
        return format_terms([from_root(part) for part in parse_terms(expression)])
    except UserError:
        os.chdir(recipe)
        return format_terms(parse_terms(expression))
    finally:
        os.chdir(recipe)


def from_root(part: Term) -> Term:
    """A registered name as it is; a relative path made absolute."""
    if part.folder.is_absolute():
        return part
    return replace(part, name=str(part.folder.resolve()), folder=part.folder.resolve())


def main(options: PlanOptions) -> None:
    check_plan(options)
    if options.init_adapter:
        options.init_adapter = resolved_adapter(options.init_adapter)
    train = list(trainings(options))
    system = re.escape(options.system)
    plan = Plan(
        sets=sets_of(options),
        made=folders(train) + [f"{options.system}_average"] * options.average,
        kind=rf"{system}(_(decay|pull)[^_]+)?_seed\d+|{system}_average",
        system=options.system,
        seeds=int(options.seeds),
        average=options.average,
        language_model=options.lm != "none",
        hotwords=has_hotwords(options),
    )
    searched = with_language_model(options), with_hotwords(options)
    write_plan(options.exp, plan, train, baselines(options), systems(options), *searched)


if __name__ == "__main__":
    command(main)
