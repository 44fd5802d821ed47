"""The page: a header, the sections, a style sheet and a script, and nothing from outside.

In: report data and players. Out: one HTML text. What is put together here the templates beside this module
write; they escape all text. A content security policy with the script's hash allows that script and no other,
and nothing to be fetched but pictures and sound. The page opens with what the numbers mean in plain words:

    On 600 utterances of 20 speakers the adapter lowers the word error rate from 70.8 % (base) to 41.5 %
    (relative −41.4 %, 95 % interval −45.0 to −37.1). In 100 words that is 42 errors (wrong, missing or extra
    words) instead of 71. On out-of-domain speech (30 utterances of 6 speakers) it raises the word error rate
    from 28.0 % (base) to 30.1 % (relative +7.5 %, 95 % interval +2.0 to +13.0): name it only for the speech
    that it was trained for.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from statistics import median
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ia3_speech.adapters.card import card_title, other_method, set_name
from ia3_speech.formatting import percent, plural
from ia3_speech.report import browse, diagrams
from ia3_speech.report.charts import scatter_before_and_after
from ia3_speech.report.data import DecodedSystem, ReportData
from ia3_speech.report.tables import change_class, shown_cell, true_minus
from ia3_speech.report.vector_chart import draw_vectors
from ia3_speech.results.systems import OUT_OF_DOMAIN
from ia3_speech.scoring.results import (
    NOT_IMPROVED,
    Json,
    ResultRow,
    Results,
    few_clusters_note,
    interval_notes,
    missing_note,
    reliability_note,
    search_of,
    significance_note,
    system_name,
)
from ia3_speech.scoring.table import Bounds, Rate, Table

MAX_OPEN = 12  # values of a label that are shown without folding
MIN_SCATTER = 8  # values from which there is a scatter plot
EXPERIMENT_SECTIONS = [  # id, heading, and the charts, of which a table may have the first one's name
    ("training", "Training", ("training_loss", "dev_wer")),
    ("curve", "Learning curve", ("learning_curve",)),
    ("trade-off", "Out-of-domain speech", ("trade_off",)),
]


class Section(NamedTuple):
    """A section: its heading, the template that writes it, and what the template shows."""

    heading: str
    template: str
    content: Mapping[str, Any]


def make_page(report: ReportData, tables: Mapping[str, Table], players: Mapping[str, str]) -> str:
    """The whole file. tables: by their names; players: {utterance id: src of its player} (see `browse`)."""
    environment = Environment(
        loader=PackageLoader("ia3_speech.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["sentence"] = lambda text: f"{text[0].upper()}{text[1:]}."
    environment.globals |= {"shown": shown_cell, "few_clusters": report.system.results.few_clusters}
    style, script = (
        files("ia3_speech.report").joinpath(file).read_text("utf-8") for file in ("page.css", "page.js")
    )
    return environment.get_template("page.html.jinja").render(
        report=report,
        title=f"{adapter_title(report)}, tested on {set_name(report.system.results.record['data'])}",
        facts=page_facts(report),
        sentences=[*summary_sentences(report)],
        warnings=[*summary_warnings(report)][:1],
        cards=rate_cards(report),
        sections=make_sections(report, tables, players),
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def make_sections(
    report: ReportData, tables: Mapping[str, Table], players: Mapping[str, str]
) -> dict[str, Section]:
    """Id → section of all that have contents, in their order."""
    sections = {"results": Section("Results", "results", results_content(report, tables))}
    if tables["words"].rows:
        sections["words"] = Section("Words", "words", words_content(report))
    if report.with_confidences:
        sections["confidence"] = Section("Word confidences", "confidence", confidence_content(report))
    if labels := labels_content(report, tables):
        sections["labels"] = Section("Speakers and labels", "labels", labels)
    utterances = utterances_content(report, players)
    sections["utterances"] = Section("Utterances", "utterances", utterances)
    charts = diagrams.experiment_charts(report)
    for id, heading, names in EXPERIMENT_SECTIONS:
        if shown := [charts[name] for name in names if name in charts]:
            content = {"charts": shown, "table": tables.get(names[0])}
            sections[id] = Section(heading, "charts", content)
    if report.vectors:
        picture = Markup(draw_vectors(report.vectors, "Values of the vectors"))
        content = {"picture": picture, "parameters": sum(vector.values.size for vector in report.vectors)}
        sections["vectors"] = Section("Adapter vectors", "vectors", content)
    sections["provenance"] = Section("Provenance", "provenance", {"record": report.system.results.record})
    return sections


# ---- header


def adapter_title(report: ReportData) -> str:
    """As the adapter's record has it; else the name that it was decoded by, else the system's."""
    if report.adapter:
        return title_of_record(report.adapter)
    name = (report.system.decoding.get("adapter") or {}).get("name") or ""
    if name.startswith("one "):  # of many: one for each speaker
        return f"IA³ adapters, {name}"
    return f"IA³ adapter {name}" if name else report.system.name


def title_of_record(record: Json) -> str:
    """What an adapter is for, by its labels; else the corpus that it was trained on, else its base."""
    trained_on = (record.get("training") or {}).get("data")
    if trained_on and not record.get("labels"):
        kind = other_method(record) or "IA³"
        return f"{kind} adapter trained on {set_name(trained_on).split('/')[0]}"
    return card_title(record)


def page_facts(report: ReportData) -> str:
    """`600 utterances of 20 speakers · 5,140 words · ia3_plus_seed1 compared with base`."""
    compared = f" compared with {report.baseline.name}" if report.baseline else ""
    words = plural(report.system.results.all.words, "word")
    return f"{size_of(report.system.results)} · {words} · {report.system.name}{compared}"


def rate_cards(report: ReportData) -> Iterator[dict[str, Any]]:
    """`46.3 % → 40.0 %` from the base alone, greedy, to the system, and the relative change of these two, for
    each error rate. The interval is that of score.json, where it compares the same two."""
    row, against = report.system.results.all, report.start or report.baseline
    names = {"wer": "Word error rate", "cer": "Character error rate", "term_error_rate": "Term error rate"}
    for name, heading in names.items():
        rate: Rate = getattr(row, name)
        if name == "term_error_rate" and rate.value is None:
            continue
        before = getattr(against.results.all, name).value if against else None
        change = row.change(name)
        if against is not report.baseline:
            change = Rate((rate.value or 0.0) / before - 1 if before else None, signed=True)
        yield {
            "heading": heading,
            "before": None if before is None else percent(before),
            "rate": rate,
            "change": change,
            "against": against and against.name,
            "system": report.system.name,
        }


# ---- what the numbers mean, and what a reader must know before believing them


def summary_sentences(report: ReportData) -> Iterator[str]:
    """What happens on the test set, to its terms, on sentences that are not in training, on other speech."""
    results, baseline = report.system.results, report.baseline
    row, is_adapter = results.all, report.vectors or report.system.decoding.get("adapter")
    subject = "the adapter" if is_adapter else report.system.name
    in_100_words = f"In 100 words that is {plural(round(100 * (row.wer.value or 0)), 'error')}"
    in_100_words += " (wrong, missing or extra words)"
    if not baseline:
        yield f"On {size_of(results)} {subject} has a word error rate of {percent(row.wer.value)} %."
        yield f"{in_100_words}."
        return
    before = row.changes["wer"].baseline
    if start := report.start:
        before = start.results.all.wer.value
        rates = f"{percent(row.wer.value)} %, and {start.name} alone {percent(before)} %"
        yield f"On {size_of(results)} {report.system.name} has a word error rate of {rates}."
    else:
        yield f"On {size_of(results)} {change_in_words(row, subject, baseline.name)}."
    if before is not None and f"{100 * before:.0f}" != f"{100 * row.wer.value:.0f}":
        yield f"{in_100_words} instead of {100 * before:.0f}."
    if report.start:
        yield from parts_in_words(report)
    known = results.record["baseline"]["terms"]
    if results.terms and known and (terms := results.terms[""]).reference:
        missed = f"{terms.missed:,}; {baseline.name} misses {known['missed']:,}"
        yield f"Of {plural(terms.reference, 'spoken term')} it misses {missed}."
    if unseen := results.unseen:
        where = f"On {plural(unseen.utterances, 'utterance')} with sentences that are not in training"
        yield f"{where} {change_in_words(unseen, 'it', baseline.name)}."
    if report.out_of_domain:
        alone = search_of(report.out_of_domain.record["decode_dir"]) != search_of(report.system.folder)
        yield out_of_domain_sentence(report.out_of_domain, "the adapter alone" if alone else "it")
    elif not report.system.folder.name.endswith(OUT_OF_DOMAIN):
        yield f"What {subject} does to out-of-domain speech was not measured."


def parts_in_words(report: ReportData) -> Iterator[str]:
    """What the adapter has of the gain, compared with the base searched in the same way, and what hot words
    have."""
    with_hotwords = search_of(report.system.folder) == "hotwords"
    for system in [report.baseline, report.system] if with_hotwords else [report.system]:
        if system.results.has_baseline:
            subject = "Adding the hot words" if search_of(system.folder) == "hotwords" else "The adapter"
            against = system_name(system.results.record["baseline_dir"])
            yield f"{change_in_words(system.results.all, subject, against)}."


def size_of(results: Results) -> str:
    """`600 utterances of 20 speakers`; without speakers where they are not known apart from utterances."""
    count, speakers = results.all.utterances, len(results.by_label["speaker"])
    unknown = results.all.unit == "utterance" or speakers == count > 1
    return plural(count, "utterance") + ("" if unknown else f" of {plural(speakers, 'speaker')}")


def signed(fraction: float) -> str:
    return true_minus(percent(fraction, signed=True))


def change_in_words(row: ResultRow, subject: str, baseline: str) -> str:
    """`the adapter lowers the word error rate from 70.8 % (base) to 41.5 % (relative −41.4 %, …)`."""
    change = row.changes["wer"]
    before, after = percent(change.baseline), percent(row.wer.value)
    if before == after:
        return f"{subject} leaves the word error rate at {after} %"
    verb = "lowers" if row.wer.value < (change.baseline or 0) else "raises"
    text = f"{subject} {verb} the word error rate from {before} % ({baseline}) to {after} %"
    if change.relative is None:
        return text
    bounds = change.relative_ci
    between = f", 95 % interval {signed(bounds[0])} to {signed(bounds[1])}" if bounds else ""
    return f"{text} (relative {signed(change.relative)} %{between})"


def out_of_domain_sentence(results: Results, subject: str) -> str:
    """What out-of-domain speech costs, and what follows from it."""
    where, row = f"On out-of-domain speech ({size_of(results)})", results.all
    if "wer" not in row.changes:
        return f"{where} its word error rate is {percent(row.wer.value)} %."
    text = change_in_words(row, subject, system_name(results.record["baseline_dir"]))
    if change_class(row.changes["wer"].relative_ci) == "worse":
        text += ": name it only for the speech that it was trained for"
    return f"{where} {text}."


def summary_warnings(report: ReportData) -> Iterator[str]:
    """Sentences without a full stop, the decisive one first: training without effect, overlap with training,
    too small test sets."""
    if report.training and report.training[-1].selected == 0:
        yield NOT_IMPROVED
    yield from report.system.results.warnings
    with_hotwords = report.baseline and search_of(report.system.folder) == "hotwords"
    measured = report.baseline if with_hotwords else report.system  # what shows the adapter's gain
    yield from size_warnings(measured.results, "the test set")
    if report.out_of_domain:
        yield from size_warnings(report.out_of_domain, "the out-of-domain set")


def size_warnings(results: Results, name: str) -> Iterator[str]:
    """Whether a test set is too small to say anything, or to trust its interval."""
    row, change = results.all, results.all.changes.get("wer")
    bounds: Bounds = change.relative_ci if change else row.wer.bounds
    units = plural(row.clusters, row.unit)
    if not bounds:
        yield f"{name} is too small for an interval ({units})"
        return
    if change and not change_class(bounds):
        yield (
            f"{name} is too small to tell the change from chance: its interval, {signed(bounds[0])} to "
            f"{signed(bounds[1])} %, includes 0"
        )
    if results.few_clusters:
        yield f"{name} has {units} only, so that the true interval is wider than the one given"


# ---- what the sections show


def results_content(report: ReportData, tables: Mapping[str, Table]) -> dict[str, Any]:
    rates = [tables[name] for name in ("error_rates", "terms") if name in tables]
    warnings = [*summary_warnings(report)][1:]  # the first stands above
    return {"tables": rates, "warnings": warnings, "notes": [*result_notes(report)]}


def result_notes(report: ReportData) -> Iterator[str]:
    """How the intervals were computed, the tests, and missing hypotheses."""
    results, baseline = report.system.results, report.baseline
    yield from interval_notes(results)
    if baseline:
        coloured = "" if results.few_clusters else "; coloured where the interval excludes 0"
        against = "what each system is compared with" if report.others else baseline.name
        yield f"Changes are relative to {against}, paired; negative is better{coloured}."
        if note := significance_note(results, report.system.name, baseline.name):
            yield note
    for system in reversed(report.systems):
        if missing := system.results.all.missing:
            yield missing_note(missing, system.name)


def words_content(report: ReportData) -> dict[str, Any]:
    names = [system.name for system in report.systems]
    columns = {"word": "word", "count": "count"}
    columns |= {f"rate{number}": f"{name} correct %" for number, name in enumerate(names)}
    filters = {"all": "all"} | ({"terms": "terms"} if report.terms else {})
    if report.baseline:
        columns["gain"] = "gain"
        filters |= {"better": "more often correct", "worse": "less often correct"}
    data = {"systems": names, "rows": browse.count_words(report)}
    return {"names": names, "columns": columns, "filters": filters, "data": data}


def utterances_content(report: ReportData, players: Mapping[str, str]) -> dict[str, Any]:
    names, data = [system.name for system in report.systems], browse.utterance_rows(report, players)
    columns = {"id": "utterance", "speaker": "speaker", "seconds": "seconds", "words": "words"}
    columns |= {f"wer{number}": f"{name} WER %" for number, name in enumerate(names)}
    filters = {"all": "all", "changed": "changed", "better": "fewer errors", "worse": "more errors"}
    filters = (filters if report.baseline else {"all": "all"}) | {"wrong": "with errors"}
    return {
        "names": names,
        "columns": columns | ({"change": "change of errors"} if report.baseline else {}),
        "filters": filters,
        "choices": browse.label_choices(report),
        "systems": {str(number): name for number, name in enumerate(data["systems"])},
        "compared": [*map(str, data["compared"])],
        "data": data,
    }


def confidence_content(report: ReportData) -> dict[str, Any]:
    """Are confidences probabilities, and do they find the errors? A reliability diagram of each system."""
    systems = report.with_confidences
    return {
        "sentences": {system.name: reliability_in_words(system) for system in systems},
        "charts": [diagrams.reliability_chart(report, system) for system in systems],
        "unit": report.system.results.all.unit,
    }


def reliability_in_words(system: DecodedSystem) -> str:
    """What a reviewer gains, and whether the confidences are calibrated."""
    confidences = system.results.confidences
    calibrated = "Not calibrated (ia3-speech calibrate does it on a dev set)."
    if scaling := confidences["scaling"]:
        calibrated = f"Calibrated with slope {scaling['slope']:g}, bias {scaling['bias']:g}."
    return f"{reliability_note(confidences)} {calibrated}"


def labels_content(report: ReportData, tables: Mapping[str, Table]) -> dict[str, Any]:
    """The table of each label that has several; many values are folded away below a scatter plot of them."""
    labels = []
    for table in [table for name, table in tables.items() if name.startswith("by_")]:
        label = table.head[0]
        rows = {value: report.system.results.by_label[label][value] for value, *_ in table.rows}
        rates, summary, chart = [row.wer.value for row in rows.values()], "", None
        if len(rows) > MAX_OPEN:
            ends = f"from {percent(min(rates))} to {percent(max(rates))} %"
            summary = f"{len(rows)} values, median WER {percent(median(rates))} %, {ends}"
        if report.baseline and len(rows) >= MIN_SCATTER:
            values = [
                (value, row.changes["wer"].baseline, row.wer.value, row.words) for value, row in rows.items()
            ]
            names = [system.name for system in report.systems]
            what = "speakers" if label == "speaker" else f"values of {label}"
            chart = scatter_before_and_after(f"WER by {label}", what, names, values)
        few = {value for value, row in rows.items() if row.few_clusters}
        labels.append({"table": table, "summary": summary, "chart": chart, "few": few})
    note = few_clusters_note(report.system.results.all.unit) if any(one["few"] for one in labels) else ""
    return {"labels": labels, "note": note} if labels else {}
