"""The tables of the report: error rates of this test set, its terms, and all systems of a recipe.

In: score.json and results.json. Out: a section of the page: rates in percent, intervals in brackets.
"""

from collections.abc import Iterator, Sequence

from ia3_speech.experiments.curve_files import Json
from ia3_speech.formatting import percent, plural
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.report_data import DecodedSystem, ReportData
from ia3_speech.report.table import Bounds, Cell, Rate, Table, true_minus
from ia3_speech.scoring.results import interval_notes, missing_note, results_of
from ia3_speech.scoring.significance import FEW_CLUSTERS
from ia3_speech.scoring.table import INTERVAL


def results_section(report: ReportData) -> Iterator[Child]:
    """Error rates of both systems, terms, notes, and a table of each results.json and test set."""
    system, baseline = report.system, report.baseline
    yield rates_table(system, baseline).html()
    if system.score["terms"]:
        yield terms_table(system, baseline).html()
    yield element("ul", [element("li", note) for note in result_notes(system, baseline)], class_="notes")
    for file, results in report.results.items():
        yield from (table.html() for table in systems_tables(results, few_clusters(system.score)))
        yield results_provenance(file, results)


# ---- cells


def relative_change(change: Json | None, few: bool = False) -> Rate:
    """The change relative to the baseline, coloured if its interval excludes 0 and has enough clusters."""
    relative, bounds = (change["relative"], change["relative_ci"]) if change else (None, None)
    return Rate(relative, bounds, signed=True, style="open" if few else change_class(bounds))


def few_clusters(score: Json) -> bool:
    """Whether the intervals are of too few speakers (or other clusters) for changes to be coloured."""
    return score["ci_clusters"] < FEW_CLUSTERS


def change_class(bounds: Bounds) -> str:
    """The CSS class of a change: `better` or `worse` if its interval excludes 0, else `open`."""
    if not bounds or bounds[0] <= 0 <= bounds[1]:
        return "open"
    return "better" if bounds[1] < 0 else "worse"


# ---- tables


def rates_table(system: DecodedSystem, baseline: DecodedSystem | None) -> Table:
    score = system.score
    with_terms = score["terms"] is not None
    head = ["system", "WER %", "CER %", *(["term errors %"] if with_terms else [])]
    head += ["substitutions", "deletions", "insertions", *(["WER, change %"] if baseline else [])]

    def row(one: DecodedSystem) -> list[Cell]:
        s = one.score
        rates = ["wer", "cer", *(["term_error_rate"] if with_terms else [])]
        cells: list[Cell] = [one.name, *(Rate(s[rate], s[f"{rate}_ci"]) for rate in rates)]
        cells += [s[name] for name in ("substitutions", "deletions", "insertions")]
        if baseline:
            cells.append(relative_change(s["changes"].get("wer") if one is system else None, few_clusters(s)))
        return cells

    caption = f"{plural(score['utterances'], 'utterance')}, {plural(score['words'], 'word')} {INTERVAL}"
    return Table("error_rates", caption, head, [row(one) for one in (baseline, system) if one])


def terms_table(system: DecodedSystem, baseline: DecodedSystem | None) -> Table:
    head = ["terms", "in reference", "missed", "false", "term errors %"]
    head += ["baseline %", "change %"] if baseline else []
    entries = [("all", system.score["terms"]), *system.score["terms_by_category"].items()]

    def row(name: str, rate: Json) -> list[Cell]:
        cells: list[Cell] = [name, *(rate[key] for key in ("reference", "missed", "false"))]
        cells.append(Rate(rate["term_error_rate"], rate["term_error_rate_ci"]))
        if baseline:
            change = rate["change"]
            cells.append(Rate(change and change["baseline"]))
            cells.append(relative_change(change, few_clusters(system.score)))
        return cells

    return Table("terms", f"Terms {INTERVAL}", head, [row(name, rate) for name, rate in entries])


def result_notes(system: DecodedSystem, baseline: DecodedSystem | None) -> Iterator[str]:
    """How the intervals were computed, the tests, and warnings."""
    score = system.score
    yield from interval_notes(results_of(score))
    if baseline:
        coloured = "" if few_clusters(score) else "; coloured where the interval excludes 0"
        yield f"Changes are relative to {baseline.name}, paired; negative is better{coloured}."
    if test := score.get("mapsswe"):
        segments = plural(test["segments"], "segment")
        z = true_minus(f"{test['z']:.2f}")
        yield f"Matched pairs test (MAPSSWE): {segments}, z = {z}, p = {test['p']:.2g}."
    improvement = score["wer_bootci"]["improvement"]
    if improvement is not None:
        share = f"{percent(improvement)} % of the replicates"
        yield f"Kaldi's bootstrap over utterances: {system.name} makes fewer errors in {share}."
    for one in (system, baseline):
        if one and one.score["missing"]:
            yield missing_note(one.score["missing"], one.name)


def systems_tables(results: Json, few: bool) -> Iterator[Table]:
    """A table for each test set of a results.json, with every seed; without colours if `few` clusters."""
    systems = results["systems"]
    pairs = {(one.get("set"), one.get("system"), one.get("seed")): one for one in results["pairs"]}
    for name in dict.fromkeys(one.get("set") for one in systems):
        rows = [one for one in systems if one.get("set") == name]
        changes = [pairs.get((name, one.get("name"), one.get("seed"))) for one in rows]
        yield systems_table(str(name), rows, [relative_change(change, few) for change in changes])


def systems_table(name: str, systems: Sequence[Json], changes: list[Rate]) -> Table:
    """One row per system; columns without a value are omitted. No trained parameters and no training time are
    shown as missing."""
    columns: dict[str, list[Cell]] = {
        "system": [str(one.get("name")) for one in systems],
        "seed": [None if one.get("seed") is None else str(one["seed"]) for one in systems],
        "WER %": [Rate(one.get("wer"), one.get("wer_ci")) for one in systems],
        "CER %": [Rate(one.get("cer")) for one in systems],
        "term errors %": [Rate(one.get("term_error_rate")) for one in systems],
        "WER, change %": list(changes),
        "utterances": [one.get("utterances") or None for one in systems],
        "words": [one.get("words") or None for one in systems],
        "trained parameters": [one.get("trainable") or None for one in systems],
        "training, s": [round(one["seconds"]) if one.get("seconds") else None for one in systems],
    }
    filled = {
        head: cells
        for head, cells in columns.items()
        if any((cell.value if isinstance(cell, Rate) else cell) is not None for cell in cells)
    }
    rows = list(zip(*filled.values(), strict=True))
    return Table(f"systems_{name}", f"All systems on {name} {INTERVAL}", list(filled), rows)


def results_provenance(file: str, results: Json) -> Markup:
    """Where a results.json comes from."""
    changed = " with changes" if results.get("dirty") else ""
    commit = f"commit {results['commit']}{changed}" if results.get("commit") else "no commit"
    command = results.get("command") or "no command recorded"
    return element("p", f"{file}: ", element("code", command), f" ({commit}).", class_="note")
