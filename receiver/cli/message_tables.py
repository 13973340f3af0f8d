"""Tables about a message that several commands print: its facts, its recipients, its resolutions and its events."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from receiver.bandwidth.error_codes import explain
from receiver.cli.tables import MEANING, add_row, as_text, coloured, new_table, print_table, second
from receiver.core.send_status import SendStatus
from receiver.messages.report import MessageReport, RecipientReport
from receiver.reports.messages import EventReport, ResolutionReport


def print_message(console: Console, message: MessageReport) -> None:
    """Prints the facts about a message, and a table of its recipients."""
    facts = {
        "tag": message.tag,
        "reference": message.reference,
        "message id": " ".join(message.message_ids) + (" (sent twice)" if message.sent_twice else ""),
        "from": message.sender,
        "created": f"{second(message.created_at)} UTC",
        "asked by": message.asked_by,
        "text": message.text,
        "media": " ".join(message.media),
        "redacted": message.redacted_at and f"{second(message.redacted_at)} UTC",
        "send status": coloured(message.send_status),
        "refused because": message.refused_because,
        "error": _error(message),
        "complete": "yes" if message.complete else "no",
    }
    for name, fact in facts.items():
        if fact:
            console.print(Text(f"{name:>16}  ", style="bold").append_text(as_text(fact)))
    table = new_table("recipient", "status", "confirmed by", "code", MEANING, title="Recipients")
    for each in message.recipients:
        add_row(table, each.to, outcome(each), each.confirmed_by, each.error_code, meaning(each))
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
        add_row(table, f"{second(each.resolved_at)} UTC", coloured(each.send_status), each.resolved_by, each.reason)
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
            coloured(event.disposition),
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


def outcome(recipient: RecipientReport) -> Text:
    """A recipient's status, and whether it is overdue."""
    return coloured(recipient.status).append(" overdue" if recipient.overdue else "", style="yellow")


def unless_accepted(send_status: SendStatus) -> Text:
    """Returns the words that follow a recipient's outcome if the message itself was not accepted."""
    return Text() if send_status is SendStatus.ACCEPTED else Text(", message ").append_text(coloured(send_status))


def meaning(recipient: RecipientReport) -> str:
    """Returns the meaning of a recipient's error code and what to do; without a code, Bandwidth's description."""
    if recipient.error_code is None:
        return recipient.description or ""
    error = explain(recipient.error_code)
    return f"{error.name or error.category}: {error.reason} {error.advice}"
