"""The results of an experiment: results.json and RESULTS.md.

In: EXP/plan; EXP/base, EXP/SYSTEM_seedN and EXP/SYSTEM_average, with train.json, config.yaml and the
score.json of decode_{greedy,lm,hotwords}_SET. Out of `collect`: EXP/results.json (schema 1, rates as
fractions) and EXP/RESULTS.md; trade_off.json and curve.json, which the report draws.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import UserError
from ia3_speech.experiments.by_speaker import is_speakers, parts, write_curves
from ia3_speech.experiments.markdown import markdown
from ia3_speech.experiments.plan import Plan, read_plan
from ia3_speech.experiments.points import write_points
from ia3_speech.experiments.result_warnings import warnings_of
from ia3_speech.experiments.systems import (
    GREEDY,
    HOTWORDS,
    LM,
    OUT_OF_DOMAIN,
    System,
    find_systems,
    load_system,
    median_of,
    of_this_run,
)
from ia3_speech.inputs import Inputs, provenance

SCHEMA = 1


def collect(exp: Path, force: bool = False) -> None:
    """Write results.json, RESULTS.md and the points of curves, by EXP/plan; print RESULTS.md.

    Args:
        exp: folder of the experiment
        force: write them again if they were written from the same scores
    """
    plan, _, _ = read_plan(exp)
    places = ("*", "*/scale_*", "curve/*")
    scores = [path for place in places for path in sorted(exp.glob(f"{place}/decode_{GREEDY}_*/score.json"))]
    scores += sorted(exp.glob("*/train.json"))
    names = ("plan.json", "train.tsv", "systems.tsv")
    sources = {"scores": scores, "plan": [exp / "plan" / name for name in names]}
    if plan.language_model:
        forms = [f"decode_{search}_*/score.json" for search in (LM, HOTWORDS)] + ["lm_search.yaml"]
        found = [path for form in forms for path in sorted(exp.glob(f"*/{form}"))]
        sources["language_model"] = [*found, exp / "lm.json"]
    made = Inputs(sources)
    if made.is_current(exp / "RESULTS.md", force):
        return
    systems = of_this_run(find_systems(exp), plan.kind, plan.made)
    searched: dict[str, tuple[str, ...]] = {LM: (), HOTWORDS: ()}
    if plan.language_model:
        shown = selected_folder(exp, plan)
        searched = {LM: ("base", shown), HOTWORDS: (shown,) if plan.hotwords else ()}
    systems = [one for one in systems if one.search == GREEDY or one.folder.name in searched[one.search]]
    if any(map(is_speakers, systems)):
        start, _, variant = parts(System(plan.system, None, exp))
        write_curves(exp, systems, start, variant.removeprefix("_"), plan.sets[0])
    else:
        write_points(exp, plan, systems, exp / selected_folder(exp, plan))
    scored = [one for one in systems if one.scores]
    write_json(exp / "results.json", results(scored, plan.sets))
    text = markdown(scored)
    write_text(exp / "RESULTS.md", text)
    made.record(exp / "RESULTS.md")
    print(text, end="")


def results(systems: list[System], sets: list[str]) -> dict[str, Any]:
    """What results.json holds: a row a system and set, and each system beside the base."""
    scores = [(one, name, score) for one in systems for name, score in one.scores.items() if name in sets]
    found = provenance()
    return {
        "schema": SCHEMA,
        "systems": [row(one, name) for one, name, _ in scores],
        "pairs": [pair(one, name) for one, name, score in scores if score.get("baseline")],
        "warnings": [asdict(one) for one in warnings_of(systems, sets)],
        **{name: found[name] for name in ("commit", "dirty", "command")},
    }


def row(system: System, set_name: str) -> dict[str, Any]:
    score = system.scores[set_name]
    unseen = score.get("unseen_sentences")
    copied = ("wer", "wer_ci", "ci_unit", "cer", "words", "utterances", "term_error_rate")
    return {
        "name": system.name,
        "adapter": system.adapter,
        "set": set_name,
        "seed": system.seed,
        **{name: score[name] for name in copied},
        "trainable": system.train.get("trainable", 0),
        "seconds": system.train.get("seconds", 0.0),
        **({"out_of_domain": True} if set_name == OUT_OF_DOMAIN else {}),
        **({"language_model": True} if system.search != GREEDY else {}),
        **({"hotwords": True} if system.search == HOTWORDS else {}),
        **({"unseen_sentences": {name: unseen[name] for name in copied}} if unseen else {}),
    }


def pair(system: System, set_name: str) -> dict[str, Any]:
    """One system against the base; the seed tells apart those of one name."""
    change = system.scores[set_name]["changes"]["wer"]
    found = {"set": set_name, "baseline": system.baseline, "system": system.name, "seed": system.seed}
    return found | {name: change[name] for name in ("relative", "relative_ci")}


def select(exp: Path, system: str | None = None, trained: bool = False) -> None:
    """Print which folder of EXP a recipe shows: the mean of the seeds, or the one with the median dev WER.

    Of an even number it is the lower middle.

    Args:
        exp: folder of the experiment
        system: another system than the plan's
        trained: the median seed, also where there is a mean
    """
    plan, _, _ = read_plan(exp)
    plan = replace(plan, system=system or plan.system, average=plan.average and not trained)
    print(selected_folder(exp, plan))


def selected_folder(exp: Path, plan: Plan) -> str:
    if plan.average:
        return f"{plan.system}_average"
    trained = [load_system(exp / f"{plan.system}_seed{seed}") for seed in range(1, plan.seeds + 1)]
    return median_of(trained).folder.name


def disabled(exp: Path) -> None:
    """Check that with the adapter disabled the hypotheses are the base's, byte for byte.

    Args:
        exp: folder of the experiment
    """
    _, _, tests = read_plan(exp)
    base = exp / f"base/decode_greedy_{OUT_OF_DOMAIN}/text"
    for one in tests:
        for seed in range(1, one.seeds + 1) if one.system.endswith("/off") else ():
            text = exp / one.system.replace("JOB", str(seed)) / f"decode_greedy_{OUT_OF_DOMAIN}/text"
            if text.read_bytes() != base.read_bytes():
                raise UserError(
                    f"{text}: with the adapter off these must be the base's hypotheses, byte for byte "
                    f"(decode both again with --force; if they still differ it is our fault)"
                )
            print(f"{text.parent}: with the adapter off the hypotheses are the base's, byte for byte")
