"""Answers: what became of a message, for each of its recipients, and what each event was to it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from receiver.bandwidth.error_codes import explain
from receiver.core import times
from receiver.core.events import is_storable
from receiver.core.send_status import RefusedBecause, SendStatus, shown
from receiver.core.status import (
    TERMINAL,
    ConfirmedBy,
    Disposition,
    RecipientStatus,
    confirmed_by,
    disposition,
    is_overdue,
)
from receiver.database.database import Database, Session
from receiver.database.lookup import (
    MessageFilter,
    events_of,
    message_tagged,
    messages_by_reference,
    messages_page,
    messages_to_number_ending,
    resolutions_of,
)
from receiver.database.models import Message, Recipient, Resolution, StoredEvent
from receiver.errors import MessageNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """The outcome for one recipient."""

    to: str
    status: RecipientStatus
    error_code: int | None
    error_name: str | None
    description: str | None
    confirmed_by: ConfirmedBy | None
    invalid_recipient: bool
    overdue: bool
    occurred_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class FieldError:
    """What Bandwidth found wrong with one field."""

    field_name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """What Bandwidth, or the way to it, said against the message."""

    status: int | None
    """Bandwidth's HTTP status; None when there was no answer."""
    type: str | None
    description: str | None
    field_errors: list[FieldError]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReport:
    """A message and the outcome for each of its recipients."""

    key: int
    """Not shown; of two messages of one instant the later has the higher one."""
    tag: str
    reference: str | None
    message_id: str | None
    message_ids: list[str]
    sent_twice: bool
    application_id: str
    sender: str
    text: str | None
    media: list[str]
    priority: str | None
    expiration: datetime | None
    segment_count: int | None
    send_status: SendStatus
    refused_because: RefusedBecause | None
    error: ErrorReport | None
    created_at: datetime
    submitted_at: datetime | None
    updated_at: datetime
    redacted_at: datetime | None
    asked_by: str | None
    """The name of the API key that asked for it; empty for the commands, None if it was not kept then."""
    summary: dict[str, int]
    complete: bool
    recipients: list[RecipientReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReport:
    """One stored event, and what it is by the present facts."""

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


RESULTS = 500
"""Messages of one query."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages, newest first, and the cursor of the next page; None on the last."""

    messages: list[MessageReport]
    next_cursor: str | None


def message(database: Database, tag: str) -> MessageReport:
    """Raises MessageNotFound."""
    with database.read() as session:
        stored = _tagged(session, tag)
    return report(stored, now=times.now())


def messages(database: Database, wanted: MessageFilter, *, limit: int) -> Page:
    """One page of the messages that fit; ``wanted.after_tag`` is the cursor of the page before."""
    now = times.now()
    with database.read() as session:
        found = messages_page(session, wanted, limit=limit + 1, now=now)
    reports = [report(stored, now=now) for stored in found[:limit]]
    return Page(reports, reports[-1].tag if len(found) > limit else None)


def messages_to_ending(database: Database, digits: str, *, limit: int) -> list[MessageReport]:
    """The newest messages to a number that ends in these digits, at most ``limit``, of those that are looked at."""
    now = times.now()
    with database.read() as session:
        found = messages_to_number_ending(session, digits, limit=limit)
    return [report(stored, now=now) for stored in found]


def results(database: Database, prefix: str) -> Iterator[MessageReport]:
    """Every message whose reference begins with ``prefix``, sorted by reference, however many there are."""
    after = None
    while is_storable(prefix):  # nor is any reference that begins with what is not
        now = times.now()
        with database.read() as session:
            found = messages_by_reference(session, prefix, after=after, limit=RESULTS)
        yield from (report(stored, now=now) for stored in found)
        if len(found) < RESULTS:
            return
        after = (found[-1].reference or "", found[-1].tag)


def events(database: Database, tag: str) -> list[EventReport]:
    """The message's events, first received first. Raises MessageNotFound."""
    with database.read() as session:
        stored = _tagged(session, tag)
        rows = events_of(session, stored.pk)
    recipients = {each.recipient: each for each in stored.recipients}
    return [_event_report(row, recipients.get(row.recipient)) for row in rows]


def resolutions(database: Database, tag: str) -> Sequence[Resolution]:
    """What people decided about the message, oldest first. Raises MessageNotFound."""
    with database.read() as session:
        return resolutions_of(session, _tagged(session, tag).pk)


def _tagged(session: Session, tag: str) -> Message:
    stored = message_tagged(session, tag)
    if stored is None:
        raise MessageNotFound(tag)
    return stored


def report(row: Message, *, now: datetime) -> MessageReport:
    """The message as it is now."""
    send_status = shown(SendStatus(row.send_status), deadline=row.deadline, now=now)
    recipients = [_recipient_report(each, row, send_status, now=now) for each in row.recipients]
    # The answer's id, else the lowest: they are sorted.
    preferred = min(row.message_ids, key=lambda each: not each.answered, default=None)
    changes = [each.updated_at for each in row.recipients]
    if row.deadline is not None and send_status != row.send_status:
        changes.append(row.deadline)  # when it began to show as unknown
    changes += [each.linked_at for each in row.message_ids if each.linked_at is not None]
    return MessageReport(
        key=row.pk,
        tag=row.tag,
        reference=row.reference,
        message_id=preferred.message_id if preferred else None,
        message_ids=[each.message_id for each in row.message_ids],
        sent_twice=len(row.message_ids) > 1,
        application_id=row.application_id,
        sender=row.sender,
        text=row.text,
        media=json.loads(row.media),
        priority=row.priority,
        expiration=row.expiration,
        segment_count=row.segment_count,
        send_status=send_status,
        refused_because=RefusedBecause(row.refused_because) if row.refused_because else None,
        error=_error_report(row),
        created_at=row.created_at,
        submitted_at=row.submitted_at,
        updated_at=max([row.updated_at, *changes]),
        redacted_at=row.redacted_at,
        asked_by=row.asked_by,
        summary=_summary(recipients),
        complete=all(each.status in TERMINAL for each in recipients),
        recipients=recipients,
    )


def _recipient_report(
    row: Recipient, message_row: Message, send_status: SendStatus, *, now: datetime
) -> RecipientReport:
    status = RecipientStatus(row.status)
    return RecipientReport(
        to=row.recipient,
        status=status,
        error_code=row.error_code,
        error_name=explain(row.error_code).name if row.error_code else None,
        description=row.description,
        confirmed_by=confirmed_by(status, receipts=message_row.receipts),
        invalid_recipient=row.invalid_recipient,
        overdue=is_overdue(status, send_status=send_status, overdue_at=message_row.overdue_at, now=now),
        occurred_at=row.occurred_at,
        updated_at=row.updated_at,
    )


def _error_report(row: Message) -> ErrorReport | None:
    if row.error_status is None and row.error_type is None and row.error_description is None:
        return None
    return ErrorReport(
        status=row.error_status,
        type=row.error_type,
        description=row.error_description,
        field_errors=[FieldError(*each) for each in json.loads(row.error_fields or "[]")],
    )


def _summary(recipients: Sequence[RecipientReport]) -> dict[str, int]:
    count = Counter(each.status for each in recipients)
    return {
        "total": len(recipients),
        **{status.value: count[status] for status in RecipientStatus},
        "overdue": sum(each.overdue for each in recipients),
    }


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
