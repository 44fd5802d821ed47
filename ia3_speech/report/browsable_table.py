"""A table whose rows page.js draws a page at a time: it can be sorted by its columns, searched and filtered.

In: the columns, and the rows as a JSON value. Out: controls, an empty table, a pager and the JSON. Their ids
begin with the table's name, as `browse` of page.js expects them: `word-search`, `word-rows`, `word-next`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ia3_speech.report.markup import Child, Markup, element, json_block


def browsable_table(
    name: str,
    columns: Mapping[str, str],
    data: Mapping[str, Any],
    controls: Iterable[Markup],
    *,
    placeholder: str,
    note: Child = None,
    sorted_by: tuple[str, str],
    unsorted: Iterable[str] = (),
) -> Iterator[Markup]:
    """Controls, table, pager and data.

    Args:
        name: of a row: `utterance` or `word`.
        columns: the key that page.js sorts by → the column's head.
        data: what page.js reads.
        controls: fields and lists, between the search field and the reset button.
        placeholder: what can be searched for.
        note: above the table.
        sorted_by: the key that the rows are sorted by at first, and `ascending` or `descending`.
        unsorted: heads of further columns, which do not sort.
    """
    yield element("noscript", element("p", f"The table of {name}s needs JavaScript.", class_="note"))
    field = element("input", type="search", id=f"{name}-search", placeholder=placeholder, autocomplete="off")
    reset = element("button", "Reset", type="button", id=f"{name}-reset")
    parts = [element("label", "Search", field), *controls, reset]
    yield element("div", parts, id=f"{name}-controls", class_="controls")
    if note:
        yield element("p", note, class_="legend-line note")
    yield element("p", id=f"{name}-found", role="status", class_="found")
    heads = [sort_head(key, text, sorted_by) for key, text in columns.items()]
    heads += [element("th", text, scope="col") for text in unsorted]
    yield element(
        "table",
        element("caption", f"{name}s".capitalize(), class_="unseen"),
        element("thead", element("tr", heads)),
        element("tbody", id=f"{name}-rows"),
        id=f"{name}-table",
        class_=f"browsable {name}s",
    )
    pager = [
        element("button", "Previous", type="button", id=f"{name}-previous"),
        element("span", id=f"{name}-position"),
        element("button", "Next", type="button", id=f"{name}-next"),
    ]
    yield element("nav", pager, class_="pager", aria_label=f"Pages of {name}s")
    yield json_block(f"{name}-data", data)


def sort_head(key: str, text: str, sorted_by: tuple[str, str]) -> Markup:
    way = sorted_by[1] if key == sorted_by[0] else "none"
    return element("th", element("button", text, type="button", data_key=key), scope="col", aria_sort=way)


def select_element(name: str, choices: Mapping[str, str], chosen: str = "", **attributes: str) -> Markup:
    """A list to choose from, with its label. choices: value → text."""
    options = [element("option", text, value=key, selected=key == chosen) for key, text in choices.items()]
    return element("label", name.capitalize(), element("select", options, **attributes))
