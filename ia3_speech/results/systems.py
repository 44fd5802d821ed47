"""The systems of an experiment's folder: what was trained, and what was scored.

In: EXP/base, EXP/SYSTEM_seedN and perhaps their mean EXP/SYSTEM_average, with train.json, config.yaml,
decode_{greedy,lm,hotwords}_SET/score.json and the records of ia3_speech/inputs.py. Out: `System`s, the base
first; what was decoded with a language model too is a second system, `base + LM`, and with hot words a third.
Of many speakers' adapters: `Comparison`s with the base and with what they started from, speaker by speaker.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import yaml

from ia3_speech.errors import UserError
from ia3_speech.formatting import numeric_order
from ia3_speech.inputs import read_inputs
from ia3_speech.scoring.results import ADDED, Json, Results, read_results
from ia3_speech.scoring.significance import relative_change
from ia3_speech.scoring.table import Rate

OUT_OF_DOMAIN = "out_of_domain"  # the test set of speech that no adapter is made for
GREEDY, LM, HOTWORDS = ADDED  # how a set was searched: decode_SEARCH_SET
DEV = "dev"  # scored for a mean of seeds, which is not trained, so that dev selected nothing there
OF_SPEAKERS = re.compile(r"from_(?P<start>.+)_k(?P<k>\d+)(?P<variant>_.+)?")


@dataclass
class System:
    """One system.

    Attributes:
        name: without the seed.
        seed: None for the base, a starting adapter and a mean.
        folder: EXP/NAME_seedN, or EXP/NAME.
        train: train.json, empty for the base; of a mean what its seeds took together.
        results: set → what its score.json says.
        search: GREEDY, LM or HOTWORDS, how the hypotheses were searched.
    """

    name: str
    seed: int | None
    folder: Path
    train: Json = field(default_factory=dict)
    results: dict[str, Results] = field(default_factory=dict)
    search: str = GREEDY

    @property
    def baseline(self) -> str:
        """The name of the system that it is compared with; with hot words the adapter without them."""
        if self.search == HOTWORDS:
            return f"{self.greedy_name}{ADDED[LM]}"
        with_lm = self.search == LM and self.greedy_name != "base"
        return f"base{ADDED[LM]}" if with_lm else "base"

    @property
    def greedy_name(self) -> str:
        """Its name without language model and hot words."""
        return self.name.removesuffix(ADDED[self.search])

    @property
    def of_speakers(self) -> bool:
        """Whether it is many adapters, one a speaker and fold."""
        return "not_improved" in self.train

    @property
    def adapter(self) -> str | None:
        """Its folder; None for the base, and where there are many."""
        is_one = self.train and not self.of_speakers
        return (self.folder / "adapter").absolute().as_posix() if is_one else None

    @property
    def dev_wer(self) -> float | None:
        """As its training measured it; of a mean as it was decoded."""
        on_dev = self.results.get(DEV)
        return self.train.get("dev_wer", on_dev and on_dev.all.wer.value)

    @property
    def options(self) -> Json:
        """The options that it was trained with; of a mean those of its first seed."""
        trained = next(iter(seeds_of_mean(self.folder)), self.folder)
        return yaml.safe_load((trained / "config.yaml").read_text("utf-8"))

    @property
    def record(self) -> Json:
        """inputs.json of its training; of what was not trained, of its first decoding. Empty without one."""
        places = sorted(self.folder.glob(f"decode_{self.search}_*"))
        places = [self.folder, *places] if self.search == GREEDY else places
        return next((record for place in places if (record := read_inputs(place))), {})

    @property
    def start_and_k(self) -> tuple[str, int, str]:
        """Of adapters of speakers: what they started from, utterances a speaker, and the variant."""
        match = OF_SPEAKERS.fullmatch(self.name)
        return (match["start"], int(match["k"]), match["variant"] or "") if match else ("", 0, "")


def load_json(path: Path) -> Json:
    """A JSON object. Raises UserError where there is none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not there yet (run the earlier stages)") from None
    except ValueError as error:
        raise UserError(f"{path}: is not JSON: {error} (damaged: make it again)") from None


def load_system(folder: Path, search: str = GREEDY) -> System:
    """What was trained in SYSTEM_seedN, or decoded in another folder, and its scores so far."""
    match = re.fullmatch(r"(.+)_seed(\d+)", folder.name)
    name, seed = (match[1], int(match[2])) if match else (folder.name, None)
    train = load_json(folder / "train.json") if match or (folder / "train.json").is_file() else {}
    if seeds := [load_json(seed / "train.json") for seed in seeds_of_mean(folder)]:
        train = {"trainable": seeds[0]["trainable"], "seconds": sum(seed["seconds"] for seed in seeds)}
    files = sorted(folder.glob(f"decode_{search}_*/score.json"))
    results = {file.parent.name.removeprefix(f"decode_{search}_"): read_results(file) for file in files}
    results = dict(sorted(results.items(), key=lambda pair: pair[0] == OUT_OF_DOMAIN))  # which comes last
    return System(f"{name}{ADDED[search]}", seed, folder, train, results, search)


def seeds_of_mean(folder: Path) -> list[Path]:
    """The folders of the seeds whose mean is in EXP/SYSTEM_average; none for another folder."""
    averaged = read_inputs(folder).get("inputs", {}) if folder.name.endswith("_average") else {}
    return [folder.with_name(Path(adapter).parent.name) for adapter in averaged]


