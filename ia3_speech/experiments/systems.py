"""The systems of an experiment's folder: what was trained, and what was scored.

In: EXP/base, EXP/SYSTEM_seedN and perhaps their mean EXP/SYSTEM_average, with train.json, config.yaml,
decode_{greedy,lm,hotwords}_SET/score.json and the records of ia3_speech/inputs.py. Out: `System`s, the base
first; what was decoded with a language model too is a second system, `base + LM`, and with hot words a third.
"""

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ia3_speech.cli import UserError
from ia3_speech.formatting import numeric_order
from ia3_speech.inputs import read_inputs
from ia3_speech.scoring.score_file import read_score
from ia3_speech.training.records import read_training_options

OUT_OF_DOMAIN = "out_of_domain"  # the test set of speech that no adapter is made for
# How a set was searched: decode_SEARCH_SET. With each what is added to the system's name.
GREEDY, LM, HOTWORDS = "greedy", "lm", "hotwords"
ADDED = {GREEDY: "", LM: " + LM", HOTWORDS: " + LM + hot words"}
EARLIER_NAMES = {"general": OUT_OF_DOMAIN}  # of sets, in folders of earlier runs
DEV = "dev"  # scored for a mean of seeds, which is not trained, so that dev selected nothing there


@dataclass
class System:
    """One system.

    Attributes:
        name: without the seed.
        seed: None for the base, a starting adapter and a mean.
        folder: EXP/NAME_seedN, or EXP/NAME.
        train: train.json, empty for the base; of a mean what its seeds took together.
        scores: set → score.json.
        search: GREEDY, LM or HOTWORDS, how the scores' hypotheses were searched.
    """

    name: str
    seed: int | None
    folder: Path
    train: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    search: str = GREEDY

    @property
    def baseline(self) -> str:
        """The name of the system that its scores are compared with; with hot words the adapter alone."""
        if self.search == HOTWORDS:
            return self.greedy_name
        with_lm = self.search == LM and self.greedy_name != "base"
        return f"base{ADDED[LM]}" if with_lm else "base"

    @property
    def greedy_name(self) -> str:
        """Its name without language model and hot words."""
        return self.name.removesuffix(ADDED[self.search])

    @property
    def adapter(self) -> str | None:
        """Its folder; None for the base, and where there are many (one a speaker)."""
        one = self.train and "speakers" not in self.train
        return (self.folder / "adapter").absolute().as_posix() if one else None

    @property
    def dev_wer(self) -> float | None:
        """As its training measured it; of a mean as it was decoded."""
        return self.train.get("dev_wer", self.scores.get(DEV, {}).get("wer"))

    @property
    def start_selected(self) -> bool:
        """Whether no epoch of its training improved on the start, so that the adapter is as it started."""
        return self.train.get("selected_epoch") == 0

    def options(self) -> dict[str, Any]:
        """The options that it was trained with."""
        return read_training_options(self.folder / "config.yaml")

    def provenance(self) -> "Provenance":
        """How it was trained; of what was not, how it was decoded first."""
        places = sorted(self.folder.glob(f"decode_{self.search}_*"))
        if self.search == GREEDY:
            places = [self.folder, *places]
        return next((found for place in places if (found := provenance_of(place)).command), Provenance())


@dataclass(frozen=True)
class Provenance:
    """Where an output comes from.

    Attributes:
        command: what the user typed; empty where nothing is recorded.
        commit: of the program; None outside of a clone.
        dirty: whether the clone had changes.
        finished: the time, in UTC, as text that sorts.
        key: equal for outputs from equal inputs, whatever the seed.
    """

    command: str = ""
    commit: str | None = None
    dirty: bool = False
    finished: str = ""
    key: str = ""


def provenance_of(folder: Path) -> Provenance:
    """From inputs.json, or from .done, which recipes wrote before."""
    if found := read_inputs(folder):
        options = {name: value for name, value in found["options"].items() if name != "seed"}
        key = hashlib.sha256(json.dumps([found["inputs"], options], sort_keys=True).encode()).hexdigest()
        return Provenance(found["command"], found["commit"], found["dirty"], found["finished"] or "", key)
    if not (folder / ".done").is_file():
        return Provenance()
    lines = (folder / ".done").read_text(encoding="utf-8").splitlines()
    old = dict(line.split(" ", 1) for line in lines if " " in line)
    known = {name: old[name] for name in ("command", "commit", "finished", "key") if old.get(name)}
    return Provenance(**known, dirty=old.get("dirty") == "true")


def load_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not there yet (run the earlier stages)") from None


def load_system(folder: Path) -> System:
    """What was trained in SYSTEM_seedN, and its scores so far."""
    name, _, seed = folder.name.rpartition("_seed")
    return System(name, int(seed), folder, load_json(folder / "train.json"), load_scores(folder))


def load_scores(folder: Path, search: str = GREEDY) -> dict[str, dict[str, Any]]:
    files = sorted(folder.glob(f"decode_{search}_*/score.json"))
    names = [file.parent.name.removeprefix(f"decode_{search}_") for file in files]
    return {EARLIER_NAMES.get(name, name): read_score(file) for name, file in zip(names, files, strict=True)}


