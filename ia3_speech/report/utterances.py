"""The utterances: what was said and what each system heard, aligned; page.js sorts, filters and draws them.

In: contents and players. Out: the controls, an empty table, and the rows as JSON:

    {"systems": ["base", "ia3"], "labels": ["accent"],
     "rows": [{"id", "speaker", "labels", "seconds", "audio", "heard": [[…], […]]}, …]}

where each system's alignment is a list of a word (right), [said, heard] (wrong), [said, null] (deleted) and
[null, heard] (inserted), as Kaldi's per_utt has them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ia3_speech.report.contents import Contents
from ia3_speech.report.markup import Child, Markup, element, json_block
from ia3_speech.scoring.alignment import align

MOST_CHOICES = 500  # of a label, to be worth a list to choose from
PAGE_SIZES = (25, 50, 100, 200)
SHOWN = {
    "all": "all",
    "changed": "those that changed",
    "better": "those that got better",
    "worse": "those that got worse",
    "wrong": "those with errors",
}


def utterance_rows(contents: Contents, players: Mapping[str, str]) -> dict[str, Any]:
    systems = [one for one in (contents.baseline, contents.system) if one]
    rows = [
        {
            "id": utterance.id,
            "speaker": utterance.speaker,
            "labels": utterance.labels,
            "seconds": utterance.duration,
            "audio": players.get(utterance.id),
            "heard": [
                aligned(one.references[utterance.id], one.hypotheses.get(utterance.id, "")) for one in systems
            ],
        }
        for utterance in contents.utterances
    ]
    labels = sorted({label for row in rows for label in row["labels"]})
    return {"systems": [one.name for one in systems], "labels": labels, "rows": rows}


def aligned(reference: str, hypothesis: str) -> list[Any]:
    """
    >>> aligned("no fever", "know fever now")
    [['no', 'know'], 'fever', [None, 'now']]
    """
    return [
        said if said == heard else [said, heard]
        for said, heard in align(reference.split(), hypothesis.split())
    ]


def utterances_section(contents: Contents, players: Mapping[str, str]) -> Iterator[Child]:
    data = utterance_rows(contents, players)
    yield element("noscript", element("p", "The utterances need JavaScript.", class_="note"))
    yield element("div", controls(data), id="controls", class_="controls")
    yield legend(data["systems"])
    yield element("p", id="found", role="status", class_="found")
    table = element(
        "table",
        element("caption", "Utterances", class_="unseen"),
        element("thead", element("tr", heads(data["systems"]))),
        element("tbody", id="utterance-rows"),
        id="utterance-table",
        class_="utterances",
    )
    yield table
    pager = [
        element("button", "Previous", type="button", id="previous"),
        element("span", id="position"),
        element("button", "Next", type="button", id="next"),
    ]
    yield element("nav", pager, class_="pager", aria_label="Pages of utterances")
    yield json_block("utterance-data", data)


def controls(data: Mapping[str, Any]) -> Iterator[Markup]:
    """Free text, a list for each label with a few values, what changed, how many at a time."""
    search = element("input", type="search", id="search", placeholder="words or id", autocomplete="off")
    yield element("label", "Search", search)
    rows = data["rows"]
    values = {"speaker": [row["speaker"] for row in rows]}
    values |= {label: [row["labels"].get(label, "(none)") for row in rows] for label in data["labels"]}
    for label, found in values.items():
        choices = sorted(set(found))
        if 1 < len(choices) <= MOST_CHOICES or label == "speaker":
            yield select(label, {"": "all", **{value: value for value in choices}}, data_label=label)
    shown = {key: text for key, text in SHOWN.items() if len(data["systems"]) > 1 or key in ("all", "wrong")}
    yield select("show", shown, id="shown")
    sizes = {str(size): str(size) for size in PAGE_SIZES}
    yield select("at a time", sizes, chosen="50", id="page-size")
    yield element("button", "Reset", type="button", id="reset")


def select(name: str, choices: Mapping[str, str], chosen: str = "", **attributes: str) -> Markup:
    options = [element("option", text, value=key, selected=key == chosen) for key, text in choices.items()]
    return element("label", name.capitalize(), element("select", options, **attributes))


def heads(systems: list[str]) -> Iterator[Markup]:
    """Column heads that sort; `data-key` is what page.js sorts by."""
    columns = {"id": "utterance", "speaker": "speaker", "seconds": "seconds", "words": "words"}
    columns |= {f"wer{number}": f"{name} WER %" for number, name in enumerate(systems)}
    columns |= {"change": "change"} if len(systems) > 1 else {}
    for key, text in columns.items():
        button = element("button", text, type="button", data_key=key)
        yield element("th", button, scope="col", aria_sort="ascending" if key == "id" else "none")
    yield element("th", "said and heard", scope="col", class_="texts")


def legend(systems: list[str]) -> Markup:
    return element(
        "p",
        element("ruby", "heard", element("rt", "said"), class_="substituted"),
        " substituted ",
        element("del", "deleted", class_="deleted"),
        " ",
        element("ins", "inserted", class_="inserted"),
        f" The first line is what was said{', then ' if systems else ''}{', then '.join(systems)}.",
        class_="legend-line note",
    )
