"""What adaptation did to each speaker: comparisons with the base and with the start, and learning curves.

In: the systems of an experiment of recipes/speakers.sh: base, perhaps an adapter to start from, and
from_START_kN_seedS. Out: `Comparison`s, for tables and pictures; where there are several N, EXP/curve.json of
the main start and EXP/curve_from_START.json of the other (curve_files.py has the format).

Changes are pooled over all words; their intervals come from a bootstrap over speakers, on the draws that
ia3_speech/score.py takes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ia3_speech.atomic import write_json
from ia3_speech.experiments.curve_files import estimate_fields
from ia3_speech.experiments.systems import System
from ia3_speech.scoring.significance import Interval, bootstrap_sums, percentile_interval, ratio

NAME = re.compile(r"from_(?P<start>.+)_k(?P<k>\d+)(?P<variant>_.+)?")


@dataclass(frozen=True)
class Comparison:
    """One system beside another, speaker by speaker; the arrays are (speakers,), errors and words."""

    system: System
    against: System
    speakers: list[str]
    words: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def relative(self) -> float | None:
        """The change of the pooled WER by the WER before; None where nothing was wrong."""
        return float(self.after.sum() / self.before.sum()) - 1 if self.before.sum() else None

    @property
    def relative_ci(self) -> Interval:
        """Its 95 % interval over draws of speakers; None of a single one."""
        if len(self.speakers) < 2:
            return None
        drawn = bootstrap_sums({"before": self.before, "after": self.after})
        return percentile_interval(ratio(drawn["after"] - drawn["before"], drawn["before"]))

    @property
    def changes(self) -> np.ndarray:
        """Each speaker's WER after less that before, as a fraction."""
        return (self.after - self.before) / self.words


def parts(system: System) -> tuple[str, int, str]:
    """START, N and the variant of a system's name."""
    found = NAME.fullmatch(system.name)
    return (found["start"], int(found["k"]), found["variant"] or "") if found else ("", 0, "")


def comparisons(systems: Sequence[System], set_name: str) -> list[Comparison]:
    """Every system of adapted speakers against the base, and against its start where that is another one."""
    named = {system.name: system for system in systems}
    found = []
    for system in systems:
        if not is_speakers(system):
            continue
        for against in dict.fromkeys(("base", parts(system)[0])):
            if against in named:
                found.append(compare(system, named[against], set_name))
    return found


def is_speakers(system: System) -> bool:
    """Whether it is many adapters, one a speaker and fold."""
    return "not_improved" in system.train


def compare(system: System, against: System, set_name: str) -> Comparison:
    """Both by speaker; those without a word can't be counted."""
    before, after = (one.scores[set_name]["by_label"]["speaker"] for one in (against, system))
    speakers = [speaker for speaker, rates in after.items() if rates["words"] and speaker in before]
    counted = [[after[s]["words"] for s in speakers]]
    counted += [[side[s]["errors"] for s in speakers] for side in (before, after)]
    return Comparison(system, against, speakers, *(np.array(column) for column in counted))


def curve_of_speakers(base: System, adapted: Sequence[System], set_name: str) -> dict[str, Any]:
    """The learning curve of systems that started alike; `base` is what they started from."""
    points = [
        {"utterances": utterances(system), "seed": system.seed, **estimate_fields(system.scores[set_name])}
        for system in adapted
    ]
    points.sort(key=lambda point: point["utterances"])
    return {"base": estimate_fields(base.scores[set_name]), "points": points}


def utterances(system: System) -> float:
    """How many trained its adapters or selected their epochs: N, or the median of what there was."""
    return system.train.get("utterances", parts(system)[1])


def write_curves(exp: Path, systems: Sequence[System], main_start: str, variant: str, test_set: str) -> None:
    """Where there are several N, write EXP/curve.json of the main start, and EXP/curve_from_START.json."""
    for outdated in exp.glob("curve*.json"):
        outdated.unlink()
    alone = {one.name: one for one in systems if not is_speakers(one)}
    adapted = [one for one in systems if is_speakers(one) and test_set in one.scores]
    for start in dict.fromkeys(parts(one)[0] for one in adapted):
        own = [one for one in adapted if parts(one)[::2] == (start, variant and f"_{variant}")]
        if len({parts(one)[1] for one in own}) > 1:
            name = "curve.json" if start == main_start else f"curve_from_{start}.json"
            write_json(exp / name, curve_of_speakers(alone.get(start, systems[0]), own, test_set))
