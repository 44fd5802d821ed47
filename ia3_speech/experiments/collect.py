"""The results of an experiment: results.json and RESULTS.md, and the blocks of a Markdown page.

In: EXP/plan, and EXP/base, EXP/SYSTEM_seedN and EXP/SYSTEM_average with decode_greedy_SET/score.json,
train.json and config.yaml. Out of `collect`: EXP/results.json (schema 1, rates as fractions) and
EXP/RESULTS.md; trade_off.json and curve.json, which the report draws.
"""

import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.experiments.by_speaker import is_speakers, parts, write_curves
from ia3_speech.experiments.markdown import PARTS, STANDARD, markdown
from ia3_speech.experiments.plan import Plan, Test, read_plan
from ia3_speech.experiments.points import write_points
from ia3_speech.experiments.systems import (
    OUT_OF_DOMAIN,
    System,
    find_systems,
    load_json,
    load_system,
    median_of,
    of_this_run,
)
from ia3_speech.inputs import Inputs, provenance

SCHEMA = 1
BLOCK = re.compile(r"(<!-- results (\S+?)((?: [^>]*?)?) -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)
EARLIER_PARTS = {"origin": "provenance"}


def collect(exp: Path, force: bool = False) -> None:
    """Write results.json, RESULTS.md and the points of curves, by EXP/plan; print RESULTS.md.

    Args:
        exp: folder of the experiment
        force: write them again if they were written from the same scores
    """
    plan, _, _ = read_plan(exp)
    places = ("*", "*/scale_*", "curve/*")
    scores = [path for place in places for path in sorted(exp.glob(f"{place}/decode_greedy_*/score.json"))]
    scores += sorted(exp.glob("*/train.json"))
    names = ("plan.json", "train.tsv", "systems.tsv")
    made = Inputs({"scores": scores, "plan": [exp / "plan" / name for name in names]})
    if made.is_current(exp / "RESULTS.md", force):
        return
    systems = of_this_run(find_systems(exp), plan.kind, plan.made)
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
        **{name: found[name] for name in ("commit", "dirty", "command")},
    }


def row(system: System, set_name: str) -> dict[str, Any]:
    score = system.scores[set_name]
    copied = ("wer", "wer_ci", "ci_unit", "cer", "words", "utterances", "term_error_rate")
    return {
        "name": system.name,
        "adapter": system.adapter,
        "set": set_name,
        "seed": system.seed,
        **{name: score[name] for name in copied},
        "trainable": system.train.get("trainable", 0),
        "seconds": system.train.get("seconds", 0.0),
        **({"general": True} if set_name == OUT_OF_DOMAIN else {}),
    }


def pair(system: System, set_name: str) -> dict[str, Any]:
    """One system against the base; the seed tells apart those of one name."""
    change = system.scores[set_name]["changes"]["wer"]
    found = {"set": set_name, "baseline": "base", "system": system.name, "seed": system.seed}
    return found | {name: change[name] for name in ("relative", "relative_ci")}


