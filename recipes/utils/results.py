#!/usr/bin/env python3
"""What the systems of an exp folder scored: results.json, and Markdown tables for people.

    results.py collect exp/espeak --sets test --command "bash egs/medical_dictation/run.sh"
    results.py median exp/espeak ia3 5          # the folder of the seed whose dev WER is the median
    results.py fill RESULTS.md                  # write the numbers into the marked blocks of a Markdown file

In: EXP/base and EXP/SYSTEM_seedN with decode_greedy_SET/score.json and train.json. Out of collect:
EXP/results.json (schema 1, rates as fractions) and EXP/RESULTS.md, which is also printed. A block to fill
looks like this, and what stands between the two lines is replaced; the path is relative to the Markdown
file:

    <!-- results exp/espeak systems -->
    <!-- end of results -->

After the path come the parts wanted: systems terms labels origin (none: all), and perhaps `only ia3 ia3_ffn`.
"""

import json
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import UserError, command

SCHEMA = 1
MOST_VALUES = 6  # of a label, to be worth a table
PARTS = ("systems", "terms", "labels", "origin")
BLOCK = re.compile(r"(<!-- results (\S+?)((?: [^>]*?)?) -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)


@dataclass
class System:
    """One system: its folder, and what was scored and trained there (`train` is empty for the base)."""

    name: str
    seed: int | None
    folder: Path
    train: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)  # set → score.json

    @property
    def adapter(self) -> str | None:
        return (self.folder / "adapter").absolute().as_posix() if self.train else None


def collect(exp: Path, sets: str = "test", command: str = "") -> None:
    """Write EXP/results.json and EXP/RESULTS.md, and print the latter.

    Args:
        exp: folder of one corpus
        sets: test sets, with spaces between them
        command: what the user typed, for the record
    """
    import os

    systems = find_systems(exp, sets.split())
    result = {
        "schema": SCHEMA,
        "systems": [row(system, name) for system in systems for name in system.scores],
        "pairs": [
            pair(system, name)
            for system in systems
            for name, one in system.scores.items()
            if one.get("baseline")
        ],
        "commit": os.environ.get("IA3_SPEECH_COMMIT") or None,
        "dirty": os.environ.get("IA3_SPEECH_DIRTY") == "true",
        "command": command,
    }
    write_json(exp / "results.json", result)
    text = markdown(exp, PARTS, [])
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


def fill(file: Path) -> None:
    """Write the numbers into the marked blocks of a Markdown file.

    Args:
        file: the Markdown file
    """

    def block(found: re.Match) -> str:
        head, path, words, _, end = found.groups()
        parts, _, only = words.partition(" only ")
        unknown = set(parts.split()) - set(PARTS)
        if unknown:
            raise UserError(f"{file}: a block asks for {min(unknown)!r} (there are: {', '.join(PARTS)})")
        chosen = [part for part in PARTS if part in parts.split()] or PARTS
        return head + markdown(file.parent / path, chosen, only.split()) + end

    text, count = BLOCK.subn(block, file.read_text(encoding="utf-8"))
    if not count:
        raise UserError(f"{file}: no block to fill (<!-- results exp/CORPUS --> … <!-- end of results -->)")
    write_text(file, text)
    print(f"{file}: {count} blocks filled")


# ---- what lies in the folders


def load_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not there yet (run the earlier stages)") from None


def load_system(folder: Path) -> System:
    train = load_json(folder / "train.json")
    name, _, seed = folder.name.rpartition("_seed")
    return System(name, int(seed), folder, train)


