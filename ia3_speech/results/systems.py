"""The systems of an experiment's folder: what was trained, and its results.

In: EXP/SYSTEM/DECODE_DIR/score.json, with train.json, config.yaml and the records of ia3_speech/inputs.py
beside them; the record of a result says what it is of (scoring/record.py), not the name of a folder. Out:
`System`s, the base first; each search is a system of its own, `base + LM`. Of adapters of many speakers:
`Comparison`s with the base and with what they started from, speaker by speaker.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from ia3_speech.errors import UserError
from ia3_speech.formatting import numeric_order
from ia3_speech.inputs import read_inputs
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.record import BASE, DEV, GREEDY, OUT_OF_DOMAIN, SEARCHES, Result, read_results
from ia3_speech.scoring.significance import relative_change
from ia3_speech.scoring.table import Rate

# Options of a training that name its data, or that do not change the adapter
DATA_OPTIONS = ("train", "data", "out", "decode_dir", "part", "seed", "epoch_minutes", "force", "device")


@dataclass
class System:
    """What was trained with one seed, or the base, decoded by one search."""

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
        """The name of the system that it is compared with; None where it was scored alone."""
        return next((result.baseline_name for result in self.results.values() if result.has_baseline), None)

    @cached_property
    def train(self) -> Json:
        """train.json, empty for the base; of a mean what its seeds took together."""
        if seeds := [load_json(seed / "train.json") for seed in self.averaged_seeds]:
            return {"trainable": seeds[0]["trainable"], "seconds": sum(seed["seconds"] for seed in seeds)}
        file = self.folder / "train.json"
        return load_json(file) if file.is_file() else {}

    @cached_property
    def averaged_seeds(self) -> list[Path]:
        """Of a mean of seeds their folders, by the record of its inputs; else none."""
        averaged = read_inputs(self.folder).get("inputs", {})
        seeds = (file.parent for file in sorted(self.folder.parent.glob("*/train.json")))
        return [seed for seed in seeds if any(name.endswith(f"{seed.name}/adapter") for name in averaged)]

    @property
    def of_speakers(self) -> bool:
        """Whether it is many adapters, one a speaker and fold."""
        return "not_improved" in self.train

    @property
    def dev_wer(self) -> float | None:
        """As its training measured it; of a mean as it was decoded."""
        return self.train.get("dev_wer", self.results[DEV].all.wer if DEV in self.results else None)

    @cached_property
    def options(self) -> Json:
        """The options that it was trained with; of a mean those of its first seed; empty for the base."""
        file = next(iter(self.averaged_seeds), self.folder) / "config.yaml"
        return yaml.safe_load(file.read_text("utf-8")) if file.is_file() else {}

    @property
    def own_options(self) -> Json:
        """Those of its options that are not of its data and seed."""
        return {name: value for name, value in self.options.items() if name not in DATA_OPTIONS}

    @property
    def record(self) -> Json:
        """inputs.json of its training; of what was not trained, of its first decoding. Empty without one."""
        places = [result.folder for result in self.results.values()]
        places = [self.folder, *places] if self.search == GREEDY else places
        return next((record for place in places if (record := read_inputs(place))), {})


def load_json(path: Path) -> Json:
    """A JSON object. Raises UserError where there is none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not there yet (run the earlier stages)") from None
    except ValueError as error:
        raise UserError(f"{path}: is not JSON: {error} (damaged: make it again)") from None


def trained_systems(files: Iterable[Path]) -> list[System]:
    """What was trained with a seed, by the train.json files of these folders: NAME_seedN is called NAME."""
    systems = []
    for file in sorted(files):
        seed, folder = load_json(file).get("seed"), file.parent
        name = folder.name.removesuffix(f"_seed{seed}")
        if seed is not None and name != folder.name:
            systems.append(System(name, name, seed, GREEDY, folder))
    return systems


def scored_systems(files: Iterable[Path]) -> list[System]:
    """The systems that these score.json files are of."""
    systems: dict[tuple, System] = {}
    for result in sorted(read_results(files), key=lambda result: (result.set == OUT_OF_DOMAIN, result.set)):
        folder = result.folder.parent
        key = (folder, result.name, result.seed)
        system = System(result.name, result.system, result.seed, result.search, folder)
        systems.setdefault(key, system).results[result.set] = result
    return [*systems.values()]


