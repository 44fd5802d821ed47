"""A plan for folders that tests write by hand."""

from pathlib import Path

from ia3_speech.experiments.plan import Evaluation, Plan, Training, write_plan

KIND = r"ia3(_(decay|pull)[^_]+)?_seed\d+|ia3_average"


def planned(
    exp: Path,
    made: str = "ia3_seed1 ia3_seed2 ia3_seed3",
    sets: str = "test",
    *,
    seeds: int = 3,
    system: str = "ia3",
    kind: str = KIND,
    average: bool = False,
    language_model: bool = False,
    hotwords: bool = False,
    train: tuple[Training, ...] = (),
    tests: tuple[Evaluation, ...] = (),
) -> Path:
    plan = Plan(sets.split(), made.split(), kind, system, seeds, average, language_model, hotwords)
    write_plan(exp, plan, list(train), [], tests)
    return exp
