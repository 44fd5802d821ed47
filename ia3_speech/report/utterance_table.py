"""The table of utterances: the reference and each system's aligned hypothesis; page.js draws the rows.

In: report data and players. Out: a browsable table, whose rows are JSON, and the same as a `Table`:

    {"systems": ["base", "ia3"], "labels": ["accent"],
     "rows": [{"id", "speaker", "labels", "seconds", "audio", "alignments": [[…], […]]}, …]}

Each system's alignment is a list of: a word (correct), [reference, hypothesis] (substitution), [reference,
null] (deletion) and [null, hypothesis] (insertion), aligned as in Kaldi's per_utt.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ia3_speech.report.browsable_table import browsable_table, select_element
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.report_data import ReportData
from ia3_speech.report.table import Rate, Table
from ia3_speech.scoring.alignment import Pair

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
    rows = [
        {
            "id": utterance.id,
            "speaker": utterance.speaker,
            "labels": utterance.labels,
            "seconds": utterance.duration,
            "audio": players.get(utterance.id),
            "alignments": [compact_alignment(one.alignments[utterance.id]) for one in report.systems],
        }
        for utterance in report.utterances
    ]
    labels = sorted({label for row in rows for label in row["labels"]})
    return {"systems": [one.name for one in report.systems], "labels": labels, "rows": rows}


def compact_alignment(pairs: Sequence[Pair]) -> list[Any]:
    """
    >>> compact_alignment([("no", "know"), ("fever", "fever"), (None, "now")])
    [['no', 'know'], 'fever', [None, 'now']]
    """
    return [
        reference if reference == hypothesis else [reference, hypothesis] for reference, hypothesis in pairs
    ]


def utterances_section(report: ReportData, players: Mapping[str, str]) -> Iterator[Child]:
    data = utterance_rows(report, players)
    systems = data["systems"]
    columns = {"id": "utterance", "speaker": "speaker", "seconds": "seconds", "words": "words"}
    columns |= {f"wer{index}": f"{name} WER %" for index, name in enumerate(systems)}
    columns |= {"change": "change of errors"} if len(systems) > 1 else {}
    yield from browsable_table(
        "utterance",
        columns,
        data,
        controls(data),
        placeholder='words, an id, "a phrase"',
        note=colour_legend(systems),
        sorted_by=("id", "ascending"),
    )


def utterances_table(report: ReportData) -> Table:
    """The same for files: labels have columns, and texts are not aligned."""
    systems, rows = report.systems, []
    labels = sorted({label for one in report.utterances for label in one.labels})
    for one in report.utterances:
        errors = [sum(a != b for a, b in system.alignments[one.id]) for system in systems]
        reference = report.system.references[one.id]
        words = len(reference.split())
        rates = [Rate(count / words if words else None) for count in errors]
        texts = [reference, *(system.hypotheses.get(one.id, "") for system in systems)]
        labelled = [one.id, one.speaker, *(one.labels.get(label) for label in labels)]
        rows.append([*labelled, one.duration, words, *rates, *texts])
    names = [one.name for one in systems]
    head = ["utterance", "speaker", *labels, "seconds", "words", *(f"{name} WER %" for name in names)]
    return Table("utterances", "Utterances", [*head, "reference", *names], rows)


def controls(data: Mapping[str, Any]) -> Iterator[Markup]:
    """A list of values for each label, a filter by change, and the page size."""
    rows = data["rows"]
    values = {"speaker": [row["speaker"] for row in rows]}
    values |= {label: [row["labels"].get(label, "(none)") for row in rows] for label in data["labels"]}
    for label, found in values.items():
        choices = sorted(set(found))
        if 1 < len(choices) <= MAX_CHOICES or label == "speaker":
            yield select_element(label, {"": "all", **{value: value for value in choices}}, data_label=label)
    several = len(data["systems"]) > 1
    filters = {key: text for key, text in FILTERS.items() if several or key in ("all", "wrong")}
    yield select_element("show", filters, id="utterance-shown")
    sizes = {str(size): str(size) for size in PAGE_SIZES}
    yield select_element("rows per page", sizes, chosen="50", id="utterance-page-size")


def colour_legend(systems: list[str]) -> list[Child]:
    """What the colours of errors mean, and the order of the texts."""
    return [
        element("ruby", "hypothesis", element("rt", "reference"), class_="substituted"),
        " substitution, ",
        element("del", "word", class_="deleted"),
        " deletion, ",
        element("ins", "word", class_="inserted"),
        f" insertion. Each utterance shows the reference, then {', then '.join(systems)}.",
    ]
