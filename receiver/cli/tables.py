"""Tables for people: in colour on a terminal, and one line for every row in a pipe.

The widths of columns are calculated here and not by rich, which disregards `min_width` when it shrinks the widest
columns, and widens them again afterwards: tables of unbroken words became wider than a terminal into which they fit.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus
from receiver.core.text import one_line

COLOURS: dict[str, str] = {
    RecipientStatus.DELIVERED: "green",
    RecipientStatus.FAILED: "red",
    RecipientStatus.NOT_SENT: "red",
    RecipientStatus.UNCONFIRMED: "yellow",
    SendStatus.ACCEPTED: "green",
    SendStatus.REFUSED: "red",
    SendStatus.UNKNOWN: "yellow",
    Disposition.APPLIED: "green",
    Disposition.EXTRANEOUS: "magenta",
    Disposition.CONFLICTING: "magenta",
    Disposition.SUPERSEDED: "dim",
}

MEANING = "what that means"
"""The heading of the column that explains an outcome in sentences."""

UNBROKEN = ("tag", "recipient", "code", "event", "from", "to", "our number", "day")
"""Columns whose cells are never broken, however narrow the terminal, because people copy them."""

LONG_WORDS = {
    "status": "unconfirmed",
    "created": "2026-11-21",
    "time": "2026-11-21",
    "since": "2026-11-21",
    "overdue since": "2026-11-21",
    MEANING: "rejected-routing-error:",
}
"""A long word of each column whose words are not broken, however narrow the terminal."""


def print_rows(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table with these headings. A cell is text, a number, a time or None; a row may lack its last cells."""
    table = new_table(*columns)
    for row in rows:
        add_row(table, *(_cell(column, value) for column, value in zip(columns, row, strict=False)))
    print_table(console, table)


def _cell(column: str, value: object) -> object:
    if isinstance(value, datetime):
        return second(value)
    return coloured(str(value)) if column == "status" and value is not None else value


def new_table(*columns: str, title: str | None = None) -> Table:
    """An empty table with these headings."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in UNBROKEN, overflow="fold")
    return table


def add_row(table: Table, *cells: object) -> None:
    """Adds a row of untrusted values, in which rich finds no markup and the terminal no escape sequences."""
    table.add_row(*map(as_text, cells))


def as_text(value: object) -> Text:
    """An untrusted value as one line of text without markup or escape sequences; None is empty."""
    return value if isinstance(value, Text) else Text("" if value is None else one_line(str(value)))


def coloured(word: str) -> Text:
    """A status or disposition in its colour."""
    return Text(word, style=COLOURS.get(word, ""))


def second(instant: datetime) -> str:
    """A time to the second, without its zone."""
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def print_table(console: Console, table: Table) -> None:
    """Prints a table as wide as the terminal if possible. Nothing is cut off: on a terminal that is too narrow even so,
    a line continues on the next."""
    _fit(table, console.width)
    if console.is_terminal:
        console.print(table, crop=False)
        return
    with console.capture() as captured:
        console.print(table, crop=False)
    for line in captured.get().splitlines():
        console.file.write(f"{line.rstrip()}\n")  # rich pads lines with blanks


def _fit(table: Table, room: int) -> None:
    """Shrinks the widest columns first, and none below its longest word unless there is no other way."""
    widths = [max(cell_len(str(cell)) for cell in (each.header, *each.cells)) for each in table.columns]
    between = 2 * len(widths) + 1
    for narrowest in (_longest_word, _shortest_width):
        least = [
            width if each.no_wrap else min(width, narrowest(each))
            for each, width in zip(table.columns, widths, strict=True)
        ]
        while sum(widths) + between > room and widths != least:
            widest = max((width, place) for place, width in enumerate(widths) if width > least[place])[1]
            widths[widest] -= 1
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    table.width = sum(widths) + between


def _longest_word(column: Column) -> int:
    """The width of the longest word in the column."""
    words = (word for cell in column.cells for word in str(cell).split())
    return max(map(cell_len, words), default=0) or _shortest_width(column)


def _shortest_width(column: Column) -> int:
    """The width below which the column is not legible."""
    heading = str(column.header)
    return max(map(len, LONG_WORDS.get(heading, heading).split()))
