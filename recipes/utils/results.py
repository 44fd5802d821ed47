#!/usr/bin/env python3
"""What the systems of an exp folder scored: results.json, and Markdown tables for people.

    results.py collect exp/espeak --sets test --command "bash egs/medical_dictation/run.sh"
    results.py median exp/espeak ia3 5          # the folder of the seed whose dev WER is the median
    results.py project exp/espeak 12            # how long 12 more trainings will take
    results.py points exp/espeak ia3 5 test exp/espeak/ia3_seed2   # trade_off.json, curve.json
    results.py show exp/espeak --parts tuning   # print tables, of parts as below
    results.py fill RESULTS.md                  # write the numbers into the marked blocks of a Markdown file

In: EXP/base, EXP/SYSTEM_seedN and EXP/SYSTEM_average with decode_greedy_SET/score.json, train.json and
config.yaml. Out of collect: EXP/results.json (schema 1, rates as fractions) and EXP/RESULTS.md, which is also
printed. A block to fill looks like this, and what stands between the two lines is replaced; the path is
relative to the Markdown file:

    <!-- results exp/espeak systems origin only ia3 ia3_rate* -->
    <!-- end of results -->

After the path come the parts wanted (of systems, speakers, terms, labels, forgetting, curve, training,
tuning, origin; none: all but training and tuning), and perhaps `only` and the systems or folders, as
patterns. A block whose folder is not there, or holds none of these, stays as it is. A path to a Markdown file
(exp/espeak/RESULTS.md) stands for its contents.
"""

import os
import re
import statistics
from pathlib import Path
from typing import Any

from exp_folder import GENERAL, System, find_systems, load_json, load_system, median_of, of_this_run
from exp_points import write_points
from exp_tables import PARTS, STANDARD, markdown

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi import read_data_directory

SCHEMA = 1
BLOCK = re.compile(r"(<!-- results (\S+?)((?: [^>]*?)?) -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)


def collect(exp: Path, sets: str = "test", command: str = "", made: str = "", instead_of: str = "") -> None:
    """Write EXP/results.json and EXP/RESULTS.md, and print the latter.

    Args:
        exp: folder of one corpus
        sets: test sets, with spaces between them
        command: what the user typed, for the record
        made: folders of what this run has made, with spaces between them
        instead_of: a regular expression; folders that match and aren't among `made` are left out
    """
    wanted = sets.split()
    systems = [one for one in of_this_run(find_systems(exp), instead_of, made) if one.scores]
    result = {
        "schema": SCHEMA,
        "systems": [row(one, name) for one in systems for name in one.scores if name in wanted],
        "pairs": [
            pair(one, name)
            for one in systems
            for name, score in one.scores.items()
            if name in wanted and score.get("baseline")
        ],
        "commit": os.environ.get("IA3_SPEECH_COMMIT") or None,
        "dirty": os.environ.get("IA3_SPEECH_DIRTY") == "true",
        "command": command,
    }
    write_json(exp / "results.json", result)
    text = markdown(systems)
    write_text(exp / "RESULTS.md", text)
    print(text, end="")


def median(exp: Path, system: str, seeds: int) -> None:
    """Print the folder of the seed whose dev WER is the median (of an even number, the lower middle).

    Args:
        exp: folder of one corpus
        system: the system's name
        seeds: how many seeds were trained, from 1
    """
    trained = [load_system(exp / f"{system}_seed{seed}") for seed in range(1, seeds + 1)]
    print(median_of(trained).folder.as_posix())


def points(
    exp: Path, system: str, seeds: int, own: str, shown: Path, pulls: str = "", curve: str = ""
) -> None:
    """Write EXP/curve.json and EXP/trade_off.json, which the report draws.

    Args:
        exp: folder of one corpus
        system: the system's name
        seeds: how many seeds were trained, from 1
        own: the test set that stands for the corpus
        shown: the folder of the adapter that was scaled
        pulls: those to show, with spaces between them
        curve: minutes of the parts of train to show
    """
    write_points(exp, system, seeds, own, shown, pulls.split(), curve.split())


def project(exp: Path, trainings: int, minutes: float | None = None, decodes: str = "") -> None:
    """Print how long so many more trainings will take, by those that EXP holds.

    Args:
        exp: folder of one corpus
        trainings: how many are left
        minutes: what an epoch of theirs hears, where that is less than all of train
        decodes: sets that each of them will decode, with spaces between them
    """
    paths = sorted(exp.glob("*_seed*/train.json"))
    timed = [load_json(path)["seconds"] * share(path.parent, minutes) for path in paths]
    if timed:
        decoded = [load_json(exp / f"base/decode_greedy_{name}/decode.json") for name in decodes.split()]
        each = statistics.fmean(timed) + sum(one["seconds"] for one in decoded)
        print(f"{trainings} trainings left, {each:.0f} s each so far: {trainings * each / 3600:.1f} hours")
    else:
        print(f"{trainings} trainings left; the first one will tell how long one takes")


def share(folder: Path, minutes: float | None) -> float:
    """How much of the training in FOLDER one takes whose epochs hear so many minutes. Each epoch decodes dev,
    which has no backward pass: a third of the work."""
    if minutes is None:
        return 1.0
    system = load_system(folder)
    dev = read_data_directory(system.options()["dev"], wav=False, allow_pipes=True)
    listened = sum(one.duration or 0.0 for one in dev) / 3
    return min(1.0, (60 * minutes + listened) / (system.train["audio_seconds"] + listened))


def show(exp: Path, parts: str = " ".join(STANDARD), only: str = "") -> None:
    """Print tables.

    Args:
        exp: folder of one corpus
        parts: which ones, with spaces between them
        only: patterns of the systems or folders wanted
    """
    print(markdown(find_systems(exp, only.split()), parts.split()), end="")


def fill(file: Path) -> None:
    """Write the numbers into the marked blocks of a Markdown file.

    Args:
        file: the Markdown file
    """

    def block(found: re.Match) -> str:
        head, path, words, _, end = found.groups()
        parts, _, only = words.partition(" only ")
        if unknown := set(parts.split()) - set(PARTS):
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
        return head + markdown(systems, parts.split() or STANDARD) + end

    text, count = BLOCK.subn(block, file.read_text(encoding="utf-8"))
    if not count:
        raise UserError(f"{file}: no block to fill (<!-- results exp/CORPUS --> … <!-- end of results -->)")
    write_text(file, text)
    print(f"{file}: {count} blocks looked at")


def of_last_run(exp: Path, systems: list[System]) -> list[System]:
    """Without the seeds that EXP/results.json, of the last run, left out of a system that it has."""
    place = exp / "results.json"
    seeds: dict[str, set[int | None]] = {}
    for one in load_json(place).get("systems", []) if place.is_file() else []:
        seeds.setdefault(one["name"], set()).add(one["seed"])
    return [one for one in systems if one.name not in seeds or one.seed in seeds[one.name]]


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
        **({"general": True} if set_name == GENERAL else {}),
    }


def pair(system: System, set_name: str) -> dict[str, Any]:
    """One system against the base; the seed tells apart those of one name."""
    change = system.scores[set_name]["changes"]["wer"]
    found = {"set": set_name, "baseline": "base", "system": system.name, "seed": system.seed}
    return found | {name: change[name] for name in ("relative", "relative_ci")}


if __name__ == "__main__":
    command({run.__name__: run for run in (collect, median, points, project, show, fill)})
