"""The page: a header, the sections, a style sheet and a script, and nothing from outside.

In: report data and players. Out: one HTML text. A content security policy with the script's hash allows that
script and no other, and nothing to be fetched but pictures and sound.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files

from ia3_speech.adapters.card import card_title, set_name
from ia3_speech.experiments.curve_files import Json
from ia3_speech.formatting import interval, percent, plural
from ia3_speech.report.confidence_charts import confidence_section
from ia3_speech.report.curve_charts import learning_curve_section, trade_off_section, training_section
from ia3_speech.report.label_bars import labels_section
from ia3_speech.report.markup import Child, Markup, element, raw_block
from ia3_speech.report.report_data import DecodedSystem, ReportData
from ia3_speech.report.result_tables import change_class, few_clusters, relative_change, results_section
from ia3_speech.report.summary import size_of, summary_box
from ia3_speech.report.utterance_table import utterances_section
from ia3_speech.report.vector_plots import vectors_section
from ia3_speech.report.word_accuracy import words_section

Sections = dict[str, tuple[str, list[Child]]]  # id → heading and contents


def make_page(report: ReportData, players: Mapping[str, str]) -> str:
    """The whole file. players: {utterance id: src of its player} (see `audio_players`)."""
    name = page_title(report)
    style, script = (
        files("ia3_speech.report").joinpath(file).read_text("utf-8") for file in ("page.css", "page.js")
    )
    sections = make_sections(report, players)
    links = [element("a", heading, href=f"#{key}") for key, (heading, _) in sections.items()]
    body = [
        element("a", "Skip to the utterances", href="#utterances", class_="skip"),
        header(report, name),
        element("nav", links, class_="contents", aria_label="Sections"),
        element("main", [
            element("section", element("h2", heading, id=f"{key}-heading"), parts, id=key,
                    aria_labelledby=f"{key}-heading")
            for key, (heading, parts) in sections.items()
        ]),
        raw_block("script", script),
    ]  # fmt: skip
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=content_security_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", name),
        element("link", rel="icon", href="data:,"),
        raw_block("style", style),
    ]
    page = element("html", element("head", head), element("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"


def content_security_policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )


def page_title(report: ReportData) -> str:
    """The adapter and the corpus, such as `IA³ adapter: accent scottish, tested on dialects/test`."""
    return f"{adapter_title(report)}, tested on {set_name(report.system.score['data'])}"


def adapter_title(report: ReportData) -> str:
    """As the adapter's record has it; else the name that it was decoded by, else the system's."""
    decoded_with = report.system.decoding.get("adapter") or {}
    if report.adapter:
        return title_of_record(report.adapter)
    name = decoded_with.get("name") or ""
    if name.startswith("one "):  # of many: one for each speaker
        return f"IA³ adapters, {name}"
    return f"IA³ adapter {name}" if name else report.system.name


def title_of_record(record: Json) -> str:
    """What an adapter is for, by its labels; else the corpus that it was trained on, else its base."""
    trained_on = (record.get("training") or {}).get("data")
    if trained_on and not record.get("labels"):
        return f"IA³ adapter trained on {set_name(trained_on).split('/')[0]}"
    return card_title(record)


def make_sections(report: ReportData, players: Mapping[str, str]) -> Sections:
    """All sections that have contents, in their order."""
    sections: dict[str, tuple[str, Iterator[Child]]] = {
        "results": ("Results", results_section(report)),
        "words": ("Words", words_section(report)),
        "confidence": ("Word confidences", confidence_section(report)),
        "labels": ("Speakers and labels", labels_section(report.system, report.baseline)),
        "utterances": ("Utterances", utterances_section(report, players)),
    }
    if report.training:
        sections["training"] = ("Training", training_section(report.training))
    if report.curve:
        sections["curve"] = ("Learning curve", learning_curve_section(report.curve))
    if report.trade_off:
        sections["trade-off"] = ("Out-of-domain speech", trade_off_section(report.trade_off))
    if report.vectors:
        sections["vectors"] = ("Adapter vectors", vectors_section(report.vectors))
    sections["provenance"] = ("Provenance", provenance_section(report))
    made = {key: (heading, list(parts)) for key, (heading, parts) in sections.items()}
    return {key: (heading, parts) for key, (heading, parts) in made.items() if parts}


def header(report: ReportData, name: str) -> Markup:
    """What was tested, what came of it in plain words, and the error rates."""
    score, baseline = report.system.score, report.baseline
    facts = [
        size_of(score),
        plural(score["words"], "word"),
        f"{report.system.name} compared with {baseline.name}" if baseline else report.system.name,
    ]
    cards = [rate_card("Word error rate", score, "wer"), rate_card("Character error rate", score, "cer")]
    if score["term_error_rate"] is not None:
        cards.append(rate_card("Term error rate", score, "term_error_rate"))
    return element(
        "header",
        element("p", "ia3_speech report", class_="eyebrow"),
        element("h1", name),
        element("p", " · ".join(facts), class_="facts"),
        summary_box(report),
        element("div", cards, class_="cards"),
    )


def rate_card(heading: str, score: Json, rate: str) -> Markup:
    """`46.3 % → 40.0 %`, the relative change and its interval."""
    change = score["changes"].get(rate)
    before = [element("span", f"{percent(change['baseline'])} %", class_="before"), " → "] if change else None
    lines = [element("p", before, element("b", f"{percent(score[rate])} %"), class_="rate")]
    if change:
        value, bounds = relative_change(change).shown
        style = "open" if few_clusters(score) else change_class(change["relative_ci"])
        pill = element("span", f"{value} %", class_=f"pill {style}")
        text = f" relative, 95 % interval {bounds}" if bounds else " relative"
        lines.append(element("p", pill, text, class_="change"))
    elif bounds := interval(score[f"{rate}_ci"]):
        lines.append(element("p", f"95 % interval {bounds}", class_="change"))
    return element("div", element("h2", heading), lines, class_="card")


def provenance_section(report: ReportData) -> Iterator[Child]:
    """Commands, versions and digests, as decode.json and score.json have them."""
    score = report.system.score
    facts = {"data": str(score["data"]), "text normalisation": score["normalize"]}
    if score.get("terms_file"):
        facts["term list"] = str(score["terms_file"])
    yield description_list(facts)
    for one in (report.baseline, report.system):
        if one:
            yield element("h3", one.name, class_="name")
            yield description_list(decoding_facts(one))


def decoding_facts(one: DecodedSystem) -> dict[str, Child]:
    found = one.decoding
    if not found:
        return {"decoded": f"by another tool, into {one.folder}"}
    adapter = found["adapter"] or {}
    facts: dict[str, Child] = {
        "command": element("code", found["command"]),
        "base": name_and_digest(found["base"]),
        "adapter": [name_and_digest(term) for term in adapter.get("terms", [adapter])] if adapter else "none",
    }
    if "audio_seconds" in found:  # absent where adapters were trained and tested in one run
        facts["audio"] = f"{found['audio_seconds']:,.0f} s, real-time factor {found['real_time_factor']}"
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return facts | {"environment": f"{found['device']}, {found['dtype']}, {versions}"}


def name_and_digest(entry: Json) -> list[Child]:
    """A name, its weight where it is a term of a sum, and the start of its digest."""
    weight = f" × {entry['weight']:g}" if "weight" in entry else ""
    return [f"{entry['name']}{weight} ", element("code", str(entry.get("sha256"))[:12]), " "]


def description_list(facts: Mapping[str, Child]) -> Markup:
    pairs = [[element("dt", key), element("dd", value)] for key, value in facts.items()]
    return element("dl", pairs, class_="made")
