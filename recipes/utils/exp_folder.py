"""An exp folder, read: its systems, what was trained and what was scored.

In: EXP/base, EXP/SYSTEM_seedN and perhaps their mean EXP/SYSTEM_average, with train.json, config.yaml,
decode_greedy_SET/score.json and the markers that stage.sh leaves. Out: `System`s, the base first.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ia3_speech.cli import UserError
from ia3_speech.training.records import present_names, read_training_options

GENERAL = "general"  # the test set of general speech, which no adapter is made for
DEV = "dev"  # scored here for what is not trained, so has chosen nothing by it


@dataclass
class System:
    """One system: its folder, and what was trained and scored there (`train` is empty for the base)."""

    name: str
    seed: int | None
    folder: Path
    train: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)  # set → score.json

    @property
    def adapter(self) -> str | None:
        """Its folder; None for the base, and where there are many (one a speaker)."""
        one = self.train and "speakers" not in self.train
        return (self.folder / "adapter").absolute().as_posix() if one else None

    @property
    def dev_wer(self) -> float | None:
        """As its training measured it; of a mean as it was decoded."""
        return self.train.get("dev_wer", self.scores.get(DEV, {}).get("wer"))

    def options(self) -> dict[str, Any]:
        """The options that it was trained with."""
        return read_training_options(self.folder / "config.yaml")

    def made_by(self) -> dict[str, str]:
        """commit, dirty ("true" or "false") and command, as the first marker of stage.sh has them."""
        decoded = sorted(self.folder.glob("decode_greedy_*/.done"))
        return next((found for place in [None, *decoded] if (found := self.marker(place))), {})

    def marker(self, place: Path | None = None) -> dict[str, str]:
        """What a marker of stage.sh says, its own or that at `place`; empty where there is none."""
        place = place or self.folder / ".done"
        if not place.is_file():
            return {}
        lines = place.read_text(encoding="utf-8").splitlines()
        return dict(line.split(" ", 1) for line in lines)


def load_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not there yet (run the earlier stages)") from None


def load_system(folder: Path) -> System:
    """What was trained in SYSTEM_seedN, and its scores so far."""
    name, _, seed = folder.name.rpartition("_seed")
    return System(
        name, int(seed), folder, present_names(load_json(folder / "train.json")), load_scores(folder)
    )


def load_scores(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(folder.glob("decode_greedy_*/score.json"))
    return {file.parent.name.removeprefix("decode_greedy_"): load_json(file) for file in files}


def find_systems(exp: Path, only: list[str] | tuple[()] = ()) -> list[System]:
    """The base first, then a starting adapter if there is one, then what was trained, by name and seed.

    `only` are patterns of names, or of folders (ia3_seed1); the base is always among them.
    """

    def is_wanted(one: System) -> bool:
        return any(fnmatch(one.name, like) or fnmatch(one.folder.name, like) for like in only)

    systems = []
    for folder in sorted(path for path in exp.iterdir() if path.is_dir() and path.name[0] != "."):
        if re.fullmatch(r".+_seed\d+", folder.name) and (folder / "train.json").is_file():
            systems.append(load_system(folder))
        elif scores := load_scores(folder):
            train = (
                present_names(load_json(folder / "train.json")) if (folder / "train.json").is_file() else {}
            )
            systems.append(System(folder.name, None, folder, train, scores))
    base = next((one for one in systems if one.name == "base"), None)
    if base is None:
        raise UserError(f"{exp}/base: the baseline is not scored yet (stage 4)")
    for outdated in outdated_seeds(systems):
        print(f"{outdated.folder}: left out, other seeds were made of other inputs since", file=sys.stderr)
        systems.remove(outdated)
    for system in systems:
        for name in [name for name, score in system.scores.items() if not is_current(score, name, base)]:
            print(f"{system.folder}: left out on {name}, another baseline stands there now", file=sys.stderr)
            del system.scores[name]
    return sorted(
        (one for one in systems if one is base or not only or is_wanted(one)),
        key=lambda one: (one is not base, one.seed is not None, in_numbers(one.name), one.seed or 0),
    )


def of_this_run(systems: list[System], instead_of: str, made: str) -> list[System]:
    """Without what an earlier run of other seeds, sizes or pulls has left, of other inputs perhaps.

    Args:
        instead_of: a regular expression for the folders that a run of this kind makes.
        made: those that this run has made, or found done, with spaces between them.
    """
    names, kept = made.split(), []
    for one in systems:
        if one.folder.name in names or not re.fullmatch(instead_of, one.folder.name):
            kept.append(one)
        else:
            print(f"{one.folder}: left out, this run wasn't asked for it", file=sys.stderr)
    return kept


def outdated_seeds(systems: list[System]) -> list[System]:
    """Of one system the seeds, and their mean, that were not made of what went into the newest seed."""
    found = []
    for name in {one.name for one in systems if one.seed is not None}:
        made = [(one, one.marker()) for one in systems if one.name == name]
        newest = max((marker for _, marker in made), key=lambda marker: marker.get("finished", ""))
        found += [one for one, marker in made if marker.get("key") != newest.get("key")]
        means = [one for one in systems if one.name == f"{name}_average" and "average_of" in one.train]
        found += [one for one in means if one.train["average_of"] != newest.get("key")]
    return sorted(found, key=lambda one: one.folder)


def in_numbers(name: str) -> list[tuple[int, str]]:
    """To sort names by: from_base_k5 stands before from_base_k10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def is_current(score: dict[str, Any], set_name: str, base: System) -> bool:
    """Whether a score was made against the baseline that stands there now, not before the data changed."""
    against, now = score.get("baseline"), base.scores.get(set_name)
    if not against:
        return True
    rates = ("wer", "words", "cer", "term_error_rate")
    return (
        now is not None
        and all(against[name] == now.get(name) for name in rates if name in against)
        and counted(score) == counted(now)
    )


def counted(score: dict[str, Any]) -> dict[str, Any]:
    """What a score tells apart: the labels' values, and the terms' occurrences by category."""
    terms = {name: one["reference"] for name, one in (score.get("terms_by_category") or {}).items()}
    labels = {label: sorted(values) for label, values in (score.get("by_label") or {}).items()}
    return {"terms": terms, "labels": labels}


def median_of(systems: list[System]) -> System:
    """The seed whose dev WER is the median; without a dev set the middle one of the seeds."""
    return sorted(systems, key=lambda one: (one.train.get("dev_wer", 0.0), one.seed))[(len(systems) - 1) // 2]
