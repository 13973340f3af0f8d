"""Reports of messages, of their events, and of what people decided about them, read from the tables.

``receiver.reports.support`` returns the same reports to a role that may read only the support views. One reader cannot
serve both: a role of support may read no table, and the views derive ``updated_at`` and ``complete``, so that through
them no index would serve the API's filters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from receiver.core import times
from receiver.core.events import is_storable
from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus, disposition
from receiver.database.database import Database, Session
from receiver.database.lookup import message_tagged
from receiver.database.models import Message, Recipient, StoredEvent
from receiver.errors import MessageNotFound
from receiver.messages.report import MessageReport, report_message
from receiver.reports import lookup
from receiver.reports.lookup import (
    MessageFilter,
    events_of,
    messages_by_reference,
    messages_page,
    resolutions_of,
)

PAGE_SIZE = 500
"""Messages that one query of ``results`` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReport:
    """A stored event, and its disposition by the present facts."""

    type: str
    to: str | None
    error_code: int | None
    description: str | None
    occurred_at: datetime | None
    first_received_at: datetime
    last_received_at: datetime
    deliveries: int
    disposition: Disposition
    linked_by: str | None
    source: str
    payload: str
    """The event's own JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionReport:
    """A person's decision about a message that may or may not have been sent."""

    send_status: SendStatus
    reason: str
    resolved_by: str
    resolved_at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, newest first, and the cursor of the next page; None on the last page."""

    messages: list[MessageReport]
    next_cursor: str | None


def message(database: Database, tag: str) -> MessageReport:
    """Returns the message with that tag. Raises MessageNotFound."""
    with database.read() as session:
        stored = _tagged(session, tag)
    return report_message(stored, now=times.now())


def messages(database: Database, wanted: MessageFilter, *, limit: int) -> MessagePage:
    """Returns at most ``limit`` of the messages that fit; ``wanted.after_tag`` is the cursor of the previous page."""
    now = times.now()
    with database.read() as session:
        found = messages_page(session, wanted, limit=limit + 1, now=now)
    reports = [report_message(stored, now=now) for stored in found[:limit]]
    return MessagePage(reports, reports[-1].tag if len(found) > limit else None)


def messages_by_last_digits(database: Database, digits: str, *, limit: int) -> list[MessageReport]:
    """Returns at most ``limit`` messages to a number that ends in ``digits``, newest first.

    Only the newest recipients are searched (``receiver.reports.lookup.NEWEST``).
    """
    now = times.now()
    with database.read() as session:
        found = lookup.messages_by_last_digits(session, digits, limit=limit)
    return [report_message(stored, now=now) for stored in found]


def results(database: Database, prefix: str) -> Iterator[MessageReport]:
    """Yields every message whose reference begins with ``prefix``, by reference, then tag."""
    after = None
    while is_storable(prefix):  # nothing stored begins with what cannot be stored
        now = times.now()
        with database.read() as session:
            found = messages_by_reference(session, prefix, after=after, limit=PAGE_SIZE)
        yield from (report_message(stored, now=now) for stored in found)
        if len(found) < PAGE_SIZE:
            return
        after = (found[-1].reference or "", found[-1].tag)


def events(database: Database, tag: str) -> list[EventReport]:
    """Returns the message's events, first received first. Raises MessageNotFound."""
    with database.read() as session:
        stored = _tagged(session, tag)
        rows = events_of(session, stored.pk)
    recipients = {each.recipient: each for each in stored.recipients}
    return [_event_report(row, recipients.get(row.recipient)) for row in rows]


def resolutions(database: Database, tag: str) -> list[ResolutionReport]:
    """Returns what people decided about the message, oldest first. Raises MessageNotFound."""
    with database.read() as session:
        rows = resolutions_of(session, _tagged(session, tag).pk)
    return [
        ResolutionReport(
            send_status=SendStatus(row.send_status),
            reason=row.reason,
            resolved_by=row.resolved_by,
            resolved_at=row.resolved_at,
        )
        for row in rows
    ]


def _tagged(session: Session, tag: str) -> Message:
    stored = message_tagged(session, tag)
    if stored is None:
        raise MessageNotFound(tag)
    return stored


def _event_report(row: StoredEvent, recipient: Recipient | None) -> EventReport:
    return EventReport(
        type=row.type,
        to=row.recipient or None,
        error_code=row.error_code or None,
        description=row.description,
        occurred_at=row.occurred_at,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        deliveries=row.deliveries,
        disposition=disposition(
            event_type=row.type,
            linked=row.message_pk is not None,
            is_winner=recipient is not None and recipient.event_pk == row.pk,
            recipient=RecipientStatus(recipient.status) if recipient else None,
            invalid_recipient=recipient is not None and recipient.invalid_recipient,
        ),
        linked_by=row.linked_by,
        source=row.source,
        payload=row.payload,
    )
