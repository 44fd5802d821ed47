"""What recipes/speakers.sh trains, decodes and scores: its options in, tables out (see plan.py).

    python -m ia3_speech.experiments.plan_speakers --exp=exp/voices --data=data/voices --k='5 15' --seeds=3

A system is FROM_kN: from the base or from --init-adapter, N utterances a speaker. Its test set is decoded as
it is trained, each utterance by an adapter that never heard it; out-of-domain speech with all in turn.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ia3_speech.cli import UserError, command
from ia3_speech.experiments.plan import (
    Evaluation,
    Plan,
    Training,
    check_common,
    check_config,
    check_count,
    folders,
    resolved_adapter,
    write_changed,
    write_plan,
)
from ia3_speech.experiments.systems import OUT_OF_DOMAIN


@dataclass
class SpeakerPlanOptions:
    """The options of recipes/speakers.sh that decide what is trained and tested, as they were typed."""

    exp: Path
    data: Path = Path("data")
    base: str = "mini"
    corpus: str = ""
    size: str = "full"
    init_adapter: str = ""
    init_name: str = ""
    adapt_config: str = ""
    init_config: str = ""
    k: str = "15"
    folds: str = "4"
    seeds: str = "1"
    nj: str = "1"
    variant: str = ""
    out_of_domain: str = ""


def check_speaker_plan(options: SpeakerPlanOptions) -> None:
    """Raises UserError where options can't be meant."""
    check_common(options)
    check_config(options.adapt_config)
    check_config(options.init_config)
    check_count("nj", options.nj)
    check_count("folds", options.folds, least=2)
    if not options.k or not all(n.isdecimal() and int(n) >= 2 for n in options.k.split()):
        raise UserError(f"--k must be numbers from 2 on, not {options.k!r}")
    if options.init_adapter and options.init_name in ("base", "log", "plan"):
        raise UserError(f"--init-name can't be {options.init_name}: something else below exp/ is called that")


def trainings(options: SpeakerPlanOptions) -> Iterator[Training]:
    """The most utterances first; from the base, then from the adapter."""
    for k in sorted(map(int, options.k.split()), reverse=True):
        for start in starts(options):
            config = f"--config {options.adapt_config if start == 'base' else options.init_config}"
            init = "" if start == "base" else f" --init-adapter {options.init_adapter}"
            name = f"{system_name(options, start, k)}_seedJOB"
            yield Training(name, int(options.seeds), f"{config} --k {k}{init}")


def starts(options: SpeakerPlanOptions) -> list[str]:
    return ["base", options.init_name] if options.init_adapter else ["base"]


def system_name(options: SpeakerPlanOptions, start: str, k: int) -> str:
    return f"from_{start}_k{k}" + (f"_{options.variant}" if options.variant else "")


def evaluation(
    options: SpeakerPlanOptions, system: str, seeds: int, name: str, adapters: str = "", score: str = ""
) -> Evaluation:
    """A row; `adapters` and `score` are further options of decode and of score."""
    score = f"--cluster speaker{score}"
    if system != "base":
        score += f" --baseline {options.exp}/base/decode_greedy_{name}"
    return Evaluation(system, seeds, name, f"--base {options.base} --search greedy{adapters}", score)


def systems(options: SpeakerPlanOptions, train: list[Training], sets: list[str]) -> Iterator[Evaluation]:
    """Each training on test, where it has decoded, and on out-of-domain speech with the adapters in turn."""
    for one in train:
        folder = f"{options.exp}/{one.system}"
        for name in sets:
            adapters, score = f" --adapter-per-speaker {folder} --in-turn", ""
            if name == "test":
                adapters, score = "", f" --training-per-speaker {folder}"
            yield evaluation(options, one.system, one.seeds, name, adapters, score)


def main(options: SpeakerPlanOptions) -> None:
    if options.init_adapter and not options.init_name:
        named = re.fullmatch(r"[\w-]+", options.init_adapter)
        options.init_name = options.init_adapter if named else "start"
    check_speaker_plan(options)
    if options.init_adapter:
        options.init_adapter = resolved_adapter(options.init_adapter)
    train = list(trainings(options))
    sets = ["test", *([OUT_OF_DOMAIN] if options.out_of_domain else [])]
    baseline = [
        evaluation(options, start, 1, name, "" if start == "base" else f" --adapter {options.init_adapter}")
        for start in starts(options)
        for name in sets
    ]
    most = max(map(int, options.k.split()))
    variant = f"_{re.escape(options.variant)}" if options.variant else ""
    plan = Plan(
        sets=sets,
        made=folders(train),
        kind=rf"from_.+_k\d+{variant}_seed\d+",
        system=system_name(options, starts(options)[-1], most),
        seeds=int(options.seeds),
    )
    write_plan(options.exp, plan, train, baseline, systems(options, train, sets))
    shown = ((one.system.removesuffix("_seedJOB"), curve_of(options, one)) for one in train)
    write_changed(
        options.exp / "plan/reports.tsv", "".join(f"{system}\t{curve}\n" for system, curve in shown)
    )


def curve_of(options: SpeakerPlanOptions, training: Training) -> str:
    """The option of report that gives the learning curve of a system's start, where there are several N."""
    start, _, _ = training.system.removeprefix("from_").rpartition("_k")
    if len(options.k.split()) == 1:
        return ""
    name = "curve.json" if start == starts(options)[-1] else f"curve_from_{start}.json"
    return f"--curve {options.exp}/{name}"


if __name__ == "__main__":
    command(main)
