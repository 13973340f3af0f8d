"""Merges statements: makes every message accepted that an event proves to be, every recipient show its best statement.

Everything here runs inside one write transaction of the caller, and locks messages before recipients, each sorted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Update, select, tuple_, update
from sqlalchemy.orm import Session

from receiver.core.events import Event
from receiver.core.send_status import SendStatus, may_become
from receiver.core.status import NO_STANDING, RecipientStatus, says_invalid_recipient, standing, statement
from receiver.storage.models import Message, Recipient, StoredEvent

RecipientKey = tuple[int, str]
"""(messages.pk, number)"""


@dataclass(frozen=True, slots=True)
class Linked:
    """A stored event of a message of ours."""

    pk: int
    message_pk: int
    event: Event


def to_event(row: StoredEvent) -> Event:
    """The stored event as the core knows it."""
    return Event(
        type=row.type,
        message_id=row.message_id,
        recipient=row.recipient,
        error_code=row.error_code,
        occurred_at=row.occurred_at,
        tag=row.tag,
        description=row.description,
        payload=row.payload,
    )


def accept(session: Session, message_pks: Iterable[int], *, now: datetime) -> None:
    """Bandwidth has these messages, whatever was thought of them before."""
    unsettled = (
        select(Message.pk)
        .where(Message.pk.in_(sorted(set(message_pks))), Message.send_status.in_(may_become(SendStatus.ACCEPTED)))
        .order_by(Message.pk)
    )
    # Nearly always the answer has settled it already, and then nothing needs a lock.
    if not session.scalars(unsettled).all():
        return
    pks = session.scalars(unsettled.with_for_update(key_share=True)).all()
    session.execute(
        update(Message)
        .where(Message.pk.in_(pks))
        .values(send_status=SendStatus.ACCEPTED, refused_because=None, updated_at=now)
    )
    session.execute(
        update(Recipient)
        .where(Recipient.message_pk.in_(pks), Recipient.status == RecipientStatus.NOT_SENT)
        .values(status=RecipientStatus.PENDING, updated_at=now)
    )


def merge(session: Session, linked: Sequence[Linked], *, now: datetime) -> None:
    """Merges the statements of linked events into their messages and recipients."""
    accept(session, (each.message_pk for each in linked), now=now)
    best: dict[RecipientKey, Linked] = {}
    invalid: set[RecipientKey] = set()
    for each in linked:
        key = (each.message_pk, each.event.recipient)
        if standing(each.event) > (standing(best[key].event) if key in best else NO_STANDING):
            best[key] = each
        if says_invalid_recipient(each.event.type, each.event.error_code):
            invalid.add(key)
    if not best:
        return
    locked = session.execute(
        select(Recipient.message_pk, Recipient.recipient, Recipient.standing, Recipient.invalid_recipient)
        .where(tuple_(Recipient.message_pk, Recipient.recipient).in_(sorted(best)))
        .order_by(Recipient.message_pk, Recipient.recipient)
        .with_for_update()
    ).all()
    for row in locked:
        key = (row.message_pk, row.recipient)
        if row.standing < standing(best[key].event):
            better = set_recipient(key).where(Recipient.standing < standing(best[key].event))
            session.execute(better.values(outcome_values(best[key]) | {"updated_at": now}))
        if key in invalid and not row.invalid_recipient:
            session.execute(set_recipient(key).values(invalid_recipient=True, updated_at=now))


def outcome_values(winner: Linked | None, *, unsaid: RecipientStatus = RecipientStatus.PENDING) -> dict[str, Any]:
    """The columns of a recipient that shows ``winner``; ``unsaid`` is its status when there is no statement."""
    event = winner.event if winner else None
    return {
        "status": (event and statement(event.type, event.error_code)) or unsaid,
        "standing": standing(event) if event else NO_STANDING,
        "event_pk": winner.pk if winner else None,
        "error_code": (event.error_code or None) if event else None,
        "description": event.description if event else None,
        "occurred_at": event.occurred_at if event else None,
    }


def set_recipient(key: RecipientKey) -> Update:
    """An UPDATE of that one recipient."""
    return update(Recipient).where(Recipient.message_pk == key[0], Recipient.recipient == key[1])
