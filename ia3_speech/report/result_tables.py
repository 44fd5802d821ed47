"""The tables of the report: error rates of this test set, its terms, and all systems of a recipe.

In: score.json and results.json. Out: a section of the page: rates in percent, intervals in brackets.
"""

from collections.abc import Iterable, Iterator, Sequence

from ia3_speech.formatting import MISSING, interval, percent, plural
from ia3_speech.report.curve_files import Json
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.report_data import DecodedSystem, ReportData
from ia3_speech.scoring.score_table import INTERVAL
from ia3_speech.scoring.significance import FEW_CLUSTERS

Bounds = Sequence[float] | None  # of an interval, as score.json has it


def results_section(report: ReportData) -> Iterator[Child]:
    """Error rates of both systems, terms, notes, and a table of each results.json and test set."""
    system, baseline = report.system, report.baseline
    yield rates_table(system, baseline)
    if system.score["terms"]:
        yield terms_table(system, baseline)
    yield element("ul", [element("li", note) for note in result_notes(system, baseline)], class_="notes")
    for file, results in report.results.items():
        yield from systems_tables(file, results, few_clusters(system.score))


# ---- cells


def signed_percent(fraction: float | None) -> str:
    """A change in percent with its sign, `−13.6`, with a true minus sign."""
    return percent(fraction, signed=True).replace("-", "−")


def signed_interval(bounds: Bounds) -> str:
    """`[−18.0, −9.1]`; empty without an interval."""
    return interval(bounds, signed=True).replace("-", "−")


def bounds_span(text: str) -> Markup | None:
    """An interval behind its rate."""
    return element("span", f" {text}", class_="bounds") if text else None


def positive(value: float | None) -> str:
    """A count or seconds; 0 and None are shown as missing."""
    return f"{value:,.0f}" if value else MISSING


def rate_text(rate: float | None, bounds: Bounds = None) -> Child:
    return MISSING if rate is None else [percent(rate), bounds_span(interval(bounds))]


def change_text(change: Json | None, few: bool = False) -> Child:
    """The change relative to the baseline, coloured if its interval excludes 0 and has enough clusters."""
    if not change or change["relative"] is None:
        return MISSING
    bounds = change["relative_ci"]
    style = "open" if few else change_class(bounds)
    return [
        element("span", signed_percent(change["relative"]), class_=style),
        bounds_span(signed_interval(bounds)),
    ]


def few_clusters(score: Json) -> bool:
    """Whether the intervals are of too few speakers (or other clusters) for changes to be coloured."""
    return score["ci_clusters"] < FEW_CLUSTERS


def change_class(bounds: Bounds) -> str:
    """The CSS class of a change: `better` or `worse` if its interval excludes 0, else `open`."""
    if not bounds or bounds[0] <= 0 <= bounds[1]:
        return "open"
    return "better" if bounds[1] < 0 else "worse"


# ---- tables


def make_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    """A table of numbers; the first cell of a row is its heading. Where a table of many columns is short of
    width, page.css draws each row as a list, in which `data-head` names the numbers."""
    lines = []
    for first, *cells in rows:
        made = [
            element("td", element("span", cell), class_="number", data_head=name)
            for name, cell in zip(head[1:], cells, strict=True)
        ]
        lines.append(element("tr", element("th", first, scope="row"), made))
    heads = [element("th", text, scope="col") for text in head]
    parts = [element("thead", element("tr", heads)), element("tbody", lines)]
    table = element("table", element("caption", caption), parts, class_="many" if len(head) > 5 else None)
    # A table that is too wide scrolls within its own region, which the keyboard can reach.
    return element("div", table, class_="wide", tabindex="0", role="region", aria_label=caption)


def rates_table(system: DecodedSystem, baseline: DecodedSystem | None) -> Markup:
    score = system.score
    with_terms = score["terms"] is not None
    head = ["", "WER %", "CER %", *(["term errors %"] if with_terms else [])]
    head += ["substitutions", "deletions", "insertions", *(["WER, change %"] if baseline else [])]

    def row(one: DecodedSystem) -> list[Child]:
        s, cells = one.score, [one.name]
        cells.append(rate_text(s["wer"], s["wer_ci"]))
        cells.append(rate_text(s["cer"], s["cer_ci"]))
        if with_terms:
            cells.append(rate_text(s["term_error_rate"], s["term_error_rate_ci"]))
        cells += [f"{s[name]:,}" for name in ("substitutions", "deletions", "insertions")]
        if baseline:
            cells.append(change_text(s["changes"].get("wer") if one is system else None, few_clusters(s)))
        return cells

    caption = f"{plural(score['utterances'], 'utterance')}, {plural(score['words'], 'word')} {INTERVAL}"
    return make_table(caption, head, [row(one) for one in (baseline, system) if one])


