"""What a restored backup takes for unsent, although it may have been sent after the backup was taken.

Everything here runs inside a transaction of the caller.

Puts a restored backup right before anything works on it: what it takes for unsent becomes unknown.

A backup says of a message that it is queued; meanwhile it may have been sent. What may have been sent is never sent
again, so each is what it would be if its request had been begun after the backup and nobody had stored the answer.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import case, exists, func, select, update
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.messages import Unknown
from receiver.core.send_status import NOT_TAKEN, RefusedBecause, SendStatus, is_repeatable
from receiver.core.status import unsaid
from receiver.database.database import Database
from receiver.database.models import IdempotencyKeyRow, Message, Recipient
from receiver.maintenance.reconcile import RESTORED
from receiver.messages.outbox import NO_ERROR, Attempt, change, error_columns

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


BATCH = 500
"""Messages per transaction."""


def unsent(database: Database) -> Sequence[int]:
    """The keys of the messages that the database takes for unsent, or for worth sending again."""
    with database.read() as session:
        return unsent_keys(session)


def make_unknown(database: Database, message_pks: Sequence[int], *, overdue_after: timedelta) -> Iterator[int]:
    """Makes them unknown; yields how many each transaction did. Can be stopped and begun again."""
    now = times.now()
    with database.read() as session:
        since = newest(session) or now
    attempt = Attempt(at=since, deadline=now, overdue_at=now + overdue_after)
    for start in range(0, len(message_pks), BATCH):
        batch = message_pks[start : start + BATCH]
        database.write(partial(mark_unknown, message_pks=batch, attempt=attempt, now=now))
        yield len(batch)
