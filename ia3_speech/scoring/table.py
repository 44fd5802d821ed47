"""A table of rates, counts and texts, and its renderings: terminal, Markdown, CSV.

In: a `Table`. Out: text. A rate is a fraction and is written in percent; a missing rate is `–`. The report
renders the same tables as HTML (templates/macros.html.jinja), the model card as Markdown.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ia3_speech.common.formatting import MISSING, in_columns, interval, percent, with_interval

Bounds = Sequence[float] | None  # lower and upper bound of an interval, as score.json has it
CSV_DIGITS = 4  # of a percentage
INTERVAL = "[95 % interval]"


@dataclass(frozen=True)
class Rate:
    """A rate, or a change of a rate."""

    value: float | None  # a fraction; None if it does not exist
    bounds: Bounds = None  # its 95 % interval, if it has any
    signed: bool = False  # it is a change, which is written with its sign
    digits: int = 1  # after the decimal point; CSV always has CSV_DIGITS

    def __str__(self) -> str:
        """`45.7 [40.1, 51.3]`; `–` without a value."""
        return with_interval(self.value, self.bounds, self.digits, self.signed)

    @property
    def parts(self) -> tuple[str, str]:
        """`45.7` and `[40.1, 51.3]`; the second is empty without an interval."""
        bounds = self.bounds if self.value is not None else None
        return percent(self.value, self.digits, self.signed), interval(bounds, self.digits, self.signed)


Cell = str | int | float | Rate | None


@dataclass(frozen=True)
class Table:
    """A table of cells, which renders itself."""

    name: str  # of its file, without the suffix
    caption: str  # its subject
    head: Sequence[str]  # the columns' names; the first column has the rows' names
    rows: Sequence[Sequence[Cell]]  # a cell for each column

    def csv(self) -> str:
        """Comma-separated values (RFC 4180): rates in percent, a column for each bound, empty if missing.

        system,WER %,WER % low,WER % high
        ia3_plus,41.5013,37.1200,45.0321
        """
        columns: list[Sequence[str]] = []
        for head, cells, with_bounds in self.columns():
            heads = [head, f"{head} low", f"{head} high"] if with_bounds else [head]
            columns += zip(heads, *(csv_values(cell, with_bounds) for cell in cells), strict=True)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
        return text.getvalue()

    @property
    def markdown(self) -> str:
        """A Markdown table, without the caption."""
        return markdown_table(self.head, self.rows)

    def terminal(self) -> str:
        """Columns of text; an interval has a separate column. A rate has two digits, a change one.

                  words  WER %  [95 % interval]
        all          14  35.71   [25.00, 66.67]
        """

        def parts(cell: Cell) -> tuple[str, str]:
            if not isinstance(cell, Rate):
                return cell_text(cell), ""
            return cell.parts if cell.signed else replace(cell, digits=2).parts

        columns = []
        for head, cells, with_bounds in self.columns():
            texts, bounds = zip(*map(parts, cells), strict=True)
            columns.append([head, *texts])
            if with_bounds:
                columns.append([INTERVAL, *(text or MISSING for text in bounds)])
        return "".join(f"{line}\n" for line in in_columns(zip(*columns, strict=True)))

    def columns(self) -> Iterator[tuple[str, list[Cell], bool]]:
        """For each column its head, its cells, and whether any cell has an interval."""
        for number, head in enumerate(self.head):
            cells = [row[number] for row in self.rows]
            yield head, cells, any(isinstance(cell, Rate) and bool(cell.bounds) for cell in cells)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table, the first column to the left and the others to the right; empty without rows.

    | system | WER % |
    | --- | ---: |
    | ia3_plus | 41.5 [37.1, 45.0] |
    """
    if not rows:
        return ""
    texts = [
        [str(cell) if isinstance(cell, Rate) else markdown_text(cell_text(cell)) for cell in row]
        for row in (head, *rows)
    ]
    texts.insert(1, ["---", *["---:"] * (len(head) - 1)])
    return "".join(f"| {' | '.join(line)} |\n" for line in texts)


def markdown_text(text: object) -> str:
    r"""Text on one line that has no effect as Markdown. A `_` within a word never has an effect.

    >>> print(markdown_text("a|b\n_emphasis_ of ia3_plus"))
    a\|b \_emphasis\_ of ia3_plus
    """
    return re.sub(r"([\\`*\[\]<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(str(text).split()))


def cell_text(cell: Cell) -> str:
    """`41.5 [37.1, 45.0]`, `1,234`, `0.25`, `text`; `–` for None."""
    if isinstance(cell, int | float):
        return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.6g}"
    return MISSING if cell is None else str(cell)


def csv_values(cell: Cell, with_bounds: bool) -> Iterator[str]:
    """The cell as a single value, or as three values, with the bounds of its interval."""
    if isinstance(cell, Rate):
        values = [cell.value, *(cell.bounds or (None, None))][: 3 if with_bounds else 1]
        yield from ("" if value is None else f"{100 * value:.{CSV_DIGITS}f}" for value in values)
    else:
        yield "" if cell is None else str(cell)
        yield from ("", "") if with_bounds else ()
