"""The systems in an experiment's folder: trainings and their results.

In: EXP/SYSTEM/DECODE_DIR/score.json, with train.json, config.yaml and the records of common/inputs.py
beside them. The record of a result identifies its system (scoring/record.py), never the name of a folder.
Out: `System`s, the base first; each search is a separate system, `base + LM`. For adapters of many speakers
also `Comparison`s with the base and with their start, speaker by speaker.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import numeric_order
from ia3_speech.common.inputs import read_inputs
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.record import (
    BASE,
    DEV,
    GREEDY,
    OUT_OF_DOMAIN,
    SEARCHES,
    Result,
    load_json,
    read_result,
)
from ia3_speech.scoring.significance import relative_change
from ia3_speech.scoring.table import Rate

# Options of a training that name its data, or do not change the adapter
DATA_OPTIONS = ("train", "data", "out", "decode_dir", "part", "seed", "epoch_minutes", "force", "device")


@dataclass
class System:
    """A training with a seed, or the base, decoded by a search."""

    name: str  # without the seed, and with the search: `ia3_plus + LM`
    system: str  # without the search
    seed: int | None  # None for the base, a starting adapter and a mean
    search: str  # a key of SEARCHES
    folder: Path
    results: dict[str, Result] = field(default_factory=dict)  # by test set, out-of-domain speech last

    @property
    def is_base(self) -> bool:
        return self.system == BASE

    @property
    def baseline(self) -> str | None:
        """The name of the system that it is compared with; None without a comparison."""
        return next((result.baseline_name for result in self.results.values() if result.has_baseline), None)

    @cached_property
    def train(self) -> Json:
        """train.json; empty for the base; for a mean of seeds, the sum of their times."""
        if seeds := [load_json(seed / "train.json") for seed in self.averaged_seeds]:
            return {"trainable": seeds[0]["trainable"], "seconds": sum(seed["seconds"] for seed in seeds)}
        return load_json(self.folder / "train.json", None)

    @cached_property
    def averaged_seeds(self) -> list[Path]:
        """The folders of the seeds, if this is a mean of seeds by the record of its inputs; else none."""
        averaged = read_inputs(self.folder).get("inputs", {})
        seeds = (file.parent for file in sorted(self.folder.parent.glob("*/train.json")))
        return [seed for seed in seeds if any(name.endswith(f"{seed.name}/adapter") for name in averaged)]

    @property
    def of_speakers(self) -> bool:
        """Whether it has an adapter for each speaker and fold."""
        return "not_improved" in self.train

    @property
    def dev_wer(self) -> float | None:
        """The WER on dev, from the training; for a mean of seeds, from the decoded dev set."""
        return self.train.get("dev_wer", self.results[DEV].all.wer if DEV in self.results else None)

    @cached_property
    def options(self) -> Json:
        """The options of its training; for a mean of seeds, of the first seed; empty for the base."""
        file = next(iter(self.averaged_seeds), self.folder) / "config.yaml"
        return yaml.safe_load(file.read_text("utf-8")) if file.is_file() else {}

    @property
    def method_options(self) -> Json:
        """The options of its training without its data and seed."""
        return {name: value for name, value in self.options.items() if name not in DATA_OPTIONS}

    @property
    def record(self) -> Json:
        """inputs.json of its training, or else of its first decoding; empty if neither has it."""
        places = [result.folder for result in self.results.values()]
        places = [self.folder, *places] if self.search == GREEDY else places
        return next((record for place in places if (record := read_inputs(place))), {})


def trained_systems(files: Iterable[Path]) -> list[System]:
    """The trainings with a seed, from their train.json files; the name of NAME_seedN is NAME."""
    systems = []
    for file in sorted(files):
        seed, folder = load_json(file).get("seed"), file.parent
        name = folder.name.removesuffix(f"_seed{seed}")
        if seed is not None and name != folder.name:
            systems.append(System(name, name, seed, GREEDY, folder))
    return systems


def scored_systems(files: Iterable[Path]) -> list[System]:
    """The systems of these score.json files."""
    systems: dict[tuple, System] = {}
    results = map(read_result, sorted(files))
    for result in sorted(results, key=lambda result: (result.set == OUT_OF_DOMAIN, result.set)):
        folder, seed = result.folder.parent, result.record["system_seed"]
        key = (folder, result.name, seed)
        system = System(result.name, result.system, seed, result.search, folder)
        systems.setdefault(key, system).results[result.set] = result
    return [*systems.values()]


def find_systems(exp: Path, only: Sequence[str] = ()) -> list[System]:
    """The base first, then a starting adapter if there is one, then the trainings, by name and seed. Systems
    that are no longer current, by the records of inputs.json, are left out and named on stderr. `only` are
    patterns of names, or of folders (ia3_plus_seed1); the base is always included. Raises UserError if the
    base is not scored."""
    systems = scored_systems(exp.glob("*/*/score.json"))
    if not any(system.is_base and system.search == GREEDY for system in systems):
        raise UserError(f"{exp}/base: the baseline is not scored yet (stage 4)")
    known = {system.folder for system in systems}
    systems += [s for s in trained_systems(exp.glob("*/train.json")) if s.folder not in known]
    for outdated_system, reason in [*outdated(systems)]:
        print(f"{outdated_system.folder}: left out, {reason}", file=sys.stderr)
        systems = [system for system in systems if system.folder != outdated_system.folder]
    drop_other_baselines(systems)
    wanted = [
        system
        for system in systems
        if not only or system.name == BASE
        or any(fnmatch(name, like) for name in (system.system, system.folder.name) for like in only)
    ]  # fmt: skip
    baselines = {system.baseline for system in wanted}
    wanted += [s for s in systems if s.is_base and s.name in baselines and s not in wanted]
    return sorted(wanted, key=order_in_tables)


def test_sets(systems: Sequence[System]) -> list[str]:
    """The sets of the base, without out-of-domain speech."""
    return sorted(set(systems[0].results) - {OUT_OF_DOMAIN})


def order_in_tables(system: System) -> tuple:
    """The key of sorting: by search, and for each search the base first."""
    place = [*SEARCHES].index(system.search), not system.is_base, system.seed is not None
    return *place, numeric_order(system.name), system.seed or 0


def outdated(systems: Sequence[System]) -> Iterator[tuple[System, str]]:
    """Seeds whose inputs differ from those of the newest seed, and means that are older than their seeds."""

    def without_seed(record: Json) -> Json:
        options = {name: value for name, value in record.get("options", {}).items() if name != "seed"}
        return {"inputs": record.get("inputs"), "options": options}

    trained = [system for system in systems if system.search == GREEDY]
    for name in dict.fromkeys(system.name for system in trained if system.seed is not None):
        seeds = [system for system in trained if system.name == name]
        newest = max((seed.record for seed in seeds), key=lambda record: record.get("finished") or "")
        for seed in seeds:
            if without_seed(seed.record) != without_seed(newest):
                yield seed, "other seeds were made of other inputs since"
        folders = {seed.folder for seed in seeds}
        for mean in [system for system in trained if folders & {*system.averaged_seeds}]:
            if (read_inputs(mean.folder).get("finished") or "9") < (newest.get("finished") or ""):
                yield mean, "its seeds were trained again since"


def drop_other_baselines(systems: Sequence[System]) -> None:
    """Drop results that were scored on other data, or against a baseline that has changed since."""
    for system in sorted(systems, key=order_in_tables):  # a baseline before the systems compared with it
        for name, result in [*system.results.items()]:
            if not is_current(result, systems):
                fault = "scored against another baseline than stands there now (run the stages from 4 on)"
                print(f"{system.name} ({system.folder}): left out on {name}, {fault}", file=sys.stderr)
                del system.results[name]


def is_current(result: Result | None, systems: Sequence[System]) -> bool:
    """Whether there is a result, and its baseline, if any, is among the results of these systems."""
    if not result or not result.has_baseline:
        return result is not None
    others = [system.results[result.set] for system in systems if result.set in system.results]
    return any(other.label == result.baseline_label and result.is_against(other) for other in others)


def median_of(systems: Sequence[System]) -> System:
    """The seed with the median dev WER; without a dev set, the middle seed."""
    ordered = sorted(systems, key=lambda system: (system.train.get("dev_wer", 0.0), system.seed or 0))
    return ordered[(len(systems) - 1) // 2]


@dataclass(frozen=True)
class Comparison:
    """A system beside another system, speaker by speaker; the arrays are (speakers,)."""

    system: System
    against: System
    speakers: list[str]
    words: np.ndarray  # of the references
    before: np.ndarray  # errors of `against`
    after: np.ndarray  # errors of `system`

    @property
    def relative(self) -> Rate:
        """The relative change of the pooled WER, with the interval of scoring's bootstrap over speakers; a
        single speaker has no interval."""
        change, bounds = relative_change(self.before, self.after)
        return Rate(change, bounds if len(self.speakers) > 1 else None, signed=True)


def start_of(system: System, systems: Sequence[System]) -> System:
    """The start of adapters of speakers: the base, or the adapter without a seed."""
    others = [s for s in systems if s.seed is None and not s.is_base and s.search == GREEDY]
    return others[0] if others and system.options.get("init_adapter") else systems[0]


def comparisons(systems: Sequence[System], set_name: str) -> list[Comparison]:
    """Each system of adapted speakers against the base, and against its start if that is not the base."""
    return [
        compare(system, against, set_name)
        for system in systems
        if system.of_speakers and set_name in system.results
        for against in {s.name: s for s in (systems[0], start_of(system, systems))}.values()
    ]


def compare(system: System, against: System, set_name: str) -> Comparison:
    """Both systems by speaker, without speakers whose references have no word."""
    before, after = (side.results[set_name].by_label["speaker"] for side in (against, system))
    speakers = [speaker for speaker, rates in after.items() if rates.words and speaker in before]
    words = [after[speaker].words for speaker in speakers]
    errors = [[side[speaker].errors for speaker in speakers] for side in (before, after)]
    return Comparison(system, against, speakers, *map(np.array, (words, *errors)))
