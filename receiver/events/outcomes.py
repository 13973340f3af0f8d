"""Merges statements: makes every message accepted that an event proves to be, every recipient show its best statement.

Everything here runs inside one write transaction of the caller, and locks messages before recipients, each sorted.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Update, and_, case, or_, select, update
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
from receiver.database.json_rows import AnyColumn, instant, is_one_of, octets, parameter, rows_of
from receiver.database.models import Message, Recipient, StoredEvent

RecipientKey = tuple[int, str]
"""(messages.pk, number)"""

KEY = ("message_pk", "recipient")
OUTCOME = ("status", "standing", "event_pk", "error_code", "description", "occurred_at")
"""A recipient's columns that tell the winning statement."""


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
    rows = [{"pk": pk, "receipts": pk in receipts, "updated_at": instant(now)} for pk in sorted(message_pks)]
    connection = session.connection()
    dialect = connection.dialect.name
    unsettled = connection.execute(_lock_unsettled(dialect), parameter(rows)).all()
    if unsettled:
        locked = {row.pk for row in unsettled}
        connection.execute(_set_accepted(dialect), parameter(row for row in rows if row["pk"] in locked))
    if refused := {row.pk for row in unsettled if row.send_status == SendStatus.REFUSED}:
        connection.execute(_set_pending(dialect), parameter(row for row in rows if row["pk"] in refused))


def _settled(dialect: str) -> FromClause:
    return rows_of(dialect, Message.pk, Message.receipts, Message.updated_at)


@cache
def _lock_unsettled(dialect: str) -> Select[*tuple[Any, ...]]:
    given = _settled(dialect)
    unsettled = is_one_of(Message.send_status, may_become(SendStatus.ACCEPTED))
    news = or_(unsettled, given.c.receipts & ~Message.receipts)
    return (
        select(Message.pk, Message.send_status)
        .join(given, Message.pk == given.c.pk)
        .where(news)
        .order_by(Message.pk)
        .with_for_update(key_share=True, of=Message)
    )


@cache
def _set_accepted(dialect: str) -> Update:
    given = _settled(dialect)
    return (
        update(Message)
        .where(Message.pk == given.c.pk)
        .values(
            send_status=SendStatus.ACCEPTED,
            refused_because=None,
            receipts=Message.receipts | given.c.receipts,
            updated_at=given.c.updated_at,
        )
    )


@cache
def _set_pending(dialect: str) -> Update:
    given = _settled(dialect)
    return (
        update(Recipient)
        .where(Recipient.message_pk == given.c.pk, Recipient.status == unsaid(SendStatus.REFUSED))
        .values(status=unsaid(SendStatus.ACCEPTED), updated_at=given.c.updated_at)
    )


def merge(
    session: Session, linked: Sequence[Linked], *, now: datetime, accepted: Mapping[int, bool] | None = None
) -> None:
    """Merges linked events into their messages and recipients.

    ``accepted`` are messages of which it is known that they are accepted, and whether their receipts are on.
    """
    accepted = accepted or {}
    message_pks = {each.message_pk for each in linked}
    receipts = {each.message_pk for each in linked if each.event.type in RECEIPT_TYPES}
    if not message_pks <= accepted.keys():
        settle(session, message_pks, now=now, receipts=receipts)
    elif news := [pk for pk in sorted(receipts) if not accepted[pk]]:
        _turn_on_receipts(session, news, now=now)
    statements: dict[RecipientKey, list[Linked]] = {}
    for each in linked:
        if statement(each.event.type, each.event.error_code) is not None:
            statements.setdefault((each.message_pk, each.event.recipient), []).append(each)
    if statements:
        _improve(session, statements, now=now)


def _turn_on_receipts(session: Session, message_pks: Sequence[int], *, now: datetime) -> None:
    connection = session.connection()
    rows = [{"pk": pk, "updated_at": instant(now)} for pk in message_pks]
    connection.execute(_set_receipts(connection.dialect.name), parameter(rows))


@cache
def _set_receipts(dialect: str) -> Update:
    key, news = [Message.pk], ~Message.receipts
    given = _locked(dialect, rows_of(dialect, Message.pk, Message.updated_at), key=key, news=news)
    return update(Message).where(_matches(key, given), news).values(receipts=True, updated_at=given.c.updated_at)


def _improve(session: Session, statements: Mapping[RecipientKey, Sequence[Linked]], *, now: datetime) -> None:
    """Makes each recipient show the best of what is said now and was said before; nothing else is written."""
    updated_at = instant(now)
    rows = []
    for (message_pk, recipient), said in sorted(statements.items()):
        row = outcome_values(said[0] if len(said) == 1 else max(said, key=lambda each: standing(each.event)))
        row["message_pk"], row["recipient"], row["updated_at"] = message_pk, recipient, updated_at
        row["standing"], row["occurred_at"] = octets(row["standing"]), instant(row["occurred_at"])
        row["invalid_recipient"] = any(says_invalid_recipient(each.event.type, each.event.error_code) for each in said)
        rows.append(row)
    connection = session.connection()
    connection.execute(_raise_standings(connection.dialect.name), parameter(rows))


@cache
def _raise_standings(dialect: str) -> Update:
    key = [Recipient.message_pk, Recipient.recipient]
    names = (*KEY, *OUTCOME, "invalid_recipient", "updated_at")
    given = rows_of(dialect, *(Recipient.__table__.c[name] for name in names))
    given = _locked(dialect, given, key=key, news=_is_news(given))
    better = Recipient.standing < given.c.standing
    return (
        update(Recipient)
        .where(_matches(key, given), _is_news(given))
        .values({name: case((better, given.c[name]), else_=Recipient.__table__.c[name]) for name in OUTCOME})
        .values(
            invalid_recipient=or_(Recipient.invalid_recipient, given.c.invalid_recipient),
            updated_at=given.c.updated_at,
        )
    )


def _is_news(given: FromClause) -> ColumnElement[bool]:
    newly_invalid = given.c.invalid_recipient & ~Recipient.invalid_recipient
    return or_(Recipient.standing < given.c.standing, newly_invalid)


def _locked(dialect: str, given: FromClause, *, key: Sequence[AnyColumn], news: ColumnElement[bool]) -> FromClause:
    """Those given rows that are news to the stored rows of the same key, which are locked in the order of that key."""
    if dialect == "sqlite":  # one writer at a time needs no locks
        return given
    found = select(*given.c).join_from(given, key[0].table, _matches(key, given)).where(news).order_by(*key)
    # Not a full FOR UPDATE: another transaction's new event may refer to the message meanwhile.
    return found.with_for_update(key_share=True, of=key[0].table).cte("locked")


def _matches(key: Sequence[AnyColumn], rows: FromClause) -> ColumnElement[bool]:
    return and_(*(column == rows.c[column.name] for column in key))


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