def find_systems(exp: Path, only: Sequence[str] = ()) -> list[System]:
    """The base first, then a starting adapter if there is one, then what was trained, by name and seed.

    What is no longer current is left out, and named on stderr: by the records of inputs.json.

    Args:
        only: patterns of names, or of folders (ia3_plus_seed1); the base is always among them.

    Raises:
        UserError: the base is not scored.
    """
    if not any((exp / "base").glob(f"decode_{GREEDY}_*/score.json")):
        raise UserError(f"{exp}/base: the baseline is not scored yet (stage 4)")
    folders = sorted(path for path in exp.iterdir() if path.is_dir() and path.name[0] != ".")
    systems = [load_system(folder) for folder in folders if is_system(folder)]
    for system, reason in outdated(systems):
        print(f"{system.folder}: left out, {reason}", file=sys.stderr)
        systems.remove(system)
    systems += [
        searched
        for system in systems
        for search in (LM, HOTWORDS)
        if (searched := load_system(system.folder, search)).results
    ]
    drop_other_baselines(systems)

    def is_wanted(system: System) -> bool:
        named = any(fnmatch(system.greedy_name, like) or fnmatch(system.folder.name, like) for like in only)
        return named or not only or system.name == "base"

    wanted = [system for system in systems if is_wanted(system)]
    if any(system.search == LM for system in wanted):
        wanted += [one for one in systems if one.name == f"base{ADDED[LM]}" and one not in wanted]
    return sorted(wanted, key=order_in_tables)


def test_sets(systems: Sequence[System]) -> list[str]:
    """What the base was scored on, without out-of-domain speech."""
    return sorted(set(systems[0].results) - {OUT_OF_DOMAIN})


def is_system(folder: Path) -> bool:
    """Whether something was trained in it, or decoded and scored."""
    if re.fullmatch(r".+_seed\d+", folder.name):
        return (folder / "train.json").is_file()
    return any(folder.glob(f"decode_{GREEDY}_*/score.json"))


def order_in_tables(system: System) -> tuple:
    """The base first; then what a language model decoded, there too the base first; then hot words."""
    place = [*ADDED].index(system.search), system.greedy_name != "base", system.seed is not None
    return *place, numeric_order(system.name), system.seed or 0


def outdated(systems: Sequence[System]) -> Iterator[tuple[System, str]]:
    """Seeds of other inputs than the newest of their system, and a mean that is older than they are."""
    for name in dict.fromkeys(one.name for one in systems if one.seed is not None):
        seeds = [one for one in systems if one.name == name]
        newest = max((one.record for one in seeds), key=lambda record: record.get("finished") or "")
        for one in seeds:
            if made_of(one.record) != made_of(newest):
                yield one, "other seeds were made of other inputs since"
        for mean in [one for one in systems if one.name == f"{name}_average"]:
            made = read_inputs(mean.folder).get("finished") or "9"
            if made < (newest.get("finished") or ""):
                yield mean, "its seeds were trained again since"


def made_of(record: Json) -> Json:
    """Inputs and options of a record, without the seed."""
    options = {name: value for name, value in record.get("options", {}).items() if name != "seed"}
    return {"inputs": record.get("inputs"), "options": options}


def drop_other_baselines(systems: Sequence[System]) -> None:
    """Drop results that were scored on other data or against another baseline than what stands there now."""
    for system in sorted(systems, key=order_in_tables):  # a baseline before what is compared with it
        against = [one for one in systems if one.name == system.baseline and one.seed is None]
        if system.search == HOTWORDS:
            against = [one for one in systems if one.folder == system.folder and one.search == LM]
        for name in [*system.results]:
            if not is_current(system, name, against[0] if against else None):
                print(
                    f"{system.name} ({system.folder}): left out on {name}, scored against another "
                    f"baseline than stands there now (run the stages from 4 on)",
                    file=sys.stderr,
                )
                del system.results[name]


def is_current(system: System, set_name: str, against: System | None) -> bool:
    """Whether a set was scored, without a baseline or against the hypotheses that stand there now."""
    results, baseline = system.results.get(set_name), against and against.results.get(set_name)
    if not results or not results.has_baseline:
        return results is not None
    return baseline is not None and results.is_against(baseline)


def median_of(systems: Sequence[System]) -> System:
    """The seed whose dev WER is the median; without a dev set the middle one of the seeds."""
    return sorted(systems, key=lambda one: (one.train.get("dev_wer", 0.0), one.seed))[(len(systems) - 1) // 2]


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


def comparisons(systems: Sequence[System], set_name: str) -> list[Comparison]:
    """Every system of adapted speakers against the base, and against its start where that is another one."""
    named = {system.name: system for system in systems if not system.of_speakers}
    return [
        compare(system, named[against], set_name)
        for system in systems
        if system.of_speakers and set_name in system.results
        for against in dict.fromkeys(("base", system.start_and_k[0]))
        if against in named
    ]


def compare(system: System, against: System, set_name: str) -> Comparison:
    """Both by speaker; those without a word can't be counted."""
    before, after = (one.results[set_name].by_label["speaker"] for one in (against, system))
    speakers = [speaker for speaker, row in after.items() if row.words and speaker in before]
    counted = [[after[s].words for s in speakers]]
    counted += [[side[s].errors for s in speakers] for side in (before, after)]
    return Comparison(system, against, speakers, *(np.array(column) for column in counted))
