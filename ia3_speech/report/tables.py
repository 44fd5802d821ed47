"""The tables of the page: this test set, its terms, and all systems of a recipe.

In: what score.json and results.json hold. Out: sections in percent, intervals in brackets beside each rate.
"""

from collections.abc import Iterable, Iterator, Sequence

from ia3_speech.report.contents import Contents, Decoded
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.points import Json
from ia3_speech.scoring.significance import FEW_CLUSTERS

INTERVAL = "[95 % interval]"
NONE = "–"
EMPTY = element("td", NONE, class_="number")


def percent(rate: float | None, form: str = ".1f") -> str:
    """`46.3`; with a form such as `+.1f` `−13.6`: the true minus sign."""
    return NONE if rate is None else f"{100 * rate:{form}}".replace("-", "−")


def brackets(interval: Sequence[float] | None, form: str = ".1f") -> str:
    return f"[{', '.join(percent(end, form) for end in interval)}]" if interval else ""


def plain_cell(value: float | None) -> Markup:
    """A count, or seconds; 0 is as good as nothing."""
    return number_cell(value) if value else EMPTY


def number_cell(value: float) -> Markup:
    return element("td", f"{value:,.0f}", class_="number")


def rate_cell(rate: float | None, interval: Sequence[float] | None = None) -> Markup:
    return EMPTY if rate is None else element("td", percent(rate), bounds(interval), class_="number")


def change_cell(change: Json | None, few: bool = False) -> Markup:
    """The change relative to the baseline; better or worse only where the interval excludes 0 and is not of
    too few speakers."""
    if not change or change["relative"] is None:
        return EMPTY
    interval = change["relative_ci"]
    return element(
        "td",
        element("span", percent(change["relative"], "+.1f"), class_="open" if few else verdict(interval)),
        bounds(interval, "+.1f"),
        class_="number",
    )


def few(score: Json) -> bool:
    """Whether intervals are of too few speakers (or what else they are drawn over) to be coloured."""
    return score["ci_clusters"] < FEW_CLUSTERS


def bounds(interval: Sequence[float] | None, form: str = ".1f") -> Markup | None:
    return element("span", f" {brackets(interval, form)}", class_="bounds") if interval else None


def verdict(interval: Sequence[float] | None) -> str:
    """The class of a change: `better` and `worse` leave no doubt, all else is `open`."""
    if not interval or interval[0] <= 0 <= interval[1]:
        return "open"
    return "better" if interval[1] < 0 else "worse"


def table(caption: str, head: Sequence[Child], rows: Iterable[Sequence[Child]], class_: str = "") -> Markup:
    """The first column names the row; cells that aren't <td> already become plain ones."""
    lines = []
    for first, *cells in rows:
        made = [
            c if isinstance(c, Markup) and c.startswith("<td") else element("td", c, class_="number")
            for c in cells
        ]
        lines.append(element("tr", element("th", first, scope="row"), made))
    heads = [element("th", text, scope="col") for text in head]
    parts = [element("thead", element("tr", heads)), element("tbody", lines)]
    inner = element("table", element("caption", caption), parts, class_=class_ or None)
    # A region of its own that scrolls: the page never does so sideways, and keys reach what is hidden.
    return element("div", inner, class_="wide", tabindex="0", role="region", aria_label=caption)


def results_section(contents: Contents) -> Iterator[Child]:
    system, baseline = contents.system, contents.baseline
    yield rates_table(system, baseline)
    if system.score["terms"]:
        yield terms_table(system, baseline)
    yield element("ul", [element("li", note) for note in notes(system, baseline)], class_="notes")
    for file, results in contents.results.items():
        yield from systems_tables(file, results, few(system.score))


def rates_table(system: Decoded, baseline: Decoded | None) -> Markup:
    score = system.score
    with_terms = score["terms"] is not None
    head: list[Child] = ["", "WER %", "CER %", *(["term errors %"] if with_terms else [])]
    head += ["substituted", "deleted", "inserted"]
    head += ["WER, change %"] if baseline else []

    def row(one: Decoded) -> list[Child]:
        s, line = one.score, [one.name]
        line.append(rate_cell(s["wer"], s["wer_ci"]))
        line.append(rate_cell(s["cer"], s["cer_ci"]))
        if with_terms:
            line.append(rate_cell(s["term_error_rate"], s["term_error_rate_ci"]))
        line += [f"{s[name]:,}" for name in ("substitutions", "deletions", "insertions")]
        if baseline:
            line.append(change_cell(s["changes"].get("wer") if one is system else None, few(s)))
        return line

    caption = f"{count(score['utterances'], 'utterance')}, {count(score['words'], 'word')} {INTERVAL}"
    return table(caption, head, [row(one) for one in (baseline, system) if one])


