"""The table of utterances: the reference and each system's aligned hypothesis; page.js draws the rows.

In: report data and players. Out: the controls, an empty table, and the rows as JSON, which page.js sorts,
filters and draws:

    {"systems": ["base", "ia3"], "labels": ["accent"],
     "rows": [{"id", "speaker", "labels", "seconds", "audio", "alignments": [[…], […]]}, …]}

Each system's alignment is a list of: a word (correct), [reference, hypothesis] (substitution), [reference,
null] (deletion) and [null, hypothesis] (insertion), aligned as in Kaldi's per_utt.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ia3_speech.report.markup import Child, Markup, element, json_block
from ia3_speech.report.report_data import ReportData
from ia3_speech.scoring.alignment import align

MAX_CHOICES = 500  # a label with more values gets no list to choose from
PAGE_SIZES = (25, 50, 100, 200)
FILTERS = {
    "all": "all",
    "changed": "changed",
    "better": "fewer errors",
    "worse": "more errors",
    "wrong": "with errors",
}


def utterance_rows(report: ReportData, players: Mapping[str, str]) -> dict[str, Any]:
    """The JSON value described above."""
    systems = [one for one in (report.baseline, report.system) if one]
    rows = [
        {
            "id": utterance.id,
            "speaker": utterance.speaker,
            "labels": utterance.labels,
            "seconds": utterance.duration,
            "audio": players.get(utterance.id),
            "alignments": [
                compact_alignment(one.references[utterance.id], one.hypotheses.get(utterance.id, ""))
                for one in systems
            ],
        }
        for utterance in report.utterances
    ]
    labels = sorted({label for row in rows for label in row["labels"]})
    return {"systems": [one.name for one in systems], "labels": labels, "rows": rows}


def compact_alignment(reference: str, hypothesis: str) -> list[Any]:
    """
    >>> compact_alignment("no fever", "know fever now")
    [['no', 'know'], 'fever', [None, 'now']]
    """
    pairs = align(reference.split(), hypothesis.split())
    return [pair[0] if pair[0] == pair[1] else list(pair) for pair in pairs]


def utterances_section(report: ReportData, players: Mapping[str, str]) -> Iterator[Child]:
    data = utterance_rows(report, players)
    yield element("noscript", element("p", "The table of utterances needs JavaScript.", class_="note"))
    yield element("div", controls(data), id="controls", class_="controls")
    yield colour_legend(data["systems"])
    yield element("p", id="found", role="status", class_="found")
    yield element(
        "table",
        element("caption", "Utterances", class_="unseen"),
        element("thead", element("tr", column_heads(data["systems"]))),
        element("tbody", id="utterance-rows"),
        id="utterance-table",
        class_="utterances",
    )
    pager = [
        element("button", "Previous", type="button", id="previous"),
        element("span", id="position"),
        element("button", "Next", type="button", id="next"),
    ]
    yield element("nav", pager, class_="pager", aria_label="Pages of utterances")
    yield json_block("utterance-data", data)


def controls(data: Mapping[str, Any]) -> Iterator[Markup]:
    """A search field, a list of values for each label, a filter by change, and the page size."""
    search = element("input", type="search", id="search", placeholder="words or id", autocomplete="off")
    yield element("label", "Search", search)
    rows = data["rows"]
    values = {"speaker": [row["speaker"] for row in rows]}
    values |= {label: [row["labels"].get(label, "(none)") for row in rows] for label in data["labels"]}
    for label, found in values.items():
        choices = sorted(set(found))
        if 1 < len(choices) <= MAX_CHOICES or label == "speaker":
            yield select(label, {"": "all", **{value: value for value in choices}}, data_label=label)
    several = len(data["systems"]) > 1
    filters = {key: text for key, text in FILTERS.items() if several or key in ("all", "wrong")}
    yield select("show", filters, id="shown")
    sizes = {str(size): str(size) for size in PAGE_SIZES}
    yield select("rows per page", sizes, chosen="50", id="page-size")
    yield element("button", "Reset", type="button", id="reset")


def select(name: str, choices: Mapping[str, str], chosen: str = "", **attributes: str) -> Markup:
    options = [element("option", text, value=key, selected=key == chosen) for key, text in choices.items()]
    return element("label", name.capitalize(), element("select", options, **attributes))


def column_heads(systems: list[str]) -> Iterator[Markup]:
    """Column heads that sort; `data-key` is the key that page.js sorts by."""
    columns = {"id": "utterance", "speaker": "speaker", "seconds": "seconds", "words": "words"}
    columns |= {f"wer{index}": f"{name} WER %" for index, name in enumerate(systems)}
    columns |= {"change": "change of errors"} if len(systems) > 1 else {}
    for key, text in columns.items():
        button = element("button", text, type="button", data_key=key)
        yield element("th", button, scope="col", aria_sort="ascending" if key == "id" else "none")


def colour_legend(systems: list[str]) -> Markup:
    return element(
        "p",
        element("ruby", "hypothesis", element("rt", "reference"), class_="substituted"),
        " substitution, ",
        element("del", "word", class_="deleted"),
        " deletion, ",
        element("ins", "word", class_="inserted"),
        f" insertion. Each utterance shows the reference, then {', then '.join(systems)}.",
        class_="legend-line note",
    )
