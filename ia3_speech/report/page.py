"""The page: a header, the sections, a style sheet and a script; it loads nothing from outside.

In: report data and players. Out: HTML. This module assembles the sections; the templates beside it write them
and escape all text. A content security policy with the script's hash allows only that script to run, and only
pictures and sound to be loaded. The page begins with the sentences of scoring/sentences.py.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ia3_speech.adapters.card import card_title, other_method, set_name
from ia3_speech.common.formatting import percent, plural
from ia3_speech.report import figures
from ia3_speech.report.data import ReportData
from ia3_speech.report.spectrogram import draw_largest_changes
from ia3_speech.report.tables import count_words, label_choices, shown_cell, utterance_rows
from ia3_speech.report.vector_chart import draw_vectors
from ia3_speech.scoring import sentences
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.record import HOTWORDS, OUT_OF_DOMAIN
from ia3_speech.scoring.table import Rate, Table

EXPERIMENT_SECTIONS = [  # id, heading, charts; a table may have the name of the first chart
    ("training", "Training", ("training_loss", "dev_wer")),
    ("curve", "Learning curve", ("learning_curve",)),
    ("trade-off", "Out-of-domain speech", ("trade_off",)),
]


class Section(NamedTuple):
    """A section: its heading, its template, and the template's content."""

    heading: str
    template: str
    content: Mapping[str, Any]


