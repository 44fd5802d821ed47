"""A picture of speakers before and after adaptation, a dot each.

    python -m ia3_speech.report.scatter exp/speechocean762

In: the experiment of recipes/speakers.sh, scored. Out: EXP/scatter_SYSTEM.svg of each of its systems, of the
seed whose dev WER is the median; below the line a speaker is better off.
"""

from itertools import groupby
from pathlib import Path

from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.experiments.by_speaker import compare, is_speakers, parts
from ia3_speech.experiments.plan import read_plan
from ia3_speech.experiments.systems import System, find_systems, median_of, of_this_run
from ia3_speech.report.charts import speaker_scatter


def write_scatters(exp: Path, systems: list[System], test_set: str) -> None:
    """Write EXP/scatter_SYSTEM.svg of each system of adapted speakers."""
    base, *others = [system for system in systems if test_set in system.scores]
    adapted = [system for system in others if is_speakers(system)]
    alone = {system.name: system for system in (base, *others) if not is_speakers(system)}
    for _, seeds in groupby(adapted, key=lambda system: system.name):
        system = median_of(list(seeds))
        result = compare(system, alone.get(parts(system)[0], base), test_set)
        names = result.against.name, system.name
        path = exp / f"scatter_{system.name}.svg"
        write_text(path, speaker_scatter(names, result.speakers, result.words, result.before, result.after))
        print(path)


def main(exp: Path) -> None:
    """Write EXP/scatter_*.svg.

    Args:
        exp: folder of the experiment
    """
    plan, _, _ = read_plan(exp)
    write_scatters(exp, of_this_run(find_systems(exp), plan.kind, plan.made), plan.sets[0])


if __name__ == "__main__":
    command(main)
