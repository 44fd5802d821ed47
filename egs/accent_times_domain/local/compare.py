#!/usr/bin/env python3
"""What a sum of adapters gains, and what it costs either part: against the base and against both parts.

    local/compare.py exp/real data/real 'test_adults test_orders out_of_domain' --seeds 3

In: EXP/base and EXP/SYSTEM_seedN, each with decode_greedy_SET/{text,score.json,decode.json}; DATA/SET, and
EXP/terms_SET where there is one. Out: EXP/results.json (schema 1: a row a system and seed; pairs over all
seeds; warnings) and EXP/RESULTS.md, which is also printed.

Where sentences of a test set occur in the training of the sum's parts, as score.json of the sum has it, the
utterances with other sentences have a table of their own. All seeds count together: a rate is that of all
their hypotheses, and seed s is compared with seed s. The bootstrap draws speakers, each with the hypotheses
of all seeds. MAPSSWE takes segments to be independent, so it is made for each seed alone, and the seed with
the largest p is shown.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.overlap import find_overlap
from ia3_speech.experiments.__main__ import SCHEMA, result_row
from ia3_speech.experiments.curve_files import spread
from ia3_speech.experiments.notes import bullets, commands, warning_list, warnings_of
from ia3_speech.experiments.systems import System, load_json, load_results
from ia3_speech.inputs import provenance
from ia3_speech.scoring.error_rates import ErrorRates, ScoredUtterance, compute_error_rates
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.results import change_rate, read_results
from ia3_speech.scoring.scorer import json_value, score_utterances
from ia3_speech.scoring.significance import REPLICATIONS, MatchedPairsTest, mapsswe
from ia3_speech.scoring.table import Rate, markdown_table
from ia3_speech.scoring.term_errors import TermList, read_term_list

# Folder → what it is called in the tables.
NAMES = {
    "base": "base",
    "accent": "accent",
    "domain": "domain",
    "sum": "accent+domain",
    "half": "accent:0.5+domain:0.5",
}
AGAINST = ("base", "accent", "domain")

Texts = dict[str, list[list[ScoredUtterance]]]  # system → seed → utterances


@dataclass
class Compared:
    """One system on one test set, all seeds together.

    Attributes:
        rates: of all seeds.
        by_seed: WER of each seed.
        against: other system → the same rates, with the changes against it.
        tests: other system → the seed with the largest p, and its test.
    """

    rates: ErrorRates
    by_seed: list[float]
    against: dict[str, ErrorRates]
    tests: dict[str, tuple[int, MatchedPairsTest]]


def main(exp: Path, data: Path, sets: str, seeds: int = 1) -> None:
    """Write EXP/results.json and EXP/RESULTS.md, and print the latter.

    Args:
        exp: folder of the systems
        data: folder of the test sets
        sets: test sets, with spaces between them
        seeds: how many seeds each system has, from 1
    """
    compared = {name: compare(exp, data / name, seeds) for name in sets.split()}
    systems = [
        System(name, None if name == "base" else seed, folder, results=load_results(folder))
        for name in NAMES
        for seed, folder in enumerate(folders_of(exp, name, seeds), 1)
    ]
    made = provenance()
    result = {
        "schema": SCHEMA,
        "systems": [
            result_row(one, name) | {"adapter": adapter_of(one, name)}
            for one in systems
            for name in compared
            if name in one.results
        ],
        "pairs": [
            pair(name, system, other, one)
            for name, (whole, _) in compared.items()
            for system, one in whole.items()
            for other in one.against
        ],
        "warnings": warnings_of(systems, compared),
        **{name: made[name] for name in ("commit", "dirty", "command")},
    }
    write_json(exp / "results.json", json_value(result))
    texts = []
    for name, (whole, unseen) in compared.items():
        texts += [rate_table(name, whole), mapsswe_table(name, whole)]
        texts += [rate_table(f"{name}, sentences not in training", unseen), warning_list(systems, name)]
    notes = note_list({name: whole["base"].rates for name, (whole, _) in compared.items()}, systems, seeds)
    text = "\n".join(filter(None, [*texts, notes]))
    write_text(exp / "RESULTS.md", text)
    print(text, end="")


def compare(exp: Path, data: Path, seeds: int) -> tuple[dict[str, Compared], dict[str, Compared]]:
    """Every system that was decoded on this test set, by its folder's name: on all utterances, and on those
    whose sentence is not in training (empty where that is all or none of them)."""
    directory = read_data_directory(data, wav=False, spk_sort=False)
    term_list = exp / f"terms_{data.name}"
    terms = read_term_list(term_list, "ctc") if term_list.is_file() else None
    unit = read_results(exp / f"base/decode_greedy_{data.name}/score.json").record["ci_unit"]
    texts: Texts = {}
    for system in NAMES:
        folders = [folder / f"decode_greedy_{data.name}" for folder in folders_of(exp, system, seeds)]
        scored = [folder for folder in folders if (folder / "score.json").is_file()]
        if scored and len(scored) < len(folders):
            lacking = min(set(folders) - set(scored))
            raise UserError(f"{lacking}: not scored yet (run stage 7 with --seeds {seeds})")
        if scored:
            hypotheses = [read_kaldi_text(folder / "text") for folder in scored]
            texts[system] = [score_utterances(directory, one, terms, "ctc") for one in hypotheses]
    texts["base"] *= seeds
    ids = unseen_utterances(exp / f"sum_seed1/decode_greedy_{data.name}/score.json", directory)
    whole = compare_texts(texts, terms, unit)
    if not 0 < len(ids) < len(directory):
        return whole, {}
    unseen = {
        system: [[one for one in seed if one.id in ids] for seed in by_seed]
        for system, by_seed in texts.items()
    }
    return whole, compare_texts(unseen, terms, unit)


def unseen_utterances(score: Path, data: DataDirectory) -> frozenset[str]:
    """Those whose sentence is not in the training that the system was scored with; none where it was not."""
    training = read_results(score).overlap.get("training", ())
    sets = [read_data_directory(Path(one), wav=False, spk_sort=False) for one in training]
    return find_overlap(sets, data).unseen if sets else frozenset()


def compare_texts(texts: Texts, terms: TermList | None, unit: str) -> dict[str, Compared]:
    """Every system beside the base and both parts, on the same utterances."""

    def rates(system: str, other: str | None = None) -> ErrorRates:
        against = list(chain(*texts[other])) if other else None
        return compute_error_rates(list(chain(*texts[system])), against, terms, unit, REPLICATIONS, 0)

    compared = {}
    for system, by_seed in texts.items():
        others = [one for one in AGAINST if one != system and system != "base"]
        compared[system] = Compared(
            rates(system),
            [compute_error_rates(one, None, None, unit, 1, 0).wer for one in by_seed],
            {other: rates(system, other) for other in others},
            {other: largest_p(texts[other], by_seed) for other in others},
        )
    return compared


def largest_p(
    others: list[list[ScoredUtterance]], systems: list[list[ScoredUtterance]]
) -> tuple[int, MatchedPairsTest]:
    """The seed whose MAPSSWE has the largest p, and that test."""
    tests = []
    for other, system in zip(others, systems, strict=True):
        sides = (("reference", system), ("hypothesis", other), ("hypothesis", system))
        tests.append(mapsswe(*([getattr(one, side) for one in texts] for side, texts in sides)))
    worst = max(range(len(tests)), key=lambda number: tests[number].p)
    return worst + 1, tests[worst]


def folders_of(exp: Path, system: str, seeds: int) -> list[Path]:
    if system == "base":
        return [exp / "base"]
    return [exp / f"{system}_seed{seed}" for seed in range(1, seeds + 1)]


def adapter_of(system: System, set_name: str) -> str | None:
    """The adapter as decode was given it: a path, or a sum of paths."""
    used = load_json(system.folder / f"decode_greedy_{set_name}" / "decode.json")["adapter"]
    return used and used.get("path", used["name"])


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
    """Rates and changes, a line a system; empty without systems."""
    terms = any(one.rates.term_error_rate is not None for one in compared.values())
    several = any(len(one.by_seed) > 1 for one in compared.values())
    header = [title, "WER %", *(f"against {other} %" for other in AGAINST), "CER %"]
    header += ["term errors %", "against base %"] * terms + ["WER % of the seeds"] * several
    lines = []
    for system, one in compared.items():
        rates, changes = one.rates, {other: rates.changes for other, rates in one.against.items()}
        line = [NAMES[system], Rate(rates.wer, rates.wer_ci)]
        line += [change_rate(changes.get(other, {}).get("wer")) for other in AGAINST] + [Rate(rates.cer)]
        if terms:
            line.append(Rate(rates.term_error_rate, rates.term_error_rate_ci))
            line.append(change_rate(changes.get("base", {}).get("term_error_rate")))
        lines.append(line + [spread(one.by_seed) if system != "base" else None] * several)
    return markdown_table(header, lines)


def mapsswe_table(set_name: str, compared: dict[str, Compared]) -> str:
    """The matched pairs tests."""
    lines = []
    for system, one in compared.items():
        tests = {other: f"z = {test.z:.2f}, p = {test.p:.2g}" for other, (_, test) in one.tests.items()}
        if tests:
            lines.append([NAMES[system], *map(tests.get, AGAINST)])
    return markdown_table([f"MAPSSWE, {set_name}", *(f"against {other}" for other in AGAINST)], lines)


def note_list(base: dict[str, ErrorRates], systems: list[System], seeds: int) -> str:
    """What the intervals are, and where the numbers come from."""
    lines = []
    for name, rates in base.items():
        lines.append(
            f"{name}: {rates.utterances // seeds} utterances, {rates.words // seeds} words. In brackets 95 % "
            f"intervals of a bootstrap over {rates.ci_clusters} {rates.ci_unit}s; changes are relative, on "
            f"the same draws, and negative is better."
        )
    if seeds > 1:
        lines.append(f"Rates are those of {seeds} seeds together; seed s is compared with seed s.")
    largest = "; of the seeds, the one with the largest p" if seeds > 1 else ""
    lines.append(f"MAPSSWE: with a positive z the system makes fewer errors{largest}.")
    first = [one for one in systems if one.seed in (None, 1) and one.results]
    lines += commands([System(NAMES[one.name], one.seed, one.folder) for one in first])
    return bullets(lines)


if __name__ == "__main__":
    command(main)
