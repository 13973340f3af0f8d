"""The report of a message: its state and the outcome for each recipient, as plain values instead of rows.

The sender returns it as well as ``receiver.reports``, so it lives in the lower of the two packages. It cannot live in
``receiver.database``, because the names of error codes come from ``receiver.bandwidth``.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from receiver.bandwidth.error_codes import explain
from receiver.core.messages import Accepted, OutboundMessage
from receiver.core.send_status import RefusedBecause, SendStatus, shown
from receiver.core.status import TERMINAL, ConfirmedBy, RecipientStatus, confirmed_by, is_overdue
from receiver.database.models import Message
from receiver.messages.outbox import Attempt


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
class RefusedField:
    """Bandwidth's error about one field of a request."""

    field_name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """The reason why the last request to Bandwidth failed, in the words of Bandwidth or of this program."""

    status: int | None
    """Bandwidth's HTTP status; None when there was no response."""
    type: str | None
    description: str | None
    field_errors: list[RefusedField]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReport:
    """A message and the outcome for each of its recipients."""

    key: int
    """Internal; of two messages created at the same instant the later has the higher key."""
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
    """The name of the API key that requested it; empty for the commands, None if it was not recorded then."""
    summary: dict[str, int]
    """``total``, the number of recipients of each status, and ``overdue``."""
    complete: bool
    recipients: list[RecipientReport]
    """In the request's order."""


def report_message(row: Message, *, now: datetime) -> MessageReport:
    """Returns the report of a message as of ``now``. Its recipients and message ids must be loaded."""
    send_status = shown(SendStatus(row.send_status), deadline=row.deadline, now=now)
    recipients = []
    for each in row.recipients:
        status = RecipientStatus(each.status)
        recipients.append(
            RecipientReport(
                to=each.recipient,
                status=status,
                error_code=each.error_code,
                error_name=explain(each.error_code).name if each.error_code else None,
                description=each.description,
                confirmed_by=confirmed_by(status, receipts=row.receipts),
                invalid_recipient=each.invalid_recipient,
                overdue=is_overdue(status, send_status=send_status, overdue_at=row.overdue_at, now=now),
                occurred_at=each.occurred_at,
                updated_at=each.updated_at,
            )
        )
    # Ids are sorted. The one in Bandwidth's response comes before those that only events brought.
    preferred = min(row.message_ids, key=lambda each: not each.answered, default=None)
    changes = [each.updated_at for each in row.recipients]
    if row.deadline is not None and send_status != row.send_status:
        changes.append(row.deadline)  # since then it shows as unknown
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
        error=error_report(row.error_status, row.error_type, row.error_description, row.error_fields),
        created_at=row.created_at,
        submitted_at=row.submitted_at,
        updated_at=max([row.updated_at, *changes]),
        redacted_at=row.redacted_at,
        asked_by=row.asked_by,
        summary=summary_of(recipients),
        complete=all(each.status in TERMINAL for each in recipients),
        recipients=recipients,
    )


def report_accepted(
    message: OutboundMessage, *, key: int, tag: str, attempt: Attempt, accepted: Accepted, now: datetime
) -> MessageReport:
    """Returns the report of a message that Bandwidth has just accepted, and about which nothing else is known yet.

    It is equal to report_message() of the stored message, without another journey to the database.
    """
    recipients = [
        RecipientReport(
            to=number,
            status=RecipientStatus.PENDING,
            error_code=None,
            error_name=None,
            description=None,
            confirmed_by=None,
            invalid_recipient=False,
            overdue=False,
            occurred_at=None,
            updated_at=attempt.at,
        )
        for number in message.to
    ]
    return MessageReport(
        key=key,
        tag=tag,
        reference=message.reference,
        message_id=accepted.message_id,
        message_ids=[accepted.message_id] if accepted.message_id else [],
        sent_twice=False,
        application_id=message.application_id,
        sender=message.sender,
        text=message.text,
        media=list(message.media),
        priority=message.priority,
        expiration=message.expiration,
        segment_count=accepted.segment_count,
        send_status=SendStatus.ACCEPTED,
        refused_because=None,
        error=None,
        created_at=attempt.at,
        submitted_at=attempt.at,
        updated_at=now,
        redacted_at=None,
        asked_by=message.asked_by,
        summary=summary_of(recipients),
        complete=False,
        recipients=recipients,
    )


def summary_of(recipients: Sequence[RecipientReport]) -> dict[str, int]:
    """Returns how many recipients there are in total, of each status, and overdue."""
    count = Counter(each.status for each in recipients)
    return {
        "total": len(recipients),
        **{status.value: count[status] for status in RecipientStatus},
        "overdue": sum(each.overdue for each in recipients),
    }


def error_report(
    status: int | None, kind: str | None, description: str | None, fields: str | None
) -> ErrorReport | None:
    """Returns the report of a stored error; None if no column but ``fields``, which is JSON, says anything."""
    if status is None and kind is None and description is None:
        return None
    refused = [RefusedField(*each) for each in json.loads(fields or "[]")]
    return ErrorReport(status=status, type=kind, description=description, field_errors=refused)