def select(exp: Path, system: str | None = None, trained: bool = False) -> None:
    """Print the folder, below EXP, of what the recipe shows: the mean of the seeds, if the plan has one, else the seed
    whose dev WER is the median (of an even number, the lower middle).

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
                raise UserError(f"{text}: with the adapter off these must be the base's hypotheses, byte for byte "
                                f"(decode both again with --force; if they still differ it is our fault)")  # fmt: skip
            print(f"{text.parent}: with the adapter off the hypotheses are the base's, byte for byte")


def remaining(exp: Path, trainings: int | None = None) -> None:
    """Print how long the trainings that are left will take, by those that EXP holds.

    Args:
        exp: folder of the experiment
        trainings: so many as those that are done (default: what the plan has and EXP lacks)
    """
    paths = sorted(path for path in exp.glob("*_seed*/train.json") if "seconds" in load_json(path))
    if trainings is not None:
        left = [exp / "new"] * trainings
        seconds = [load_json(path)["seconds"] for path in paths]
        expected = trainings * statistics.fmean(seconds) if seconds else 0.0
    else:
        _, planned, tests = read_plan(exp)
        folders = [(one, exp / one.system.replace("JOB", str(seed)))
                   for one in planned for seed in range(1, one.seeds + 1)]  # fmt: skip
        rows = [(one, folder) for one, folder in folders if not (folder / "train.json").is_file()]
        left = [folder for _, folder in rows]
        sets = {one.system: [test for test in tests if test.system == one.system] for one, _ in rows}
        expected = sum(time_of(paths, one.options) + decoding(exp, sets[one.system]) for one, _ in rows)
    if left and paths:
        said = f"{expected / len(left):.0f} s each so far: {expected / 3600:.1f} hours"
        print(f"{len(left)} trainings left, {said}")
    elif len(left) > 1:
        print(f"{len(left)} trainings left; the first one will tell how long one takes")


def time_of(done: list[Path], options: str) -> float:
    """Seconds that a training takes, by those that are done.

    One with `--epoch-minutes` hears less than all of train, and each epoch decodes dev, which has no backward pass:
    a third of the work. One with `--k` takes its share of what more utterances took.
    """
    minutes, k = (re.search(rf"{flag} (\S+)", options) for flag in ("--epoch-minutes", "--k"))
    times = []
    for path in done:
        system = load_system(path.parent)
        share = 1.0
        if minutes:
            dev = read_data_directory(Path(system.options()["dev"]), wav=False, allow_pipes=True)
            heard = sum(one.duration or 0.0 for one in dev) / 3
            share = min(1.0, (60 * float(minutes[1]) + heard) / (system.train["audio_seconds"] + heard))
        elif k:
            share = int(k[1]) / parts(system)[1]
        times.append(system.train["seconds"] * share)
    return statistics.fmean(times) if times else 0.0


def decoding(exp: Path, tests: list[Test]) -> float:
    """Seconds that decoding the sets takes, by the base."""
    places = [exp / f"base/decode_greedy_{one.set}/decode.json" for one in tests]
    return sum(load_json(place)["seconds"] for place in places if place.is_file())


def show(exp: Path, parts: str = " ".join(STANDARD), only: str = "") -> None:
    """Print tables.

    Args:
        exp: folder of the experiment
        parts: which ones, with spaces between them
        only: patterns of the systems or folders wanted
    """
    print(markdown(find_systems(exp, only.split()), parts.split()), end="")


def fill(file: Path) -> None:
    """Write the numbers into the marked blocks of a Markdown file.

    A block looks like this; what stands between the two lines is replaced, and the path is relative to the file:

        <!-- results exp/espeak systems provenance only ia3 ia3_rate* -->
        <!-- end of results -->

    After the path come the parts wanted (of systems, speakers, terms, labels, forgetting, curve, training,
    tuning, provenance; none: all but training and tuning), and perhaps `only` and the systems or folders, as
    patterns. A block whose folder is not there, or holds none of these, stays as it is. A path to a Markdown
    file (exp/espeak/RESULTS.md) stands for its contents.

    Args:
        file: the Markdown file
    """
    text, count = BLOCK.subn(lambda found: filled(file, found), file.read_text(encoding="utf-8"))
    if not count:
        raise UserError(f"{file}: no block to fill (<!-- results exp/CORPUS --> … <!-- end of results -->)")
    write_text(file, text)
    print(f"{file}: {count} blocks looked at")


def filled(file: Path, found: re.Match) -> str:
    """A block with its numbers."""
    head, path, words, _, end = found.groups()
    wanted, _, only = words.partition(" only ")
    parts = [EARLIER_PARTS.get(part, part) for part in wanted.split()]
    if unknown := set(parts) - set(PARTS):
        raise UserError(f"{file}: a block asks for {min(unknown)!r} (there are: {', '.join(PARTS)})")
    exp = file.parent / path
    if exp.is_file():
        return head + exp.read_text(encoding="utf-8") + end
    if not exp.is_dir():
        print(f"{exp}: not there, its block stays as it is")
        return found[0]
    systems = of_last_run(exp, find_systems(exp, only.split()))
    if only and len(systems) == 1:
        print(f"{exp}: has nothing of {only}, its block stays as it is")
        return found[0]
    return head + markdown(systems, parts or STANDARD) + end


def of_last_run(exp: Path, systems: list[System]) -> list[System]:
    """Without the seeds that EXP/results.json, of the last run, left out of a system that it has."""
    place = exp / "results.json"
    seeds: dict[str, set[int | None]] = {}
    for one in load_json(place).get("systems", []) if place.is_file() else []:
        seeds.setdefault(one["name"], set()).add(one["seed"])
    return [one for one in systems if one.name not in seeds or one.seed in seeds[one.name]]
