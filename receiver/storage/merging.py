"""Merges statements: makes every message accepted that an event proves to be, every recipient show its best statement.

Everything here runs inside one write transaction of the caller, and locks messages before recipients, each sorted.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Update, or_, select, tuple_, update
from sqlalchemy.orm import Session

from receiver.core.events import Event
from receiver.core.send_status import SendStatus, may_become
from receiver.core.status import (
    NO_STANDING,
    RECEIPT_TYPES,
    says_invalid_recipient,
    standing,
    statement,
    unsaid,
)
from receiver.storage.database import chunks
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


def settle(session: Session, message_pks: Set[int], *, now: datetime, receipts: Set[int] = frozenset()) -> None:
    """Bandwidth has these messages, whatever was thought of them before; for those in ``receipts``, receipts are on."""
    for chunk in chunks(sorted(message_pks)):
        with_receipts = [pk for pk in chunk if pk in receipts]
        news = or_(
            Message.send_status.in_(may_become(SendStatus.ACCEPTED)),
            Message.pk.in_(with_receipts) & ~Message.receipts,
        )
        unsettled = select(Message.pk).where(Message.pk.in_(chunk), news).order_by(Message.pk)
        # Nearly always all of it is known, and then nothing needs a lock.
        if session.scalars(unsettled).all():
            pks = session.scalars(unsettled.with_for_update(key_share=True)).all()
            _write_settled(session, pks, with_receipts, now=now)


def _write_settled(session: Session, pks: Sequence[int], with_receipts: Sequence[int], *, now: datetime) -> None:
    session.execute(
        update(Message)
        .where(Message.pk.in_(pks))
        .values(
            send_status=SendStatus.ACCEPTED,
            refused_because=None,
            receipts=or_(Message.receipts, Message.pk.in_(with_receipts)),
            updated_at=now,
        )
    )
    session.execute(
        update(Recipient)
        .where(Recipient.message_pk.in_(pks), Recipient.status == unsaid(SendStatus.REFUSED))
        .values(status=unsaid(SendStatus.ACCEPTED), updated_at=now)
    )


def merge(session: Session, linked: Sequence[Linked], *, now: datetime) -> None:
    """Merges linked events into their messages and recipients."""
    receipts = {each.message_pk for each in linked if each.event.type in RECEIPT_TYPES}
    settle(session, {each.message_pk for each in linked}, now=now, receipts=receipts)
    statements: dict[RecipientKey, list[Linked]] = {}
    for each in linked:
        if statement(each.event.type, each.event.error_code) is not None:
            statements.setdefault((each.message_pk, each.event.recipient), []).append(each)
    for chunk in chunks(sorted(statements)):
        for row in _lock_recipients(session, chunk):
            _improve(session, row, statements[row.message_pk, row.recipient], now=now)


def _lock_recipients(session: Session, keys: Sequence[RecipientKey]) -> Sequence[Any]:
    return session.execute(
        select(Recipient.message_pk, Recipient.recipient, Recipient.standing, Recipient.invalid_recipient)
        .where(tuple_(Recipient.message_pk, Recipient.recipient).in_(keys))
        .order_by(Recipient.message_pk, Recipient.recipient)
        .with_for_update()
    ).all()


def _improve(session: Session, row: Any, said: Sequence[Linked], *, now: datetime) -> None:
    key = (row.message_pk, row.recipient)
    best = max(said, key=lambda each: standing(each.event))
    values = outcome_values(best)
    if row.standing < values["standing"]:
        better = set_recipient(key).where(Recipient.standing < values["standing"])
        session.execute(better.values(values | {"updated_at": now}))
    invalid = any(says_invalid_recipient(each.event.type, each.event.error_code) for each in said)
    if invalid and not row.invalid_recipient:
        session.execute(set_recipient(key).values(invalid_recipient=True, updated_at=now))


def outcome_values(winner: Linked | None, *, send_status: SendStatus = SendStatus.ACCEPTED) -> dict[str, Any]:
    """The columns of a recipient that shows ``winner``, or that nothing was said about while its message is so."""
    event = winner.event if winner else None
    return {
        "status": (event and statement(event.type, event.error_code)) or unsaid(send_status),
        "standing": standing(event) if event else NO_STANDING,
        "event_pk": winner.pk if winner else None,
        "error_code": (event.error_code or None) if event else None,
        "description": event.description if event else None,
        "occurred_at": event.occurred_at if event else None,
    }


def set_recipient(key: RecipientKey) -> Update:
    """An UPDATE of that one recipient."""
    return update(Recipient).where(Recipient.message_pk == key[0], Recipient.recipient == key[1])