def terms_table(system: DecodedSystem, baseline: DecodedSystem | None) -> Markup:
    head = ["", "in reference", "missed", "false", "term errors %"]
    head += ["baseline %", "change %"] if baseline else []
    entries = [("all", system.score["terms"]), *system.score["terms_by_category"].items()]

    def row(name: str, rate: Json) -> list[Child]:
        cells: list[Child] = [name, *(f"{rate[key]:,}" for key in ("reference", "missed", "false"))]
        cells.append(rate_text(rate["term_error_rate"], rate["term_error_rate_ci"]))
        if baseline:
            change = rate["change"]
            cells.append(rate_text(change and change["baseline"]))
            cells.append(change_text(change, few_clusters(system.score)))
        return cells

    return make_table(f"Terms {INTERVAL}", head, [row(name, rate) for name, rate in entries])


def result_notes(system: DecodedSystem, baseline: DecodedSystem | None) -> Iterator[str]:
    """How the intervals were computed, the tests, and warnings."""
    score = system.score
    units = plural(score["ci_clusters"], score["ci_unit"])
    replicates = plural(score["replications"], "replicate")
    yield f"Intervals: bootstrap over {units}, {replicates}, seed {score['seed']}."
    if few_clusters(score):
        yield f"With only {units}, the intervals are too narrow."
    if baseline:
        coloured = "" if few_clusters(score) else "; coloured where the interval excludes 0"
        yield f"Changes are relative to {baseline.name}, paired; negative is better{coloured}."
    if test := score.get("mapsswe"):
        segments = plural(test["segments"], "segment")
        z = f"{test['z']:.2f}".replace("-", "−")
        yield f"Matched pairs test (MAPSSWE): {segments}, z = {z}, p = {test['p']:.2g}."
    improvement = score["wer_bootci"]["improvement"]
    if improvement is not None:
        share = f"{percent(improvement)} % of the replicates"
        yield f"Kaldi's bootstrap over utterances: {system.name} makes fewer errors in {share}."
    for one in (system, baseline):
        if one and one.score["missing"]:
            missing = plural(one.score["missing"], "hypothesis is", "hypotheses are")
            yield f"{one.name}: {missing} missing; all their words count as deleted."


def systems_tables(file: str, results: Json, few: bool) -> Iterator[Markup]:
    """A table for each test set of a results.json, with every seed; without colours if `few` clusters."""
    systems = results["systems"]
    pairs = {(one.get("set"), one.get("system"), one.get("seed")): one for one in results["pairs"]}
    for name in dict.fromkeys(one.get("set") for one in systems):
        rows = [one for one in systems if one.get("set") == name]
        changes = [pairs.get((name, one.get("name"), one.get("seed"))) for one in rows]
        yield systems_table(str(name), rows, [change_text(change, few) for change in changes])
    changed = " with changes" if results.get("dirty") else ""
    commit = f"commit {results['commit']}{changed}" if results.get("commit") else "no commit"
    command = results.get("command") or "no command recorded"
    yield element("p", f"{file}: ", element("code", command), f" ({commit}).", class_="note")


def systems_table(name: str, systems: Sequence[Json], changes: list[Child]) -> Markup:
    """One row per system; columns without a value are omitted."""
    columns: dict[str, list[Child]] = {
        "seed": [MISSING if one.get("seed") is None else str(one["seed"]) for one in systems],
        "WER %": [rate_text(one.get("wer"), one.get("wer_ci")) for one in systems],
        "CER %": [rate_text(one.get("cer")) for one in systems],
        "term errors %": [rate_text(one.get("term_error_rate")) for one in systems],
        "WER, change %": changes,
        "utterances": [positive(one.get("utterances")) for one in systems],
        "words": [positive(one.get("words")) for one in systems],
        "trained parameters": [positive(one.get("trainable")) for one in systems],
        "training, s": [positive(one.get("seconds")) for one in systems],
    }
    filled = {head: cells for head, cells in columns.items() if any(cell != MISSING for cell in cells)}
    names = [str(one.get("name")) for one in systems]
    rows = zip(names, *filled.values(), strict=True)
    return make_table(f"All systems on {name} {INTERVAL}", ["", *filled], rows)
