"""What the commands print: tables for people, in colour on a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest

from rich import box
from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from receiver.bandwidth.error_codes import explain
from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus
from receiver.core.text import one_line
from receiver.maintenance.doctor import Finding, Mark
from receiver.messages.report import MessageReport, RecipientReport
from receiver.reports.find import Found, FoundBy
from receiver.reports.messages import EventReport, ResolutionReport
from receiver.reports.progress import Summary

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
    Mark.OK: "green",
    Mark.WARNING: "yellow",
    Mark.WRONG: "red",
    Mark.SKIPPED: "dim",
}

SENTENCES = "what that means"
"""The one column of sentences."""

TO_COPY = ("tag", "recipient", "code", "event", "from", "to", "our number", "day")
"""Columns that are never broken, however narrow the terminal."""

WORDS = {
    "status": "unconfirmed",
    "created": "2026-11-21",
    "said": "2026-11-21",
    "since": "2026-11-21",
    "overdue since": "2026-11-21",
    SENTENCES: "rejected-routing-error:",
}
"""Columns that are broken between words only, and a long word of each."""


def show_message(console: Console, message: MessageReport) -> None:
    """The message itself, and who got it."""
    facts = {
        "tag": message.tag,
        "reference": message.reference,
        "message id": " ".join(message.message_ids) + (" (sent twice)" if message.sent_twice else ""),
        "from": message.sender,
        "created": f"{_second(message.created_at)} UTC",
        "asked by": message.asked_by,
        "text": message.text,
        "media": " ".join(message.media),
        "redacted": message.redacted_at and f"{_second(message.redacted_at)} UTC",
        "send status": _coloured(message.send_status),
        "refused because": message.refused_because,
        "error": _error(message),
        "complete": "yes" if message.complete else "no",
    }
    for name, fact in facts.items():
        if fact:
            console.print(Text(f"{name:>16}  ", style="bold").append_text(_text(fact)))
    _print(console, _recipients(message.recipients))


def show_resolutions(console: Console, resolutions: Sequence[ResolutionReport]) -> None:
    """What people decided about the message; nothing if nobody had to."""
    table = _table("decided", "send status", "by", "reason", title="Resolutions")
    for each in resolutions:
        _add_row(table, f"{_second(each.resolved_at)} UTC", _coloured(each.send_status), each.resolved_by, each.reason)
    if resolutions:
        _print(console, table)


def show_events(console: Console, events: Sequence[EventReport]) -> None:
    """Every event, in the order of arrival, and what it was to its recipient; ×3 is one that came three times."""  # noqa: RUF002
    table = _table("received", "lag", "event", "recipient", "code", "disposition", title="Timeline")
    for event in events:
        _add_row(
            table,
            f"{event.first_received_at:%m-%d %H:%M:%S}",
            _lag(event),
            event.type + (f" ×{event.deliveries}" if event.deliveries > 1 else ""),  # noqa: RUF001
            event.to or "(none)",
            event.error_code or "",
            _coloured(event.disposition),
        )
    _print(console, table)


def show_found(console: Console, found: Sequence[Found]) -> None:
    """As what it was found, and a line for each recipient in question."""
    names = dict.fromkeys(name for each in found for name in each.by)
    console.print(Text(f"Found as {' and '.join(MEANINGS[name] for name in names)}."), soft_wrap=True)
    table = _table("created", "tag", "reference", "recipient", "status")
    for each in found:
        sent = _unless_accepted(each.message.send_status)
        for recipient in each.recipients:
            _add_row(
                table,
                _second(each.message.created_at),
                each.message.tag,
                each.message.reference or "",
                recipient.to,
                _outcome(recipient).append(f" {recipient.error_code}" if recipient.error_code else "").append(sent),
            )
    _print(console, table)


def show_results(console: Console, messages: Sequence[MessageReport]) -> None:
    """A line for each recipient of these messages."""
    table = _table("reference", "recipient", "status", "code", SENTENCES)
    for message in messages:
        sent = _unless_accepted(message.send_status)
        for each in message.recipients:
            _add_row(
                table,
                message.reference or "",
                each.to,
                _outcome(each).append(sent),
                each.error_code or "",
                _meaning(each),
            )
    _print(console, table)


MEANINGS = {
    FoundBy.TAG: "tag",
    FoundBy.REFERENCE: "reference",
    FoundBy.MESSAGE_ID: "message id",
    FoundBy.TO: "recipient",
    FoundBy.TO_ENDING: "last digits of a recipient",
    FoundBy.FROM: "sender",
}


def show_rows(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The result of a query."""
    table = _table(*columns)
    for row in rows:
        cells = ("" if value is None else value for value in row)
        _add_row(table, *map(_cell, columns, cells))
    _print(console, table)


