#!/usr/bin/env python3
"""What a combination gains, and what it costs either part: systems against the base and against both parts.

    local/compare.py exp/espeak data/espeak 'test_caribbean test_scottish' --seeds 3

In: EXP/base and EXP/SYSTEM_seedN, each with decode_greedy_SET/{text,score.json,decode.json}; DATA/SET, and
EXP/terms_SET where there is one. Out: EXP/results.json (schema 1: a row a system and seed; pairs over all
seeds; warnings) and EXP/RESULTS.md, which is also printed.

Where sentences of a test set occur in the training of the sum's parts, as score.json of the sum has it, the
utterances with other sentences have a table of their own.

All seeds count together: a rate is that of all their hypotheses, and seed s is compared with seed s. The
bootstrap draws speakers, each with the hypotheses of all seeds. MAPSSWE takes segments to be independent, so
it is made for each seed alone, and the seed with the largest p is shown.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.overlap import find_overlap
from ia3_speech.experiments.collect import SCHEMA, row
from ia3_speech.experiments.markdown import change_cell, spread, table, warning_list
from ia3_speech.experiments.notes import commands
from ia3_speech.experiments.result_warnings import warnings_of
from ia3_speech.experiments.systems import System, load_json, load_scores
from ia3_speech.formatting import percent, with_interval
from ia3_speech.inputs import provenance
from ia3_speech.scoring.error_rates import ErrorRates, ScoredUtterance, compute_error_rates
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.results import read_results
from ia3_speech.scoring.scorer import json_value, score_utterances
from ia3_speech.scoring.significance import REPLICATIONS, MatchedPairsTest, mapsswe
from ia3_speech.scoring.term_errors import TermList, read_term_list

# Folder → what it is called in the tables.
NAMES = {
    "base": "base",
    "accent": "accent",
    "domain": "domain",
    "sum": "accent+domain",
    "half": "accent:0.5+domain:0.5",
    "product": "accent × domain",
    "both": "trained on both",
}
AGAINST = ("base", "accent", "domain")

Rows = dict[str, list[list[ScoredUtterance]]]  # system → seed → utterances


@dataclass
class Compared:
    """One system on one test set, all seeds together."""

    rates: ErrorRates
    by_seed: list[float]  # WER
    against: dict[str, ErrorRates]  # the same rates, with the changes against another system
    tests: dict[
        str, tuple[int, MatchedPairsTest]
    ]  # other system → the seed with the largest p, and the test there


def main(exp: Path, data: Path, sets: str, seeds: int = 1) -> None:
    """Write EXP/results.json and EXP/RESULTS.md, and print the latter.

    Args:
        exp: folder of the systems
        data: folder of the test sets
        sets: test sets, with spaces between them
        seeds: how many seeds each system has, from 1
    """
    wanted = sets.split()
    compared, unseen = {}, {}
    for name in wanted:
        compared[name], unseen[name] = compare(exp, data / name, seeds)
    systems, made = list(found_systems(exp, seeds)), provenance()
    result = {
        "schema": SCHEMA,
        "systems": [
            row(one, name) | {"adapter": adapter_of(one, name)}
            for one in systems
            for name in wanted
            if name in one.scores
        ],
        "pairs": [pair(name, *item) for name in wanted for item in pairs_of(compared[name])],
        "warnings": [asdict(one) for one in warnings_of(systems, wanted)],
        **{name: made[name] for name in ("commit", "dirty", "command")},
    }
    write_json(exp / "results.json", json_value(result))
    texts = []
    for name in wanted:
        texts += [rate_table(name, compared[name]), mapsswe_table(name, compared[name])]
        texts += [rate_table(f"{name}, sentences not in training", unseen[name]), warning_list(systems, name)]
    text = "\n".join(filter(None, [*texts, notes(exp, compared, systems, seeds)]))
    write_text(exp / "RESULTS.md", text)
    print(text, end="")


def compare(exp: Path, data: Path, seeds: int) -> tuple[dict[str, Compared], dict[str, Compared]]:
    """Every system that was decoded on this test set, by its folder's name: on all utterances, and on those
    whose sentence is not in training (empty where that is all or none of them)."""
    name = data.name
    directory = read_data_directory(data, wav=False, spk_sort=False)
    term_list = exp / f"terms_{name}"
    terms = read_term_list(term_list, "ctc") if term_list.is_file() else None
    unit = read_results(exp / "base" / f"decode_greedy_{name}" / "score.json").record["ci_unit"]
    rows: Rows = {}
    for system in NAMES:
        folders = [folder / f"decode_greedy_{name}" for folder in folders_of(exp, system, seeds)]
        if there := [folder for folder in folders if (folder / "score.json").is_file()]:
            if len(there) < len(folders):
                lacking = min(set(folders) - set(there))
                raise UserError(f"{lacking}: not scored yet (run stages 6 and 7 with --seeds {seeds})")
            hypotheses = [read_kaldi_text(one / "text") for one in there]
            rows[system] = [score_utterances(directory, texts, terms, "ctc") for texts in hypotheses]
    rows["base"] *= seeds
    ids = unseen_utterances(exp / "sum_seed1" / f"decode_greedy_{name}" / "score.json", directory)
    if not 0 < len(ids) < len(directory):
        return compare_rows(rows, terms, unit), {}
    unseen = {
        system: [[one for one in seed if one.id in ids] for seed in by_seed]
        for system, by_seed in rows.items()
    }
    return compare_rows(rows, terms, unit), compare_rows(unseen, terms, unit)


def unseen_utterances(score: Path, data: DataDirectory) -> frozenset[str]:
    """Those whose sentence is not in the training that the system was scored with; none where it was not."""
    training = read_results(score).overlap.get("training", ())
    sets = [read_data_directory(Path(one), wav=False, spk_sort=False) for one in training]
    return find_overlap(sets, data).unseen if sets else frozenset()


def compare_rows(rows: Rows, terms: TermList | None, unit: str) -> dict[str, Compared]:
    """Every system beside the base and both parts, on the same utterances."""

    def rates(system: str, other: str | None = None) -> ErrorRates:
        against = list(chain(*rows[other])) if other else None
        return compute_error_rates(list(chain(*rows[system])), against, terms, unit, REPLICATIONS, 0)

    found = {}
    for system, by_seed in rows.items():
        others = [one for one in AGAINST if one != system and system != "base"]
        found[system] = Compared(
            rates(system),
            [compute_error_rates(one, None, None, unit, 1, 0).wer for one in by_seed],
            {other: rates(system, other) for other in others},
            {other: clearest_doubt(rows[other], by_seed) for other in others},
        )
    return found


def clearest_doubt(
    others: list[list[ScoredUtterance]], systems: list[list[ScoredUtterance]]
) -> tuple[int, MatchedPairsTest]:
    """The seed whose MAPSSWE has the largest p, and that test."""
    tests = [
        mapsswe(*([getattr(one, side) for one in rows] for side, rows in texts))
        for texts in (
            (("reference", system), ("hypothesis", other), ("hypothesis", system))
            for other, system in zip(others, systems, strict=True)
        )
    ]
    worst = max(range(len(tests)), key=lambda number: tests[number].p)
    return worst + 1, tests[worst]


def folders_of(exp: Path, system: str, seeds: int) -> list[Path]:
    if system == "base":
        return [exp / "base"]
    return [exp / f"{system}_seed{seed}" for seed in range(1, seeds + 1)]


def found_systems(exp: Path, seeds: int) -> Iterator[System]:
    for system in NAMES:
        for seed, folder in enumerate(folders_of(exp, system, seeds), 1):
            if scores := load_scores(folder):
                yield System(system, None if system == "base" else seed, folder, scores=scores)


def adapter_of(system: System, set_name: str) -> str | None:
    """The adapter as decode was given it: a path, or a sum of paths."""
    used = load_json(system.folder / f"decode_greedy_{set_name}" / "decode.json")["adapter"]
    return used and used.get("path", used["name"])


# ---- what comes out


def pairs_of(compared: dict[str, Compared]) -> Iterator[tuple[str, str, Compared]]:
    for system, one in compared.items():
        for other in one.against:
            yield system, other, one


def pair(set_name: str, system: str, other: str, one: Compared) -> dict:
    change, (seed, test) = one.against[other].changes["wer"], one.tests[other]
    return {
        "set": set_name,
        "baseline": other,
        "system": system,
        "seed": None,
        "relative": change.relative,
        "relative_ci": change.relative_ci,
        "mapsswe": {"seed": seed, "segments": test.segments, "z": test.z, "p": test.p},
    }


def rate_table(title: str, compared: dict[str, Compared]) -> str:
    """Rates and changes, a line a system; nothing without systems."""
    terms = any(one.rates.term_error_rate is not None for one in compared.values())
    several = any(len(one.by_seed) > 1 for one in compared.values())
    header = [title, "WER %", "against base %", "against accent %", "against domain %", "CER %"]
    header += ["term errors %", "against base %"] * terms + ["WER % of the seeds"] * several
    return table(header, [line(system, one, terms, several) for system, one in compared.items()])


def mapsswe_table(set_name: str, compared: dict[str, Compared]) -> str:
    """The matched pairs tests."""
    header = [f"MAPSSWE, {set_name}", *(f"against {other}" for other in AGAINST)]
    return table(header, [test_line(system, one) for system, one in compared.items() if one.tests])


def line(system: str, one: Compared, terms: bool, several: bool) -> list[str]:
    def change(other: str, rate: str = "wer") -> str:
        rates = one.against.get(other)
        return change_cell(rates and vars_of(rates, rate))

    rates = one.rates
    cells = [NAMES[system], with_interval(rates.wer, rates.wer_ci), *map(change, AGAINST), percent(rates.cer)]
    if terms:
        cells += [
            with_interval(rates.term_error_rate, rates.term_error_rate_ci),
            change("base", "term_error_rate"),
        ]
    return cells + [spread(one.by_seed) if system != "base" else "–"] * several


def vars_of(rates: ErrorRates, rate: str) -> dict:
    change = rates.changes[rate]
    return {"relative": change.relative, "relative_ci": change.relative_ci}


def test_line(system: str, one: Compared) -> list[str]:
    def words(other: str) -> str:
        if other not in one.tests:
            return "–"
        test = one.tests[other][1]
        return f"z = {test.z:.2f}, p = {test.p:.2g}"

    return [NAMES[system], *map(words, AGAINST)]


def notes(exp: Path, compared: dict[str, dict[str, Compared]], systems: list[System], seeds: int) -> str:
    """What the intervals are, what is missing and why, where the numbers come from."""
    lines = []
    for name, found in compared.items():
        rates = found["base"].rates
        lines.append(
            f"{name}: {rates.utterances // seeds} utterances, {rates.words // seeds} words. In brackets 95 % "
            f"intervals of a bootstrap over {rates.ci_clusters} {rates.ci_unit}s; changes are relative, on "
            f"the same draws, and negative is better."
        )
    if seeds > 1:
        lines.append(f"Rates are those of {seeds} seeds together; seed s is compared with seed s.")
    largest = "; of the seeds, the one with the largest p" if seeds > 1 else ""
    lines.append(f"MAPSSWE: with a positive z the system makes fewer errors{largest}.")
    for path in sorted(exp.glob("product_seed*/of_*/refused")):
        lines.append(
            f"No {NAMES['product']} {path.parent.name.replace('_', ' ')}: {path.read_text().strip()}."
        )
    first = [one for one in systems if one.seed in (None, 1)]
    lines += commands([System(NAMES[one.name], one.seed, one.folder) for one in first])
    return "".join(f"- {line}\n" for line in lines)


if __name__ == "__main__":
    command(main)
