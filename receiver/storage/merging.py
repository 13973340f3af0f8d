"""Merges statements: makes every message accepted that an event proves to be, every recipient show its best statement.

Everything here runs inside one write transaction of the caller, and locks messages before recipients, each sorted.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, Update, and_, or_, select, update
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
from receiver.storage.rows import parameter, rows_of

RecipientKey = tuple[int, str]
"""(messages.pk, number)"""

SHOWN = (
    "message_pk",
    "recipient",
    "status",
    "standing",
    "event_pk",
    "error_code",
    "description",
    "occurred_at",
    "invalid_recipient",
    "updated_at",
)
"""A recipient's key, and what it shows."""


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


def merge(
    session: Session, linked: Sequence[Linked], *, now: datetime, accepted: Mapping[int, bool] | None = None
) -> None:
    """Merges linked events into their messages and recipients.

    ``accepted`` are messages of which it is known that they are accepted, and whether their receipts are on.
    """
    accepted = accepted or {}
    receipts = {each.message_pk for each in linked if each.event.type in RECEIPT_TYPES}
    settled = {pk for pk, receipts_on in accepted.items() if receipts_on or pk not in receipts}
    settle(session, {each.message_pk for each in linked} - settled, now=now, receipts=receipts)
    statements: dict[RecipientKey, list[Linked]] = {}
    for each in linked:
        if statement(each.event.type, each.event.error_code) is not None:
            statements.setdefault((each.message_pk, each.event.recipient), []).append(each)
    if statements:
        _improve(session, statements, now=now)


def _improve(session: Session, statements: Mapping[RecipientKey, Sequence[Linked]], *, now: datetime) -> None:
    """Makes each recipient show the best of what is said now and was said before; nothing else is written."""
    connection = session.connection()
    better, invalid = [], []
    for row in _lock_recipients(connection, statements):
        said = statements[row.message_pk, row.recipient]
        best = said[0] if len(said) == 1 else max(said, key=lambda each: standing(each.event))
        is_invalid = any(says_invalid_recipient(each.event.type, each.event.error_code) for each in said)
        key = {"message_pk": row.message_pk, "recipient": row.recipient, "updated_at": now}
        values = outcome_values(best) | {"invalid_recipient": is_invalid or row.invalid_recipient}
        if row.standing < values["standing"]:
            better.append(key | values)
        elif is_invalid and not row.invalid_recipient:
            invalid.append(key)
    if better:
        connection.execute(_set_better(connection.dialect.name), parameter(better))
    if invalid:
        connection.execute(_set_invalid(connection.dialect.name), parameter(invalid))


def _lock_recipients(connection: Connection, keys: Iterable[RecipientKey]) -> Sequence[Row[Any]]:
    rows = [{"message_pk": message_pk, "recipient": recipient} for message_pk, recipient in sorted(keys)]
    return connection.execute(_lock_these(connection.dialect.name), parameter(rows)).all()


@cache
def _lock_these(dialect: str) -> Select[*tuple[Any, ...]]:
    given = rows_of(dialect, Recipient.message_pk, Recipient.recipient)
    return (
        select(Recipient.message_pk, Recipient.recipient, Recipient.standing, Recipient.invalid_recipient)
        .join(given, _is_given(given))
        .order_by(Recipient.message_pk, Recipient.recipient)
        .with_for_update(of=Recipient)
    )


@cache
def _set_better(dialect: str) -> Update:
    given = rows_of(dialect, *(getattr(Recipient, name) for name in SHOWN))
    return (
        update(Recipient)
        .where(_is_given(given), Recipient.standing < given.c.standing)
        .values({name: given.c[name] for name in SHOWN[2:]})
    )


@cache
def _set_invalid(dialect: str) -> Update:
    given = rows_of(dialect, Recipient.message_pk, Recipient.recipient, Recipient.updated_at)
    return update(Recipient).where(_is_given(given)).values(invalid_recipient=True, updated_at=given.c.updated_at)


def _is_given(given: FromClause) -> ColumnElement[bool]:
    return and_(Recipient.message_pk == given.c.message_pk, Recipient.recipient == given.c.recipient)


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
