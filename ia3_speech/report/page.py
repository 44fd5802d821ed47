"""The page: sections in their order, a style sheet, a script, nothing from outside.

In: contents and players. Out: one HTML text. A content security policy with the script's hash lets that one
script run and no other, and lets nothing be fetched but pictures and sound.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files

from ia3_speech.report.contents import Contents, Decoded
from ia3_speech.report.curves import curve_section, trade_off_section, training_section
from ia3_speech.report.labels import labels_section
from ia3_speech.report.markup import Child, Markup, element, raw_block
from ia3_speech.report.points import Json
from ia3_speech.report.tables import brackets, count, few, percent, results_section, verdict
from ia3_speech.report.utterances import utterances_section
from ia3_speech.report.vectors import vectors_section

Sections = dict[str, tuple[str, list[Child]]]  # id → heading and contents


def make_page(contents: Contents, players: Mapping[str, str]) -> str:
    """The whole file. players: utterance id → what its player plays (see `sound`)."""
    name = title(contents)
    style, script = (
        files("ia3_speech.report").joinpath(file).read_text("utf-8") for file in ("page.css", "page.js")
    )
    shown = sections(contents, players)
    links = [element("a", heading, href=f"#{key}") for key, (heading, _) in shown.items()]
    body = [
        element("a", "Skip to the utterances", href="#utterances", class_="skip"),
        header(contents, name),
        element("nav", links, class_="contents", aria_label="Sections"),
        element("main", [
            element("section", element("h2", heading, id=f"{key}-heading"), parts, id=key,
                    aria_labelledby=f"{key}-heading")
            for key, (heading, parts) in shown.items()
        ]),
        raw_block("script", script),
    ]  # fmt: skip
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", name),
        element("link", rel="icon", href="data:,"),
        raw_block("style", style),
    ]
    page = element("html", element("head", head), element("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"


def policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )


def title(contents: Contents) -> str:
    return (
        f"{contents.system.name} on {contents.system.folder.absolute().name.removeprefix('decode_greedy_')}"
    )


def sections(contents: Contents, players: Mapping[str, str]) -> Sections:
    found: dict[str, tuple[str, Iterator[Child]]] = {
        "results": ("Results", results_section(contents)),
        "labels": ("Speakers and labels", labels_section(contents.system, contents.baseline)),
        "utterances": ("Utterances", utterances_section(contents, players)),
    }
    if contents.training:
        found["training"] = ("Training", training_section(contents.training))
    if contents.curve:
        found["curve"] = ("How much audio do I need?", curve_section(contents.curve))
    if contents.trade_off:
        found["trade-off"] = ("What it costs on general speech", trade_off_section(contents.trade_off))
    if contents.vectors:
        found["vectors"] = ("The vectors", vectors_section(contents.vectors))
    found["made"] = ("How this was made", made_section(contents))
    made = {key: (heading, list(parts)) for key, (heading, parts) in found.items()}
    return {key: (heading, parts) for key, (heading, parts) in made.items() if parts}


def header(contents: Contents, name: str) -> Markup:
    """What was tested, and the two or three numbers that people come for."""
    score, baseline = contents.system.score, contents.baseline
    facts = [
        count(score["utterances"], "utterance"),
        count(len(score["by_label"]["speaker"]), "speaker"),
        count(score["words"], "word"),
        f"compared with {baseline.name}" if baseline else None,
    ]
    cards = [card("Word error rate", contents, "wer"), card("Character error rate", contents, "cer")]
    if score["term_error_rate"] is not None:
        cards.append(card("Term error rate", contents, "term_error_rate"))
    return element(
        "header",
        element("p", "ia3_speech report", class_="eyebrow"),
        element("h1", name),
        element("p", " · ".join(fact for fact in facts if fact), class_="facts"),
        element("div", cards, class_="cards"),
    )


def card(text: str, contents: Contents, rate: str) -> Markup:
    """`46.3 % → 40.0 %`, the relative change and its interval."""
    score = contents.system.score
    change = score["changes"].get(rate)
    before = [element("span", f"{percent(change['baseline'])} %", class_="before"), " → "] if change else None
    lines = [element("p", before, element("b", f"{percent(score[rate])} %"), class_="rate")]
    if change:
        interval = change["relative_ci"]
        style = "open" if few(score) else verdict(interval)
        said = element("span", f"{percent(change['relative'], '+.1f')} %", class_=f"pill {style}")
        bounds = brackets(interval, "+.1f")
        lines.append(
            element("p", said, f" relative, 95 % {bounds}" if bounds else " relative", class_="change")
        )
    elif interval := score[f"{rate}_ci"]:
        lines.append(element("p", f"95 % {brackets(interval)}", class_="change"))
    return element("div", element("h2", text), lines, class_="card")


def made_section(contents: Contents) -> Iterator[Child]:
    """Commands, versions and digests, as decode.json and score.json have them."""
    score = contents.system.score
    facts = {"data": str(score["data"]), "text normalisation": score["normalize"]}
    if score.get("terms_file"):
        facts["terms"] = str(score["terms_file"])
    yield described(facts)
    for one in (contents.baseline, contents.system):
        if one:
            yield element("h3", one.name, class_="name")
            yield described(decode_facts(one))


def decode_facts(one: Decoded) -> dict[str, Child]:
    record = one.record
    if not record:
        return {"decoded": f"by another tool, into {one.folder}"}
    adapter = record["adapter"] or {}
    facts: dict[str, Child] = {
        "command": element("code", record["command"]),
        "base": digested(record["base"]),
        "adapter": [digested(term) for term in adapter.get("terms", [adapter])] if adapter else "none",
    }
    if "audio_seconds" in record:  # not of adapters trained and tested in one go
        facts["audio"] = f"{record['audio_seconds']:,.0f} s, real-time factor {record['real_time_factor']}"
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return facts | {"with": f"{record['device']}, {record['dtype']}, {versions}"}


def digested(entry: Json) -> list[Child]:
    """A name, its weight where it is a term of a sum, and the start of its digest."""
    weight = f" × {entry['weight']:g}" if "weight" in entry else ""
    return [f"{entry['name']}{weight} ", element("code", str(entry.get("sha256"))[:12]), " "]


def described(facts: Mapping[str, Child]) -> Markup:
    return element(
        "dl", [[element("dt", key), element("dd", value)] for key, value in facts.items()], class_="made"
    )
