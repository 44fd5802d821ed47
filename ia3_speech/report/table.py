"""A table in its three forms: HTML in the page, CSV and Markdown beside it.

In: a `Table` of counts, rates and texts. Out: markup, or the text of a file. A rate is a fraction and is
written in percent. CSV (RFC 4180) has a column for each number, so that an interval takes two more:

    system,WER %,WER % low,WER % high
    ia3,41.5013,37.1200,45.0321
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from ia3_speech.adapters.card import escape_markdown
from ia3_speech.experiments.markdown import table as markdown_table
from ia3_speech.formatting import MISSING, interval, percent
from ia3_speech.report.markup import Child, Markup, element

Bounds = Sequence[float] | None  # of an interval, as score.json has it
CSV_DIGITS = 4  # of a percentage


@dataclass(frozen=True)
class Rate:
    """A rate, or a change of one.

    Attributes:
        value: a fraction; None where there is none.
        bounds: its 95 % interval; None without one.
        signed: it is a change, which is written with its sign.
        style: its CSS class in the page.
        digits: after the decimal point, in the page and in Markdown.
    """

    value: float | None
    bounds: Bounds = None
    signed: bool = False
    style: str | None = None
    digits: int = 1

    @property
    def shown(self) -> tuple[str, str]:
        """`45.7` and `[40.1, 51.3]`, with a true minus sign; the interval may be empty."""
        if self.value is None:
            return MISSING, ""
        texts = (
            percent(self.value, self.digits, self.signed),
            interval(self.bounds, self.digits, self.signed),
        )
        return true_minus(texts[0]), true_minus(texts[1])


Cell = str | int | float | Rate | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of its files, without a suffix.
        caption: what it shows.
        head: the columns' names; the first column holds the names of the rows.
        rows: a cell for each column.
    """

    name: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def html(self) -> Markup:
        """The table in a region of its own. Where a table of many columns is short of width, page.css draws
        each row as a list, in which `data-head` names the numbers."""
        lines = []
        for first, *cells in self.rows:
            made = [
                element("td", element("span", cell_markup(cell)), class_="number", data_head=name)
                for name, cell in zip(self.head[1:], cells, strict=True)
            ]
            lines.append(element("tr", element("th", cell_markup(first), scope="row"), made))
        heads = [element("th", text, scope="col") for text in self.head]
        parts = [element("thead", element("tr", heads)), element("tbody", lines)]
        many = "many" if len(self.head) > 5 else None
        return scrolling(element("table", element("caption", self.caption), parts, class_=many), self.caption)

    def csv(self) -> str:
        """Comma-separated values: rates in percent, bounds in columns of their own, nothing where missing."""
        wide = [
            any(isinstance(row[column], Rate) and row[column].bounds for row in self.rows)
            for column in range(len(self.head))
        ]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = [[head, f"{head} low", f"{head} high"][: 3 if three else 1]
                 for head, three in zip(self.head, wide, strict=True)]  # fmt: skip
        writer.writerow(chain.from_iterable(heads))
        for row in self.rows:
            writer.writerow(
                value for cell, three in zip(row, wide, strict=True) for value in csv_values(cell, three)
            )
        return text.getvalue()

    def markdown(self) -> str:
        """A Markdown table below its caption."""
        head, *rows = ([escape_markdown(cell_text(cell)) for cell in row] for row in (self.head, *self.rows))
        return f"{escape_markdown(self.caption)}\n\n{markdown_table(head, rows)}"


def scrolling(table: Markup, label: str) -> Markup:
    """A region in which a table that is too wide scrolls, and which the keyboard can reach."""
    return element("div", table, class_="wide", tabindex="0", role="region", aria_label=label)


def true_minus(text: str) -> str:
    """`−13.6` instead of `-13.6`."""
    return text.replace("-", "−")


def cell_markup(cell: Cell) -> Child:
    """A cell of the page: an interval is set apart, so that page.css can move it below its rate."""
    if not isinstance(cell, Rate):
        return cell_text(cell)
    value, bounds = cell.shown
    return [element("span", value, class_=cell.style) if cell.style else value, bounds_span(bounds)]


def bounds_span(text: str) -> Markup | None:
    """An interval behind its rate."""
    return element("span", f" {text}", class_="bounds") if text else None


def cell_text(cell: Cell) -> str:
    if isinstance(cell, Rate):
        return " ".join(filter(None, cell.shown))
    if isinstance(cell, int | float):
        return true_minus(f"{cell:,.0f}" if isinstance(cell, int) else f"{cell:,.6g}")
    return MISSING if cell is None else cell


def csv_values(cell: Cell, three: bool) -> Iterator[str]:
    """The cell as one value, or three."""
    if isinstance(cell, Rate):
        numbers = [cell.value, *(cell.bounds or (None, None))][: 3 if three else 1]
        yield from ("" if one is None else f"{100 * one:.{CSV_DIGITS}f}" for one in numbers)
    else:
        yield "" if cell is None else str(cell)
        yield from ("", "") if three else ()