def find_systems(exp: Path, sets: list[str] | None = None) -> list[System]:
    """The base first, then a starting adapter if there is one, then what was trained, by name and seed."""
    folders = sorted(path for path in exp.iterdir() if any(path.glob("decode_greedy_*/score.json")))
    systems = []
    for folder in folders:
        trained = re.fullmatch(r".+_seed\d+", folder.name) and (folder / "train.json").is_file()
        system = load_system(folder) if trained else System(folder.name, None, folder)
        for path in sorted(folder.glob("decode_greedy_*/score.json")):
            name = path.parent.name.removeprefix("decode_greedy_")
            if sets is None or name in sets:
                system.scores[name] = load_json(path)
        systems.append(system)
    if not any(system.name == "base" for system in systems):
        raise UserError(f"{exp}/base: the baseline is not scored yet (stage 4)")
    return sorted(
        systems, key=lambda one: (one.name != "base", one.seed is not None, one.name, one.seed or 0)
    )


def median_of(systems: list[System]) -> System:
    return sorted(systems, key=lambda one: (one.train["dev_wer"], one.seed))[(len(systems) - 1) // 2]


def row(system: System, set_name: str) -> dict[str, Any]:
    score = system.scores[set_name]
    return {
        "name": system.name,
        "adapter": system.adapter,
        "set": set_name,
        "seed": system.seed,
        "wer": score["wer"],
        "wer_ci": score["wer_ci"],
        "ci_unit": score["ci_unit"],
        "cer": score["cer"],
        "words": score["words"],
        "utterances": score["utterances"],
        "term_error_rate": score["term_error_rate"],
        "trainable": system.train.get("trainable", 0),
        "seconds": system.train.get("seconds", 0.0),
        "dev_wer": system.train.get("dev_wer"),
    }


def pair(system: System, set_name: str) -> dict[str, Any]:
    changes = system.scores[set_name]["changes"]
    found = {"set": set_name, "baseline": "base", "system": system.name, "seed": system.seed}
    for rate, prefix in (("wer", ""), ("cer", "cer_"), ("term_error_rate", "term_error_rate_")):
        change = changes.get(rate)
        found[f"{prefix}relative"] = change and change["relative"]
        found[f"{prefix}relative_ci"] = change and change["relative_ci"]
    return found


# ---- Markdown


def markdown(exp: Path, parts: list[str] | tuple[str, ...], only: list[str]) -> str:
    systems = [one for one in find_systems(exp) if not only or one.name == "base" or one.name in only]
    groups: dict[str, list[System]] = {}
    for system in systems:
        groups.setdefault(system.name, []).append(system)
    chosen = [median_of(group) if group[0].train else group[0] for group in groups.values()]
    sets = sorted({name for system in systems for name in system.scores})
    texts = []
    for name in sets:
        having = [system for system in chosen if name in system.scores]
        if "systems" in parts:
            texts.append(system_table(having, groups, name))
        for part, table in (("terms", term_table), ("labels", label_table)):
            if part in parts and len(having) > 1 and (text := table(having, name)):
                texts.append(text)
    if "origin" in parts:
        texts.append(origin(exp, chosen, sets))
    return "\n".join(texts)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left and numbers to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def percent(rate: float | None, form: str = ".1f") -> str:
    return "–" if rate is None else f"{100 * rate:{form}}"


def with_interval(rate: float | None, interval: list[float] | None, form: str = ".1f") -> str:
    if rate is None:
        return "–"
    return (
        f"{percent(rate, form)} [{percent(interval[0], form)}, {percent(interval[1], form)}]"
        if interval
        else percent(rate, form)
    )


def change_of(changes: dict[str, Any] | None, rate: str) -> str:
    change = (changes or {}).get(rate)
    return with_interval(change["relative"], change["relative_ci"], "+.1f") if change else "–"


def system_table(systems: list[System], groups: dict[str, list[System]], set_name: str) -> str:
    header = [
        set_name,
        "WER %",
        "change %",
        "CER %",
        "change %",
        "term errors %",
        "change %",
        "dev WER %",
        "trained",
    ]
    several = any(len(group) > 1 for group in groups.values())
    rows = []
    for system in systems:
        score, seeds = system.scores[set_name], groups[system.name]
        changes = score.get("changes")
        line = [
            system.name + (f" (seed {system.seed} of {len(seeds)})" if len(seeds) > 1 else ""),
            with_interval(score["wer"], score["wer_ci"]),
            change_of(changes, "wer"),
            percent(score["cer"]),
            change_of(changes, "cer"),
            with_interval(score["term_error_rate"], score["term_error_rate_ci"]),
            change_of(changes, "term_error_rate"),
            percent(system.train.get("dev_wer")),
            f"{system.train['trainable']:,} numbers, {system.train['seconds']:.0f} s"
            if system.train
            else "–",
        ]
        if several:
            rates = [one.scores[set_name]["wer"] for one in seeds if set_name in one.scores]
            line.append(f"{percent(min(rates))} to {percent(max(rates))}" if len(rates) > 1 else "–")
        rows.append(line)
    return table(header + ["WER % of the seeds"] * several, rows)


def term_table(systems: list[System], set_name: str) -> str:
    """Term errors by category: the base beside each adapter."""
    base, *others = systems
    categories = base.scores[set_name].get("terms_by_category") or {}
    if not categories:
        return ""
    header = ["terms", "occurrences", "base %"] + [
        text for one in others for text in (f"{one.name} %", "change %")
    ]
    rows = []
    for category, rate in [("all", base.scores[set_name]["terms"]), *categories.items()]:
        line = [category, str(rate["reference"]), percent(rate["term_error_rate"])]
        for one in others:
            score = one.scores[set_name]
            found = score["terms"] if category == "all" else score["terms_by_category"][category]
            change = found.get("change")
            line += [
                percent(found["term_error_rate"]),
                with_interval(change["relative"], change["relative_ci"], "+.1f") if change else "–",
            ]
        rows.append(line)
    return table(header, rows)


def label_table(systems: list[System], set_name: str) -> str:
    """WER by the labels that have a few values."""
    base, *others = systems
    header = ["by label", "utterances", "words", "base WER %"]
    header += [text for one in others for text in (f"{one.name} WER %", "change %")]
    rows = []
    for label, values in base.scores[set_name]["by_label"].items():
        if not 2 <= len(values) <= MOST_VALUES:
            continue
        for value, rates in values.items():
            line = [f"{label}: {value}", str(rates["utterances"]), str(rates["words"]), percent(rates["wer"])]
            for one in others:
                found = one.scores[set_name]["by_label"][label][value]
                line += [percent(found["wer"]), change_of(found.get("changes"), "wer")]
            rows.append(line)
    return table(header, rows) if rows else ""


def origin(exp: Path, systems: list[System], sets: list[str]) -> str:
    """What the intervals are, and where the numbers come from."""
    lines = []
    for name in sets:
        score = next(system.scores[name] for system in systems if name in system.scores)
        units = f"{score['ci_clusters']} {score['ci_unit']}s"
        size = f"{score['utterances']} utterances, {score['words']} words"
        lines.append(
            f"{name}: {size}. In brackets 95 % intervals of a bootstrap over {units}; changes are relative "
            f"to the base on the same draws, negative is better."
        )
        for system in systems:
            if test := system.scores.get(name, {}).get("mapsswe"):
                lines.append(
                    f"Matched pairs test (MAPSSWE) of {system.name} against the base: {test['segments']} "
                    f"segments, z = {test['z']:.2f}, p = {test['p']:.2g}."
                )
    if trained := [system for system in systems if system.train]:
        minutes = statistics.fmean(system.train["seconds"] for system in trained) / 60
        lines.append(f"Training took {minutes:.1f} minutes a seed.")
    record = load_json(exp / "results.json")
    state = (
        f"commit {record['commit']}{' with changes' if record['dirty'] else ''}"
        if record["commit"]
        else "no commit"
    )
    lines.append(f"Command: `{record['command']}` ({state}).")
    return "".join(f"- {line}\n" for line in lines)


if __name__ == "__main__":
    command({"collect": collect, "median": median, "fill": fill})
