"""Tables for people, also those about a message: in colour on a terminal, and one line for every row in a pipe.

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

from receiver.bandwidth.error_codes import explain
from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus
from receiver.core.text import one_line
from receiver.messages.outbox import MessageReport, RecipientReport
from receiver.reports.messages import EventReport, ResolutionReport

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

MEANING = "meaning"
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
        return format_time(value)
    return colour(str(value)) if column == "status" and value is not None else value


def new_table(*columns: str, title: str | None = None) -> Table:
    """An empty table with these headings."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in UNBROKEN, overflow="fold")
    return table


def add_row(table: Table, *cells: object) -> None:
    """Adds a row of untrusted values, in which rich finds no markup and the terminal no escape sequences."""
    table.add_row(*map(to_text, cells))


def to_text(value: object) -> Text:
    """An untrusted value as one line of text without markup or escape sequences; None is empty."""
    return value if isinstance(value, Text) else Text("" if value is None else one_line(str(value)))


def colour(word: str) -> Text:
    """A status or disposition in its colour."""
    return Text(word, style=COLOURS.get(word, ""))


def format_time(instant: datetime) -> str:
    """A time to the second, without its zone."""
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def print_table(console: Console, table: Table) -> None:
    """Prints a table as wide as the terminal if possible. Nothing is cut off: on a terminal that is too narrow even so,
    a line continues on the next."""
    _fit_to_width(table, console.width)
    if console.is_terminal:
        console.print(table, crop=False)
        return
    with console.capture() as captured:
        console.print(table, crop=False)
    for line in captured.get().splitlines():
        console.file.write(f"{line.rstrip()}\n")  # rich pads lines with blanks


def _fit_to_width(table: Table, room: int) -> None:
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


def print_message(console: Console, message: MessageReport) -> None:
    """Prints the facts about a message, and a table of its recipients."""
    facts = {
        "tag": message.tag,
        "reference": message.reference,
        "message id": " ".join(message.message_ids) + (" (sent twice)" if message.sent_twice else ""),
        "from": message.sender,
        "created": f"{format_time(message.created_at)} UTC",
        "requested by": message.asked_by,
        "text": message.text,
        "media": " ".join(message.media),
        "redacted": message.redacted_at and f"{format_time(message.redacted_at)} UTC",
        "send status": colour(message.send_status),
        "refused because": message.refused_because,
        "error": _error(message),
        "complete": "yes" if message.complete else "no",
    }
    for name, fact in facts.items():
        if fact:
            console.print(Text(f"{name:>16}  ", style="bold").append_text(to_text(fact)))
    table = new_table("recipient", "status", "confirmed by", "code", MEANING, title="Recipients")
    for each in message.recipients:
        add_row(table, each.to, format_outcome(each), each.confirmed_by, each.error_code, explain_outcome(each))
    print_table(console, table)


def _error(message: MessageReport) -> str:
    if message.error is None:
        return ""
    parts = (message.error.status, message.error.type, message.error.description)
    return " ".join(str(part) for part in parts if part is not None)


def print_resolutions(console: Console, resolutions: Sequence[ResolutionReport]) -> None:
    """Prints a table of people's decisions about a message, if there are any."""
    if not resolutions:
        return
    table = new_table("decided", "send status", "by", "reason", title="Resolutions")
    for each in resolutions:
        add_row(table, f"{format_time(each.resolved_at)} UTC", colour(each.send_status), each.resolved_by, each.reason)
    print_table(console, table)


def print_events(console: Console, events: Sequence[EventReport]) -> None:
    """Prints a table of events in the order of arrival. An event that was delivered three times is marked ×3."""  # noqa: RUF002
    table = new_table("received", "lag", "event", "recipient", "code", "disposition", title="Timeline")
    for event in events:
        add_row(
            table,
            f"{event.first_received_at:%m-%d %H:%M:%S}",
            _lag(event),
            event.type + (f" ×{event.deliveries}" if event.deliveries > 1 else ""),  # noqa: RUF001
            event.to or "(none)",
            event.error_code,
            colour(event.disposition),
        )
    print_table(console, table)


def _lag(event: EventReport) -> str:
    """The time between the event and its arrival here."""
    if event.occurred_at is None:
        return ""
    seconds = (event.first_received_at - event.occurred_at).total_seconds()
    for unit, length in (("h", 3600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"


def format_outcome(recipient: RecipientReport) -> Text:
    """A recipient's status, and whether it is overdue."""
    return colour(recipient.status).append(" overdue" if recipient.overdue else "", style="yellow")


def note_unless_accepted(send_status: SendStatus) -> Text:
    """Returns the words that follow a recipient's outcome if the message itself was not accepted."""
    return Text() if send_status is SendStatus.ACCEPTED else Text(", message ").append_text(colour(send_status))


def explain_outcome(recipient: RecipientReport) -> str:
    """Returns the meaning of a recipient's error code and what to do; without a code, Bandwidth's description."""
    if recipient.error_code is None:
        return recipient.description or ""
    error = explain(recipient.error_code)
    return f"{error.name or error.category}: {error.reason} {error.advice}"
