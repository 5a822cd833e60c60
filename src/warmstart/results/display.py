"""Display: how does a result look in a notebook and at a prompt, and how does it become a table?

A result says what is shown (`Display`); this module writes it as HTML or as text. The HTML is escaped and has no
scripts: names of regimes and columns come from other people's data.
"""

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from warmstart.errors import MissingError

if TYPE_CHECKING:
    import pandas as pd

MAX_LINES = 40  # of a table; the rest is counted
MAX_CELL = 80  # characters at a prompt
PADDING = "padding:2px 10px"


@dataclass(frozen=True)
class Display:
    """What is shown of a result."""

    headline: str  # the verdict
    columns: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()  # of the table, one cell for each column
    notes: tuple[str, ...] = ()  # sentences below the table
    numbers: bool = True  # in all columns but the first, which are aligned to the right then


class Tabular:
    """A result that notebooks and prompts show as a table."""

    @abstractmethod
    def to_table(self) -> pa.Table:
        """The same data as a table with typed columns."""

    @abstractmethod
    def _display(self) -> Display:
        """What is shown."""

    def to_frame(self) -> "pd.DataFrame":
        """`to_table` as a pandas DataFrame. Raises MissingError where pandas is not installed."""
        if importlib.util.find_spec("pandas") is None:
            raise MissingError("pandas is not installed.", "pip install pandas, or use to_table(), a pyarrow.Table")
        return self.to_table().to_pandas()

    def _repr_html_(self) -> str:
        return display_as_html(self._display())

    def __repr__(self) -> str:
        return display_as_text(self._display())


def table_of_rows(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    """A table with these columns, in this order, from mappings that may have more or fewer keys."""
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})


def display_as_html(shown: Display) -> str:
    """An HTML fragment with the headline first."""
    parts = [f'<p style="margin:4px 0"><strong>{_html(shown.headline)}</strong></p>']
    if shown.columns:
        lines = shown.lines[:MAX_LINES]
        head, *body = (f"<tr>{_cells(tag, line, shown.numbers)}</tr>" for tag, line in _tagged(shown.columns, lines))
        parts.append(f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>")
    parts += [f'<p style="margin:4px 0">{_html(note)}</p>' for note in (*_more(shown), *shown.notes)]
    return f"<div>{''.join(parts)}</div>"


def display_as_text(shown: Display) -> str:
    """Text for a terminal: columns as wide as their contents."""
    lines = [tuple(_shortened(_printable(cell)) for cell in line) for line in (shown.columns, *shown.lines[:MAX_LINES])]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    table = []
    for line in lines if shown.columns else ():
        padded = zip(line, widths, strict=True)
        cells = [
            cell.rjust(width) if at and shown.numbers else cell.ljust(width) for at, (cell, width) in enumerate(padded)
        ]
        table.append("  ".join(cells).rstrip())
    return "\n".join([_printable(shown.headline), *table, *map(_printable, (*_more(shown), *shown.notes))])


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def _more(shown: Display) -> tuple[str, ...]:
    left = len(shown.lines) - MAX_LINES
    return (f"{left:,} more in to_table().",) if left > 0 else ()


def _tagged(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return [("th", columns), *(("td", line) for line in lines)]


def _cells(tag: str, texts: Sequence[str], numbers: bool) -> str:
    sides = ("right" if at and numbers else "left" for at in range(len(texts)))
    return "".join(
        f'<{tag} style="text-align:{side};{PADDING}">{_html(text)}</{tag}>'
        for side, text in zip(sides, texts, strict=True)
    )


def _html(text: str) -> str:
    return escape(_printable(text), quote=True)


def _printable(text: str) -> str:
    """On one line, with control characters and direction marks escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