def find_systems(exp: Path, only: Sequence[str] = ()) -> list[System]:
    """The base first, then a starting adapter if there is one, then what was trained, by name and seed.

    What is no longer current is left out, and named on stderr: by the records of inputs.json.

    Args:
        only: patterns of names, or of folders (ia3_plus_seed1); the base is always among them.

    Raises:
        UserError: the base is not scored.
    """
    systems = scored_systems(exp.glob("*/*/score.json"))
    if not any(one.is_base and one.search == GREEDY for one in systems):
        raise UserError(f"{exp}/base: the baseline is not scored yet (stage 4)")
    known = {one.folder for one in systems}
    systems += [one for one in trained_systems(exp.glob("*/train.json")) if one.folder not in known]
    for system, reason in [*outdated(systems)]:
        print(f"{system.folder}: left out, {reason}", file=sys.stderr)
        systems = [one for one in systems if one.folder != system.folder]
    drop_other_baselines(systems)

    def is_wanted(system: System) -> bool:
        named = any(fnmatch(system.system, like) or fnmatch(system.folder.name, like) for like in only)
        return named or not only or system.name == BASE

    wanted = [system for system in systems if is_wanted(system)]
    baselines = {system.baseline for system in wanted}
    wanted += [one for one in systems if one.is_base and one.name in baselines and one not in wanted]
    return sorted(wanted, key=order_in_tables)


def test_sets(systems: Sequence[System]) -> list[str]:
    """The sets of the base, without out-of-domain speech."""
    return sorted(set(systems[0].results) - {OUT_OF_DOMAIN})


def order_in_tables(system: System) -> tuple:
    """The base first; then each further search, there too the base first."""
    place = [*SEARCHES].index(system.search), not system.is_base, system.seed is not None
    return *place, numeric_order(system.name), system.seed or 0


def outdated(systems: Sequence[System]) -> Iterator[tuple[System, str]]:
    """Seeds of other inputs than the newest of their system, and a mean that is older than they are."""
    trained = [one for one in systems if one.search == GREEDY]
    for name in dict.fromkeys(one.name for one in trained if one.seed is not None):
        seeds = [one for one in trained if one.name == name]
        newest = max((one.record for one in seeds), key=lambda record: record.get("finished") or "")
        for one in seeds:
            if inputs_without_seed(one.record) != inputs_without_seed(newest):
                yield one, "other seeds were made of other inputs since"
        for mean in [one for one in trained if {seed.folder for seed in seeds} & {*one.averaged_seeds}]:
            if (read_inputs(mean.folder).get("finished") or "9") < (newest.get("finished") or ""):
                yield mean, "its seeds were trained again since"


def inputs_without_seed(record: Json) -> Json:
    """Inputs and options of a record, without the seed."""
    options = {name: value for name, value in record.get("options", {}).items() if name != "seed"}
    return {"inputs": record.get("inputs"), "options": options}


def drop_other_baselines(systems: Sequence[System]) -> None:
    """Drop results that were scored on other data, or against another baseline than there is now."""
    for system in sorted(systems, key=order_in_tables):  # a baseline before what is compared with it
        for name, result in [*system.results.items()]:
            if not is_current(result, systems):
                print(
                    f"{system.name} ({system.folder}): left out on {name}, scored against another "
                    f"baseline than stands there now (run the stages from 4 on)",
                    file=sys.stderr,
                )
                del system.results[name]


def is_current(result: Result | None, systems: Sequence[System]) -> bool:
    """Whether there is a result, without a baseline or against the result that these systems have of it."""
    if not result or not result.has_baseline:
        return result is not None
    others = [one.results[result.set] for one in systems if result.set in one.results]
    return any(one.label == result.baseline_label and result.is_against(one) for one in others)


def median_of(systems: Sequence[System]) -> System:
    """The seed whose dev WER is the median; without a dev set the middle one of the seeds."""
    ordered = sorted(systems, key=lambda one: (one.train.get("dev_wer", 0.0), one.seed or 0))
    return ordered[(len(systems) - 1) // 2]


# ---- what adaptation did to each speaker


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
    def relative(self) -> Rate:
        """The change of the pooled WER by the WER before, with an interval over draws of speakers, those that
        scoring takes; without one of a single speaker."""
        change, bounds = relative_change(self.before, self.after)
        return Rate(change, bounds if len(self.speakers) > 1 else None, signed=True)

    @property
    def changes(self) -> np.ndarray:
        """Each speaker's WER after less that before, as a fraction."""
        return (self.after - self.before) / self.words


def start_of(system: System, systems: Sequence[System]) -> System:
    """What adapters of speakers started from: the base, or the system that is an adapter of no seed."""
    others = [one for one in systems if one.seed is None and not one.is_base and one.search == GREEDY]
    return others[0] if others and system.options.get("init_adapter") else systems[0]


def comparisons(systems: Sequence[System], set_name: str) -> list[Comparison]:
    """Every system of adapted speakers against the base, and against its start where that is another one."""
    return [
        compare(system, against, set_name)
        for system in systems
        if system.of_speakers and set_name in system.results
        for against in {one.name: one for one in (systems[0], start_of(system, systems))}.values()
    ]


def compare(system: System, against: System, set_name: str) -> Comparison:
    """Both by speaker; those without a word can't be counted."""
    before, after = (one.results[set_name].by_label["speaker"] for one in (against, system))
    speakers = [speaker for speaker, rates in after.items() if rates.words and speaker in before]
    words = [after[speaker].words for speaker in speakers]
    errors = [[side[speaker].errors for speaker in speakers] for side in (before, after)]
    return Comparison(system, against, speakers, *map(np.array, (words, *errors)))
