"""What a restored backup takes for unsent, although it may have been sent after the backup was taken.

Everything here runs inside a transaction of the caller.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import case, exists, func, select, update
from sqlalchemy.orm import Session

from receiver.core.messages import Unknown
from receiver.core.send_status import NOT_TAKEN, RefusedBecause, SendStatus, is_repeatable
from receiver.core.status import unsaid
from receiver.database.models import IdempotencyKeyRow, Message, Recipient
from receiver.messages.outbox import NO_ERROR, Attempt, change, error_columns
from receiver.storage.doubts import RESTORED

WAITING = (SendStatus.QUEUED, SendStatus.SUBMITTING)
NOT_KNOWN = Unknown(type=RESTORED, description="A backup was restored, which knows nothing of what was sent after it.")


def newest(session: Session) -> datetime | None:
    """When the newest message was stored; the backup was taken later. Reads."""
    return session.scalar(select(func.max(Message.created_at)))


def unsent_keys(session: Session) -> list[int]:
    """The keys of the messages that are queued or submitting, and of those that were refused and would be sent if they
    were asked for again under an Idempotency-Key or with their file: perhaps they were. Reads."""
    of_message = exists().where(IdempotencyKeyRow.message_pk == Message.pk)
    of_file = of_message.where(IdempotencyKeyRow.expires_at.is_(None)).label("of_file")
    refused = (Message.send_status == SendStatus.REFUSED) & Message.refused_because.in_(NOT_TAKEN)
    columns = (Message.pk, Message.send_status, Message.refused_because, Message.error_status, of_file)
    rows = session.execute(
        select(*columns).where(Message.send_status.in_(WAITING) | (refused & of_message)).order_by(Message.pk)
    )
    return [
        row.pk
        for row in rows
        if row.send_status in WAITING
        or row.of_file
        or is_repeatable(RefusedBecause(row.refused_because), status=row.error_status)
    ]


def mark_unknown(session: Session, message_pks: Sequence[int], attempt: Attempt, *, now: datetime) -> None:
    """As if each had become submitting by that attempt, whose answer nobody stored."""
    these = Message.pk.in_(message_pks) & (Message.send_status != SendStatus.ACCEPTED)
    first = case((Message.send_status == SendStatus.SUBMITTING, Message.submitted_at), else_=attempt.at)
    columns = attempt.columns() | {"submitted_at": first, "send_status": SendStatus.UNKNOWN, "updated_at": now}
    change(session, these, **NO_ERROR | columns | error_columns(NOT_KNOWN), attempt=Message.attempt + 1)
    session.execute(
        update(Recipient)
        .where(Recipient.message_pk.in_(message_pks), Recipient.status == unsaid(SendStatus.REFUSED))
        .values(status=unsaid(SendStatus.UNKNOWN), updated_at=now)
    )
