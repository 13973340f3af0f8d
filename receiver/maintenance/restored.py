"""Corrects a restored backup before anything works on it: messages that it takes for unsent become unknown.

The backup may say that a message is queued although it was sent after the backup was taken. What may have been sent is
never sent again, so each such message gets the state that it would have if its request had begun right after the backup
and the response had been lost.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import case, exists, func, select, update
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.messages import Unknown
from receiver.core.send_status import NOT_TAKEN, RefusedBecause, SendStatus, is_repeatable
from receiver.core.status import default_status
from receiver.database.database import Database
from receiver.database.models import IdempotencyKeyRow, Message, Recipient
from receiver.maintenance.reconcile import RESTORED
from receiver.messages.outbox import NO_ERROR, Attempt, change, error_columns

BATCH = 500
"""Messages per transaction."""

WAITING = (SendStatus.QUEUED, SendStatus.SUBMITTING)
NOT_KNOWN = Unknown(type=RESTORED, description="A backup was restored, which lacks what was sent after it was taken.")


def find_unsent(database: Database) -> Sequence[int]:
    """The keys of the messages that the database takes for unsent and that may have been sent after the backup.

    These are queued or submitting, or they were refused and would be sent on a repeat under their Idempotency-Key or
    with their file.
    """
    of_message = exists().where(IdempotencyKeyRow.message_pk == Message.pk)
    of_file = of_message.where(IdempotencyKeyRow.expires_at.is_(None)).label("of_file")
    refused = (Message.send_status == SendStatus.REFUSED) & Message.refused_because.in_(NOT_TAKEN)
    columns = (Message.pk, Message.send_status, Message.refused_because, Message.error_status, of_file)
    query = select(*columns).where(Message.send_status.in_(WAITING) | (refused & of_message)).order_by(Message.pk)
    with database.read() as session:
        return [
            row.pk
            for row in session.execute(query)
            if row.send_status in WAITING
            or row.of_file
            or is_repeatable(RefusedBecause(row.refused_because), status=row.error_status)
        ]


def make_unknown(database: Database, message_pks: Sequence[int], *, overdue_after: timedelta) -> Iterator[int]:
    """Makes these messages unknown; yields the number of each transaction. May be stopped and started again."""
    now = times.now()
    with database.read() as session:
        newest = session.scalar(select(func.max(Message.created_at))) or now  # the backup was taken later
    attempt = Attempt(at=newest, deadline=now, overdue_at=now + overdue_after)
    for start in range(0, len(message_pks), BATCH):
        batch = message_pks[start : start + BATCH]
        database.write(partial(_mark_unknown, message_pks=batch, attempt=attempt, now=now))
        yield len(batch)


def _mark_unknown(session: Session, message_pks: Sequence[int], attempt: Attempt, *, now: datetime) -> None:
    """Marks each message as submitted by that attempt, whose response is lost."""
    these = Message.pk.in_(message_pks) & (Message.send_status != SendStatus.ACCEPTED)
    first = case((Message.send_status == SendStatus.SUBMITTING, Message.submitted_at), else_=attempt.at)
    columns = attempt.columns() | {"attempt": Message.attempt + 1, "submitted_at": first, "claimable_at": None}
    columns |= {"send_status": SendStatus.UNKNOWN, "updated_at": now}
    change(session, these, **NO_ERROR | columns | error_columns(NOT_KNOWN))
    session.execute(
        update(Recipient)
        .where(Recipient.message_pk.in_(message_pks), Recipient.status == default_status(SendStatus.REFUSED))
        .values(status=default_status(SendStatus.UNKNOWN), updated_at=now)
    )