def find_systems(exp: Path, only: Sequence[str] = ()) -> list[System]:
    """The base first, then a starting adapter if there is one, then what was trained, by name and seed.

    `only` are patterns of names, or of folders (ia3_seed1); the base is always among them.
    """

    def is_wanted(one: System) -> bool:
        return any(fnmatch(one.greedy_name, like) or fnmatch(one.folder.name, like) for like in only)

    systems = []
    for folder in sorted(path for path in exp.iterdir() if path.is_dir() and path.name[0] != "."):
        if re.fullmatch(r".+_seed\d+", folder.name) and (folder / "train.json").is_file():
            systems.append(load_system(folder))
        elif scores := load_scores(folder):
            train = load_json(folder / "train.json") if (folder / "train.json").is_file() else {}
            systems.append(System(folder.name, None, folder, train, scores))
    for mean in means_of(systems):
        of = {Path(name).parent.name for name in read_inputs(mean.folder).get("inputs", ())}
        seeds = [one for one in systems if f"{one.name}_average" == mean.name and one.folder.name in of]
        if seeds and not mean.train:
            trainable = seeds[0].train["trainable"]
            mean.train = {"trainable": trainable, "seconds": sum(one.train["seconds"] for one in seeds)}
    base = next((one for one in systems if one.name == "base"), None)
    if base is None:
        raise UserError(f"{exp}/base: the baseline is not scored yet (stage 4)")
    for outdated in outdated_seeds(systems):
        print(f"{outdated.folder}: left out, other seeds were made of other inputs since", file=sys.stderr)
        systems.remove(outdated)
    systems += [
        replace(one, name=f"{one.name}{ADDED[search]}", scores=scores, search=search)
        for one in systems
        for search in (LM, HOTWORDS)
        if (scores := load_scores(one.folder, search))
    ]
    systems.sort(key=order_in_tables)  # a baseline before what is compared with it
    named = {one.name: one for one in systems if one.seed is None}
    for system in systems:
        if system.search == HOTWORDS:
            against = next(one for one in systems if one.folder == system.folder)
        else:
            against = named.get(system.baseline)
        for name in [name for name, score in system.scores.items() if not is_current(score, name, against)]:
            print(f"{system.folder}: left out on {name}, another baseline stands there now", file=sys.stderr)
            del system.scores[name]
    wanted = [one for one in systems if one is base or not only or is_wanted(one)]
    with_lm = named.get(f"base{ADDED[LM]}")
    if any(one.search == LM for one in wanted) and with_lm not in wanted:
        wanted.append(with_lm)
    return sorted(wanted, key=order_in_tables)


def order_in_tables(one: System) -> tuple:
    """The base first; then what a language model decoded, there too the base first; then hot words."""
    trained, searches = one.seed is not None, list(ADDED)
    place = searches.index(one.search), one.greedy_name != "base"
    return *place, trained, numeric_order(one.name), one.seed or 0


def of_this_run(systems: list[System], kind: str, made: Sequence[str]) -> list[System]:
    """Without what an earlier run of other seeds, sizes or options has left, from other inputs perhaps.

    Args:
        kind: a regular expression for the folders that a run of this kind makes.
        made: those that this run has made, or found up to date.
    """
    selected = []
    for one in systems:
        if one.folder.name in made or not re.fullmatch(kind, one.folder.name):
            selected.append(one)
        else:
            print(f"{one.folder}: left out, this run wasn't asked for it", file=sys.stderr)
    return selected


def means_of(systems: list[System]) -> list[System]:
    """Those that are the mean of the seeds of another."""
    seeded = {f"{one.name}_average" for one in systems if one.seed is not None}
    return [one for one in systems if one.seed is None and one.name in seeded]


def outdated_seeds(systems: list[System]) -> list[System]:
    """Of one system the seeds, and their mean, that were not made of what went into the newest seed."""
    found = []
    for name in {one.name for one in systems if one.seed is not None}:
        made = [(one, provenance_of(one.folder)) for one in systems if one.name == name]
        newest = max((record for _, record in made), key=lambda record: record.finished)
        found += [one for one, record in made if record.key != newest.key]
        for mean in [one for one in means_of(systems) if one.name == f"{name}_average"]:
            then = provenance_of(mean.folder).finished
            if (mean.train.get("average_of") or newest.key) != newest.key or (
                then and then < newest.finished
            ):
                found.append(mean)
    return sorted(found, key=lambda one: one.folder)


def is_current(score: dict[str, Any], set_name: str, base: System | None) -> bool:
    """Whether a score was made against the baseline that stands there now, not before the data changed."""
    against, now = score.get("baseline"), base and base.scores.get(set_name)
    if not against:
        return True
    rates = ("wer", "words", "cer", "term_error_rate")
    return (
        now is not None
        and all(against[name] == now.get(name) for name in rates if name in against)
        and counted_values(score) == counted_values(now)
    )


def counted_values(score: dict[str, Any]) -> dict[str, Any]:
    """What a score tells apart: the labels' values, and the terms' occurrences by category."""
    terms = {name: one["reference"] for name, one in (score.get("terms_by_category") or {}).items()}
    labels = {label: sorted(values) for label, values in (score.get("by_label") or {}).items()}
    return {"terms": terms, "labels": labels}


def median_of(systems: list[System]) -> System:
    """The seed whose dev WER is the median; without a dev set the middle one of the seeds."""
    return sorted(systems, key=lambda one: (one.train.get("dev_wer", 0.0), one.seed))[(len(systems) - 1) // 2]