def _cell(column: str, value: object) -> object:
    if isinstance(value, datetime):
        return _second(value)
    return _coloured(str(value)) if column == "status" else value


def show_finding(console: Console, finding: Finding) -> None:
    """What the doctor found, in one line however long it is."""
    line = Text(f"{finding.mark:<8} ", style=COLOURS[finding.mark])
    line.append_text(Text(f"{finding.check}: ", style="bold")).append_text(_text(finding.found))
    if finding.remedy:
        line.append_text(Text(" -> ")).append_text(_text(finding.remedy))
    console.print(line, soft_wrap=True)


def summary_line(summary: Summary) -> str:
    """How far some messages are, in one line."""
    overdue = f"; overdue: {summary.overdue}" if summary.overdue else ""
    return (
        f"messages: {_listed(summary.messages)}; recipients: {_listed(summary.recipients)};"
        f" complete: {summary.total - summary.open} of {summary.total}{overdue}"
    )


def _listed(counts: Mapping[SendStatus, int] | Mapping[RecipientStatus, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def summary_panel(summary: Summary) -> Group:
    """How far some messages are, to be drawn over and over."""
    table = _table("send status", "messages", "status", "recipients")
    for sent, came in zip_longest(summary.messages.items(), summary.recipients.items(), fillvalue=("", "")):
        _add_row(table, _coloured(sent[0]), sent[1], _coloured(came[0]), came[1])
    done = Text(f"{summary.total - summary.open} of {summary.total} complete")
    overdue = Text(f"{summary.overdue} overdue" if summary.overdue else "", style="yellow")
    bar = ProgressBar(total=summary.total or 1, completed=summary.total - summary.open, width=40)
    return Group(table, Columns([bar, done, overdue]))


def _recipients(recipients: Sequence[RecipientReport]) -> Table:
    table = _table("recipient", "status", "confirmed by", "code", SENTENCES, title="Recipients")
    for each in recipients:
        _add_row(
            table,
            each.to,
            _outcome(each),
            each.confirmed_by or "",
            each.error_code or "",
            _meaning(each),
        )
    return table


def _outcome(recipient: RecipientReport) -> Text:
    return _coloured(recipient.status).append(" overdue" if recipient.overdue else "", style="yellow")


def _unless_accepted(send_status: SendStatus) -> Text:
    return Text() if send_status is SendStatus.ACCEPTED else Text(", message ").append_text(_coloured(send_status))


def _second(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def _meaning(recipient: RecipientReport) -> str:
    if recipient.error_code is None:
        return recipient.description or ""
    error = explain(recipient.error_code)
    return f"{error.name or error.category}: {error.reason} {error.advice}"


def _error(message: MessageReport) -> str:
    if message.error is None:
        return ""
    parts = (message.error.status, message.error.type, message.error.description)
    return " ".join(str(part) for part in parts if part is not None)


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in TO_COPY, overflow="fold")
    return table


def _print(console: Console, table: Table) -> None:
    """The widest columns give way first, none below its longest word. Nothing is cut off: a terminal that is still too
    narrow continues a line on its next."""
    widths = [max(cell_len(str(cell)) for cell in (each.header, *each.cells)) for each in table.columns]
    between = 2 * len(widths) + 1
    for longest_word in (_longest_word, _least):  # no word is broken unless there is no room for whole ones
        least = [
            width if each.no_wrap else min(width, longest_word(each))
            for each, width in zip(table.columns, widths, strict=True)
        ]
        while sum(widths) + between > console.width and widths != least:
            widest = max((width, place) for place, width in enumerate(widths) if width > least[place])[1]
            widths[widest] -= 1
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    table.width = sum(widths) + between
    if console.is_terminal:
        console.print(table, crop=False)
        return
    with console.capture() as captured:
        console.print(table, crop=False)
    for line in captured.get().splitlines():  # which rich fills up with blanks
        console.file.write(f"{line.rstrip()}\n")


def _longest_word(column: Column) -> int:
    return max((cell_len(word) for cell in column.cells for word in str(cell).split()), default=0) or _least(column)


def _least(column: Column) -> int:
    name = str(column.header)
    return max(map(len, WORDS.get(name, name).split()))


def _add_row(table: Table, *cells: object) -> None:
    """Never as text, in which rich would look for its own markup: what Bandwidth said may hold brackets."""
    table.add_row(*map(_text, cells))


def _coloured(word: str) -> Text:
    return Text(word, style=COLOURS.get(word, ""))


def _text(value: object) -> Text:
    return value if isinstance(value, Text) else Text(one_line(str(value)))


def _lag(event: EventReport) -> str:
    """How long the event was on its way to us."""
    if event.occurred_at is None:
        return ""
    seconds = (event.first_received_at - event.occurred_at).total_seconds()
    for unit, length in (("h", 3600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"