def make_page(report: ReportData, tables: Mapping[str, Table], players: Mapping[str, str]) -> str:
    """The whole page; tables are by their names, players {utterance id: src of its player} (see `tables`)."""
    environment = Environment(
        loader=PackageLoader("ia3_speech.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["sentence"] = lambda text: f"{text[0].upper()}{text[1:]}."
    environment.globals |= {"shown": shown_cell, "few_clusters": report.system.result.few_clusters}
    style, script = (
        files("ia3_speech.report").joinpath(file).read_text("utf-8") for file in ("page.css", "page.js")
    )
    result = report.system.result
    compared = f" compared with {report.baseline.name}" if report.baseline else ""
    words = plural(result.all.words, "word")
    return environment.get_template("page.html.jinja").render(
        report=report,
        title=f"{adapter_title(report)}, tested on {set_name(result.record['data'])}",
        facts=f"{sentences.size_of(result)} · {words} · {report.system.name}{compared}",
        sentences=[*summary_sentences(report)],
        warnings=[*report_warnings(report)][:1],
        cards=rate_cards(report),
        sections=make_sections(report, tables, players),
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def make_sections(
    report: ReportData, tables: Mapping[str, Table], players: Mapping[str, str]
) -> dict[str, Section]:
    """Id → section, for the sections with contents, in their order."""
    rates = [tables[name] for name in ("error_rates", "terms") if name in tables]
    warnings = [*report_warnings(report)][1:]  # the first is in the header
    content = {"tables": rates, "warnings": warnings, "notes": [*result_notes(report)]}
    sections = {"results": Section("Results", "results", content)}
    if tables["words"].rows:
        sections["words"] = Section("Words", "words", words_content(report))
    if report.with_confidences:
        sections["confidence"] = Section("Word confidences", "confidence", confidence_content(report))
    if labels := figures.labels_content(report, tables):
        sections["labels"] = Section("Speakers and labels", "labels", labels)
    utterances = utterances_content(report, players)
    sections["utterances"] = Section("Utterances", "utterances", utterances)
    if pictures := [*draw_largest_changes(report)]:
        names = [(report.start or report.baseline).name, report.system.name]
        content = {"pictures": pictures, "names": names}
        sections["spectrograms"] = Section("Largest changes", "spectrograms", content)
    charts = figures.experiment_charts(report)
    for id, heading, names in EXPERIMENT_SECTIONS:
        if shown := [charts[name] for name in names if name in charts]:
            content = {"charts": shown, "table": tables.get(names[0])}
            sections[id] = Section(heading, "charts", content)
    if report.vectors:
        picture = Markup(draw_vectors(report.vectors, "Values of the vectors"))
        content = {"picture": picture, "parameters": sum(vector.values.size for vector in report.vectors)}
        sections["vectors"] = Section("Adapter vectors", "vectors", content)
    sections["provenance"] = Section("Provenance", "provenance", {"record": report.system.result.record})
    return sections


def summary_sentences(report: ReportData) -> Iterator[str]:
    """The effect on the test set, on sentences that are not in training, and on out-of-domain speech."""
    result = report.system.result
    base, baseline = (side and side.result for side in (report.start, report.baseline))
    yield f"On {sentences.size_of(result)}: {sentences.gain(result, base, baseline)}."
    if sentence := sentences.unseen_sentence(result):
        yield sentence
    if report.baseline and result.set != OUT_OF_DOMAIN:
        yield sentences.out_of_domain_sentence(report.out_of_domain, result.search)


def adapter_title(report: ReportData) -> str:
    """The title of the adapter's record; without a record, the decoded adapter's or the system's name."""
    if report.adapter:
        return title_of_record(report.adapter)
    adapter = report.system.decoding.get("adapter") or {}
    if adapter and "terms" not in adapter:  # `4 adapters, by utterance`, `one for each speaker`
        return f"IA³ adapters: {adapter['name']}"
    return f"IA³ adapter {adapter['name']}" if adapter else report.system.name


def title_of_record(record: Json) -> str:
    """The speech that an adapter is for, by its labels; else its training corpus, else its base."""
    trained_on = (record.get("training") or {}).get("data")
    if trained_on and not record.get("labels"):
        kind = other_method(record) or "IA³"
        return f"{kind} adapter trained on {set_name(trained_on).split('/')[0]}"
    return card_title(record)


def rate_cards(report: ReportData) -> Iterator[dict[str, Any]]:
    """For each error rate `46.3 % → 40.0 %`, from the base alone to the system, and the relative change."""
    rates, against = report.system.result.all, report.start or report.baseline
    names = {"wer": "Word error rate", "cer": "Character error rate", "term_error_rate": "Term error rate"}
    for name, heading in names.items():
        rate = rates.rate(name)
        if name == "term_error_rate" and rate.value is None:
            continue
        before = against.result.all.rate(name).value if against else None
        change = rates.change(name)
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


def report_warnings(report: ReportData) -> Iterator[str]:
    """Sentences without full stops: training without effect, overlap with training, small test sets."""
    if report.training and report.training[-1]["selected_epoch"] == 0:
        yield sentences.NOT_IMPROVED
    result = report.system.result
    yield from result.warnings
    # The system without hot words shows the adapter's gain
    measured = report.baseline.result if report.baseline and result.search == HOTWORDS else result
    yield from sentences.size_warnings(measured, "the test set")
    if report.out_of_domain:
        yield from sentences.size_warnings(report.out_of_domain, "the out-of-domain set")


def result_notes(report: ReportData) -> Iterator[str]:
    result, baseline = report.system.result, report.baseline
    yield sentences.interval_sentence(result)
    if baseline:
        coloured = "" if result.few_clusters else "; coloured where the interval excludes 0"
        against = "what each system is compared with" if report.others else baseline.name
        yield f"Changes are relative to {against}, paired; negative is better{coloured}."
        if sentence := sentences.significance_sentence(result, report.system.name, baseline.name):
            yield sentence
    for system in reversed(report.systems):
        if missing := system.result.all.missing:
            yield sentences.missing_sentence(missing, system.name)


def words_content(report: ReportData) -> dict[str, Any]:
    names = [system.name for system in report.systems]
    columns = {"word": "word", "count": "count"}
    columns |= {f"rate{number}": f"{name} correct %" for number, name in enumerate(names)}
    filters = {"all": "all"} | ({"terms": "terms"} if report.terms else {})
    if report.baseline:
        columns["gain"] = "gain"
        filters |= {"better": "more often correct", "worse": "less often correct"}
    data = {"systems": names, "rows": count_words(report)}
    return {"names": names, "columns": columns, "filters": filters, "data": data}


def utterances_content(report: ReportData, players: Mapping[str, str]) -> dict[str, Any]:
    names, data = [system.name for system in report.systems], utterance_rows(report, players)
    columns = {"id": "utterance", "speaker": "speaker", "seconds": "seconds", "words": "words"}
    columns |= {f"wer{number}": f"{name} WER %" for number, name in enumerate(names)}
    filters = {"all": "all", "changed": "changed", "better": "fewer errors", "worse": "more errors"}
    filters = (filters if report.baseline else {"all": "all"}) | {"wrong": "with errors"}
    return {
        "names": names,
        "columns": columns | ({"change": "change of errors"} if report.baseline else {}),
        "filters": filters,
        "choices": label_choices(report),
        "systems": {str(number): name for number, name in enumerate(data["systems"])},
        "compared": [*map(str, data["compared"])],
        "data": data,
    }


def confidence_content(report: ReportData) -> dict[str, Any]:
    """Whether confidences are probabilities and find the errors: a reliability diagram of each system."""
    texts, charts = {}, []
    for system in report.with_confidences:
        confidences = system.result.confidences
        calibrated = "Not calibrated (ia3-speech calibrate does it on a dev set)."
        if scaling := confidences["scaling"]:
            calibrated = f"Calibrated with slope {scaling['slope']:g}, bias {scaling['bias']:g}."
        texts[system.name] = f"{sentences.reliability_sentence(confidences)} {calibrated}"
        charts.append(figures.reliability_chart(report, system))
    return {"sentences": texts, "charts": charts, "unit": report.system.result.all.ci_unit}