def terms_table(system: Decoded, baseline: Decoded | None) -> Markup:
    head = ["", "said", "missed", "false", "rate %"] + (["baseline %", "change %"] if baseline else [])
    entries = [("all", system.score["terms"]), *system.score["terms_by_category"].items()]

    def row(name: str, rate: Json) -> list[Child]:
        line: list[Child] = [name, *(f"{rate[key]:,}" for key in ("reference", "missed", "false"))]
        line.append(rate_cell(rate["term_error_rate"], rate["term_error_rate_ci"]))
        change = rate["change"]
        return line + (
            [rate_cell(change and change["baseline"]), change_cell(change, few(system.score))]
            if baseline
            else []
        )

    return table(f"Terms {INTERVAL}", head, [row(name, rate) for name, rate in entries])


def notes(system: Decoded, baseline: Decoded | None) -> Iterator[str]:
    """What the intervals are made of, the tests, and what a reader should beware of."""
    score = system.score
    units = count(score["ci_clusters"], score["ci_unit"])
    yield f"Intervals: bootstrap over {units}, {score['replications']:,} draws, seed {score['seed']}."
    if few(score):
        yield f"With as few as {units} they are too narrow."
    if baseline:
        yield (
            "Changes are relative to the baseline, on the same draws; negative is better"
            + ("." if few(score) else ", and coloured where the interval excludes 0.")
        )
    if test := score.get("mapsswe"):
        yield (
            f"Matched pairs test (MAPSSWE): {test['segments']:,} segments, z = {test['z']:.2f}, "
            f"p = {test['p']:.2g}.".replace("= -", "= −")
        )
    improvement = score["wer_bootci"]["improvement"]
    if improvement is not None:
        draws = f"{percent(improvement)} % of the draws"
        yield f"Kaldi's bootstrap over utterances: {system.name} is better in {draws}."
    for one in (system, baseline):
        if one and one.score["missing"]:
            missing = count(one.score["missing"], "hypothesis", "hypotheses")
            yield f"{one.name}: {missing} missing; all their words count as deleted."


def systems_tables(file: str, results: Json, few: bool) -> Iterator[Markup]:
    """A table for each set of a results.json, with every seed; of too `few` speakers nothing is coloured."""
    systems = results["systems"]
    pairs = {(one.get("set"), one.get("system"), one.get("seed")): one for one in results["pairs"]}
    for name in dict.fromkeys(one.get("set") for one in systems):
        own = [one for one in systems if one.get("set") == name]
        changes = [pairs.get((name, one.get("name"), one.get("seed"))) for one in own]
        yield systems_table(str(name), own, [change_cell(change, few) for change in changes])
    changed = " with changes" if results.get("dirty") else ""
    commit = f"commit {results['commit']}{changed}" if results.get("commit") else "no commit"
    command = results.get("command") or "no command recorded"
    yield element("p", f"{file}: ", element("code", command), f" ({commit}).", class_="note")


def systems_table(name: str, systems: Sequence[Json], changes: list[Markup | None]) -> Markup:
    """A row a system; columns that none of them fills are left out."""
    columns: dict[str, list[Markup | None]] = {
        "seed": [EMPTY if one.get("seed") is None else number_cell(one["seed"]) for one in systems],
        "WER %": [rate_cell(one.get("wer"), one.get("wer_ci")) for one in systems],
        "CER %": [rate_cell(one.get("cer")) for one in systems],
        "term errors %": [rate_cell(one.get("term_error_rate")) for one in systems],
        "WER, change %": changes,
        **{
            key: [plain_cell(one.get(key)) for one in systems]
            for key in ("utterances", "words", "trainable", "seconds")
        },
    }
    filled = {head: cells for head, cells in columns.items() if any(cell != EMPTY for cell in cells)}
    names = [str(one.get("name")) for one in systems]
    rows = zip(names, *filled.values(), strict=True)
    return table(f"All systems on {name} {INTERVAL}", ["", *filled], rows)


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
