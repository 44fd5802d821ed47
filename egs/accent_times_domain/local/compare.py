#!/usr/bin/env python3
"""What a sum of adapters gains, and what it costs either part: against the base and against both parts.

    local/compare.py exp/real data/real 'test_adults test_orders out_of_domain' --seeds 3 --shown 2

In: EXP/base and EXP/SYSTEM_seedN, each with decode_greedy_SET/{text,score.json,decode.json}; DATA/SET, and
EXP/terms_SET where there is one. Out: EXP/results.json (schema 1: a row a system and seed; pairs of the seed
that is shown; warnings) and EXP/RESULTS.md, which is also printed.

Seed s of a sum is compared with seed s of its parts; one seed is shown, and the range of all. Where sentences
of a test set occur in the training of the sum's parts, as score.json of the sum has it, the utterances with
other sentences have a table of their own.
"""

from pathlib import Path

from ia3_speech.scoring.results import change_rate, read_results

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.commands.results import SCHEMA, result_row
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.kaldi.overlap import find_overlap
from ia3_speech.inputs import provenance
from ia3_speech.results.curve_files import spread
from ia3_speech.results.notes import bullets, commands, warning_list, warnings_of
from ia3_speech.results.systems import System, load_json
from ia3_speech.scoring.error_rates import ErrorRates
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.scorer import Score, json_value, score_hypotheses
from ia3_speech.scoring.table import Rate, markdown_table
from ia3_speech.scoring.term_errors import read_term_list

SUMS = {"sum": "accent+domain", "half": "accent:0.5+domain:0.5"}  # folder → what it is called in the tables
AGAINST = ("base", "accent", "domain")

Scores = dict[tuple[str, str], Score]  # (system, other system) → scores of the first, with the changes


def main(exp: Path, data: Path, sets: str, seeds: int = 1, shown: int = 1) -> None:
    """Write EXP/results.json and EXP/RESULTS.md, and print the latter."""
    names = sets.split()
    systems = [System("base", None, exp / "base")]
    for name in ("accent", "domain", *SUMS):
        systems += [System(name, seed, exp / f"{name}_seed{seed}") for seed in range(1, seeds + 1)]
    for one in systems:
        one.results.update({name: read_results(decoded(one, name) / "score.json") for name in names})
    of_seed = [one for one in systems if one.seed in (None, shown)]
    pairs, texts, notes = [], [], []
    for name in names:
        scores = compare(exp, data / name, of_seed)
        base = scores["base", ""]
        spreads = {
            system: spread([one.results[name].all.wer.value for one in systems if one.name == system])
            for system, _ in scores
        }
        texts += [rate_table(name, scores, spreads if seeds > 1 else None), mapsswe_table(name, scores)]
        if base.unseen_sentences:
            unseen = {compared: score.unseen_sentences for compared, score in scores.items()}
            texts.append(rate_table(f"{name}, sentences not in training", unseen))
        texts.append(warning_list(systems, name))
        for (system, other), score in scores.items():
            change, test = score.changes.get("wer"), score.mapsswe
            if other:
                row = {"set": name, "baseline": other, "system": system, "seed": shown}
                row |= {"relative": change.relative, "relative_ci": change.relative_ci}
                pairs.append(row | {"mapsswe": {"segments": test.segments, "z": test.z, "p": test.p}})
        notes.append(
            f"{name}: {base.utterances} utterances, {base.words} words. In brackets 95 % "
            f"intervals of a bootstrap over {base.ci_clusters} {base.ci_unit}s; changes are relative, on "
            f"the same draws, and negative is better."
        )
    if seeds > 1:
        notes.append(
            f"Seed {shown} of {seeds} is shown: that of the accent's adapter with the median dev WER."
        )
    notes.append("MAPSSWE: with a positive z the system makes fewer errors.")
    notes += commands([System(SUMS.get(one.name, one.name), one.seed, one.folder) for one in of_seed])
    rows = [result_row(one, name) | {"adapter": adapter_of(one, name)} for one in systems for name in names]
    result = {"schema": SCHEMA, "systems": rows, "pairs": pairs, "warnings": warnings_of(systems, names)}
    write_json(exp / "results.json", json_value(result | provenance()))
    text = "\n".join(filter(None, [*texts, bullets(notes)]))
    write_text(exp / "RESULTS.md", text)
    print(text, end="")


def decoded(system: System, set_name: str) -> Path:
    return system.folder / f"decode_greedy_{set_name}"


def adapter_of(system: System, set_name: str) -> str | None:
    """The adapter as decode was given it: a path, or a sum of paths."""
    used = load_json(decoded(system, set_name) / "decode.json")["adapter"]
    return used and used.get("path", used["name"])


def compare(exp: Path, data: Path, systems: list[System]) -> Scores:
    """The scores of each system on one test set beside the base and both parts; of the base alone."""
    directory = read_data_directory(data, wav=False, spk_sort=False)
    term_list = exp / f"terms_{data.name}"
    terms = read_term_list(term_list, "ctc") if term_list.is_file() else None
    texts = {one.name: read_kaldi_text(decoded(one, data.name) / "text") for one in systems}
    results = {one.name: one.results[data.name] for one in systems}
    training = results["sum"].overlap.get("training", ())
    trained_on = [read_data_directory(Path(one), wav=False, spk_sort=False) for one in training]
    options = {"terms": terms, "cluster": results["base"].record["ci_unit"]}
    options["overlap"] = find_overlap(trained_on, directory) if training else None
    return {
        (system, other): score_hypotheses(directory, texts[system], baseline=texts.get(other), **options)
        for system in texts
        for other in (AGAINST if system != "base" else [""])
        if other != system
    }


def rate_table(
    title: str, compared: dict[tuple[str, str], ErrorRates], spreads: dict[str, str] | None = None
) -> str:
    """Rates and changes, a line a system, and with several seeds the range of their WER."""
    terms = compared["base", ""].term_error_rate is not None
    header = [title, "WER %", *(f"against {other} %" for other in AGAINST), "CER %"]
    header += ["term errors %", "against base %"] * terms + ["WER % of the seeds"] * bool(spreads)
    lines = []
    for system, rates in {system: rates for (system, _), rates in compared.items()}.items():
        changes = [compared[system, one].changes if (system, one) in compared else {} for one in AGAINST]
        line = [SUMS.get(system, system), Rate(rates.wer, rates.wer_ci)]
        line += [change_rate(change.get("wer")) for change in changes] + [Rate(rates.cer)]
        if terms:
            line.append(Rate(rates.term_error_rate, rates.term_error_rate_ci))
            line.append(change_rate(changes[0].get("term_error_rate")))
        lines.append(line + ([spreads[system]] if spreads else []))
    return markdown_table(header, lines)


def mapsswe_table(set_name: str, scores: Scores) -> str:
    """The matched pairs tests."""
    lines = []
    for system in dict.fromkeys(system for system, other in scores if other):
        tests = [scores[system, other].mapsswe if other != system else None for other in AGAINST]
        lines.append([SUMS.get(system, system), *(t and f"z = {t.z:.2f}, p = {t.p:.2g}" for t in tests)])
    return markdown_table([f"MAPSSWE, {set_name}", *(f"against {other}" for other in AGAINST)], lines)


if __name__ == "__main__":
    command(main)
