#!/usr/bin/env python3
"""Measure sums of two adapters against the base and against both parts.

    1-6  the recipes of the accent and of the domain: train the adapters, decode and score their own test sets
    7    decode and score each test set, and out-of-domain speech, with the other adapter and with the sums
    8    compare every system with the base and with both parts: results.json and RESULTS.md in exp/real

Seed s of a sum is compared with seed s of its parts; one seed is shown, and the range of all.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from stages import DecodingOptions, Study, median_seed

from ia3_speech.adapters.record import read_json
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.kaldi.overlap import Overlap, find_overlap
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.report.curve_files import spread
from ia3_speech.report.results_tables import bullets
from ia3_speech.scoring.error_rates import ErrorRates
from ia3_speech.scoring.record import Score, json_value, score_hypotheses
from ia3_speech.scoring.table import Rate, markdown_table
from ia3_speech.scoring.term_errors import read_term_list

# System → its weights of the accent's and of the domain's adapter
WEIGHTS = {"accent": (1, 0), "domain": (0, 1), "sum": (1, 1), "half": (0.5, 0.5)}
NAMES = {"sum": "accent+domain", "half": "accent:0.5+domain:0.5"}  # in the tables
AGAINST = ("base", "accent", "domain")
RECORDED = ("wer", "wer_ci", "ci_unit", "cer", "words", "utterances", "term_error_rate", "unseen_sentences")


@dataclass(frozen=True, kw_only=True)
class Options(DecodingOptions):
    """Options of the study."""

    accent_corpus: Path
    """speechocean762, as its recipe takes it"""
    domain_corpus: Path
    """the coffee orders, as the recipe barista_orders takes them"""
    seeds: int = 3
    """number of adapters of each kind; seed s is added to seed s"""


@dataclass(frozen=True)
class TestSet:
    """A test set of one of the recipes."""

    name: str  # in the tables, and of the folders below EXP
    data: Path  # its data directory
    exp: Path  # of its recipe
    system: str  # whose adapter this recipe trained, accent or domain
    training: tuple[Path, ...]  # data directories of both adapters; empty for out-of-domain speech

    @property
    def options(self) -> dict[str, Any]:
        """Of its scores: the unit of the bootstrap (the speakers of the orders are unknown), the terms."""
        terms = self.exp / f"terms_{self.data.name}"
        return {"cluster": "utterance" if self.system == "domain" else None,
                "terms": terms if terms.is_file() else None}  # fmt: skip

    def decoded(self, exp: Path, system: str, seed: int) -> Path:
        """The decode directory of a system: below EXP, or where the recipe of this set made it."""
        if system in ("base", self.system):
            folder = "base" if system == "base" else f"ia3_plus_seed{seed}"
            return self.exp / folder / f"decode_greedy_{self.data.name}"
        return exp / f"{system}_seed{seed}/decode_greedy_{self.name}"


def main(options: Options) -> None:
    """Measure sums of two adapters beside their parts."""
    study, seeds = Study(__file__, "real", options), range(1, options.seeds + 1)
    if options.stage <= 6:
        corpora = {"speechocean762": options.accent_corpus, "barista_orders": options.domain_corpus}
        for name, corpus in corpora.items():
            study.recipe(name, corpus, min(options.stop_stage, 6), out_of_domain=options.out_of_domain)
    (data, exp), (data_of_orders, exp_of_orders) = map(study.of_recipe, ("speechocean762", "barista_orders"))
    training = (data / "train", data_of_orders / "train")
    sets = [TestSet(name, data / name, exp, "accent", training) for name in ("test_adults", "test_children")]
    sets.append(TestSet("test_orders", data_of_orders / "test", exp_of_orders, "domain", training))
    if options.out_of_domain != "none":
        sets.append(TestSet("out_of_domain", data / "out_of_domain", exp, "accent", ()))

    def adapter(system: str, seed: int) -> str:
        """As --adapter takes it."""
        folders = [f"{each}/ia3_plus_seed{seed}/adapter" for each in (exp, exp_of_orders)]
        terms = [(folder, weight) for folder, weight in zip(folders, WEIGHTS[system], strict=True) if weight]
        return "+".join(folder if weight == 1 else f"{folder}:{weight}" for folder, weight in terms)

    if study.runs(7):
        for test in sets:
            base = test.decoded(study.exp, "base", 0)
            for folder in (base, *(test.decoded(study.exp, test.system, seed) for seed in seeds)):
                if not (folder / "score.json").is_file():
                    raise UserError(f"{folder}: its recipe has not run there (leave --stage out)")
            score = ["--training", *test.training] if test.training else []
            score += [word for name, value in test.options.items() if value for word in (f"--{name}", value)]
            for system, seed in product(WEIGHTS, seeds):
                if system != test.system:
                    out, decode = test.decoded(study.exp, system, seed), ["--adapter", adapter(system, seed)]
                    study.decode_and_score(system, seed, test.data, *score, decode=decode, out=out, base=base)
    if study.runs(8):
        shown, texts, notes, rows, pairs = median_seed(exp, "ia3_plus", options.seeds), [], [], [], []
        for test in sets:
            scores, overlap = compare(test, study.exp, shown)
            records = {
                (system, seed): read_json(test.decoded(study.exp, system, seed) / "score.json")
                for system, seed in [("base", 0), *product(WEIGHTS, seeds)]
            }
            for (system, seed), record in records.items():
                row = {"set": test.name, "system": system, "seed": seed or None}
                row["adapter"] = adapter(system, seed) if seed else None
                rows.append(row | {name: record.get(name) for name in RECORDED})
            seeds_of = {name: [records[name, seed]["wer"] for seed in seeds] for name in WEIGHTS}
            rates = {"base": [records["base", 0]["wer"]], **seeds_of} if options.seeds > 1 else {}
            texts.append(rate_table(test.name, scores, rates))
            texts.append(mapsswe_table(test.name, scores))
            if scores["base", ""].unseen_sentences:
                unseen = {compared: score.unseen_sentences for compared, score in scores.items()}
                texts.append(rate_table(f"{test.name}, sentences not in training", unseen))
            if overlap:
                none = [] if overlap.common_sentences else [f"No sentence of {test.name} occurs in training."]
                texts.append(bullets([*(f"**Warning:** {text}." for text in overlap.warnings), *none]))
            pairs += [
                {"set": test.name, "baseline": other, "system": system, "seed": shown,
                 "wer": score.changes["wer"], "mapsswe": score.mapsswe}
                for (system, other), score in scores.items() if other
            ]  # fmt: skip
            base = scores["base", ""]
            notes.append(
                f"{test.name}: {base.utterances} utterances, {base.words} words. In brackets 95 % intervals "
                f"of a bootstrap over {base.ci_clusters} {base.ci_unit}s; changes are relative, on the same "
                "draws, and negative is better."
            )
        if options.seeds > 1:
            chosen = "that of the accent's adapter with the median dev WER"
            notes.append(f"Seed {shown} of {options.seeds} is shown: {chosen}.")
        notes.append("MAPSSWE: with a positive z the system makes fewer errors.")
        study.write_results([*texts, bullets(notes)], json_value({"systems": rows, "pairs": pairs}))


def compare(test: TestSet, exp: Path, seed: int) -> tuple[dict[tuple[str, str], Score], Overlap | None]:
    """(system, other) → the scores of the system and its changes against the other, of the base alone; and
    what the set has in common with training."""
    directory, *trained_on = (
        read_data_directory(path, wav=False, spk_sort=False) for path in (test.data, *test.training)
    )
    texts = {name: read_kaldi_text(test.decoded(exp, name, seed) / "text") for name in ("base", *WEIGHTS)}
    overlap = find_overlap(trained_on, directory) if trained_on else None
    options = test.options | {"overlap": overlap}
    options["terms"] = read_term_list(options["terms"], "ctc") if options["terms"] else None
    against = {system: [other for other in AGAINST if other != system] for system in WEIGHTS}
    return {
        (system, other): score_hypotheses(directory, texts[system], baseline=texts.get(other), **options)
        for system, others in ({"base": [""]} | against).items() for other in others
    }, overlap  # fmt: skip


def rate_table(
    title: str, compared: dict[tuple[str, str], ErrorRates], rates: dict[str, list[float]] | None = None
) -> str:
    """Rates and changes, a line a system, and with several seeds the range of their WER."""
    terms = compared["base", ""].term_error_rate is not None
    header = [title, "WER %", *(f"against {other} %" for other in AGAINST), "CER %"]
    header += ["term errors %", "against base %"] * terms + ["WER % of the seeds"] * bool(rates)
    lines = []
    for system, score in {system: score for (system, _), score in compared.items()}.items():
        changes = [compared[system, o].change() if (system, o) in compared else None for o in AGAINST]
        line = [NAMES.get(system, system), score.rate(), *changes, Rate(score.cer)]
        if terms:
            against_base = compared.get((system, "base"), score)
            line += [score.rate("term_error_rate"), against_base.change("term_error_rate")]
        lines.append(line + ([spread(rates[system])] if rates else []))
    return markdown_table(header, lines)


def mapsswe_table(set_name: str, scores: dict[tuple[str, str], Score]) -> str:
    """The matched pairs tests."""
    lines = []
    for system in WEIGHTS:
        tests = [scores[system, other].mapsswe if other != system else None for other in AGAINST]
        lines.append([NAMES.get(system, system), *(t and f"z = {t.z:.2f}, p = {t.p:.2g}" for t in tests)])
    return markdown_table([f"MAPSSWE, {set_name}", *(f"against {other}" for other in AGAINST)], lines)


if __name__ == "__main__":
    command(main)
