"""Messages on their way to Bandwidth: stored before the call, completed with its answer.

Every function runs inside one write transaction of the caller. Lanes are locked before messages (see pacing.py).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Update, bindparam, literal_column, select, update
from sqlalchemy.orm import Session

from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.send_status import NOT_TAKEN, RefusedBecause, SendStatus, may_become
from receiver.core.status import NO_STANDING, unsaid
from receiver.database.json_rows import insert_rows, instant, octets, parameter
from receiver.database.lookup import lapsed
from receiver.database.models import Message, Recipient
from receiver.events.links import bind
from receiver.events.outcomes import Linked, merge, settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to Bandwidth, about to be made."""

    at: datetime
    deadline: datetime
    """When the message counts as unknown if no answer was stored by then."""
    overdue_at: datetime

    def columns(self) -> dict[str, Any]:
        return {
            "send_status": SendStatus.SUBMITTING,
            "submitted_at": self.at,
            "deadline": self.deadline,
            "overdue_at": self.overdue_at,
            "claimable_at": None,
            "updated_at": self.at,
        }


NO_ERROR = dict.fromkeys(("refused_because", "error_status", "error_type", "error_description", "error_fields"))


def add_submitting(session: Session, message: OutboundMessage, *, tag: str, attempt: Attempt) -> int:
    """Stores a message that is about to be sent, and its recipients; returns its key."""
    row = _row(message, tag=tag, now=attempt.at) | attempt.columns() | {"attempt": 1}
    return _add(session, [(row, message)])[0]


def add_queued(session: Session, messages: Sequence[tuple[str, OutboundMessage]], *, now: datetime) -> list[int]:
    """Stores messages, each with its tag, that wait for a worker; returns their keys."""
    return _add(session, [(_row(message, tag=tag, now=now), message) for tag, message in messages])


def _row(message: OutboundMessage, *, tag: str, now: datetime) -> dict[str, Any]:
    """A queued message's columns; those that are not here are null."""
    return {
        "tag": tag,
        "reference": message.reference,
        "application_id": message.application_id,
        "sender": message.sender,
        "text": message.text,
        "media": json.dumps(message.media),
        "priority": message.priority,
        "urgency": 0 if message.priority == "high" else 1,
        "expiration": message.expiration,
        "units": message.units,
        "receipts": False,
        "send_status": SendStatus.QUEUED,
        "attempt": 0,
        "failures": 0,
        "claimable_at": now,
        "created_at": now,
        "updated_at": now,
        "asked_by": message.asked_by,
    }


def _recipient_row(message_pk: int, number: str, position: int, *, created_at: datetime) -> dict[str, Any]:
    return {
        "message_pk": message_pk,
        "recipient": number,
        "position": position,
        "status": unsaid(SendStatus.QUEUED),
        "standing": octets(NO_STANDING),
        "invalid_recipient": False,
        "created_at": instant(created_at),
        "updated_at": instant(created_at),
    }


def _add(session: Session, rows: Sequence[tuple[dict[str, Any], OutboundMessage]]) -> list[int]:
    """Stores these messages and their recipients; returns the keys in that order."""
    connection = session.connection()
    insert_messages, insert_recipients = _inserts(connection.dialect.name)
    written = ({name: _written(value) for name, value in row.items()} for row, _ in rows)
    keys = {each.tag: each.pk for each in connection.execute(insert_messages, parameter(written))}
    pks = [keys[row["tag"]] for row, _ in rows]
    recipients = (
        _recipient_row(pk, number, position, created_at=row["created_at"])
        for pk, (row, message) in zip(pks, rows, strict=True)
        for position, number in enumerate(message.to)
    )
    connection.execute(insert_recipients, parameter(recipients))
    return pks


@cache
def _inserts(dialect: str) -> tuple[Any, Any]:
    return insert_rows(dialect, Message).returning(Message.pk, Message.tag), insert_rows(dialect, Recipient)


def _written(value: Any) -> Any:
    return instant(value) if isinstance(value, datetime) else value


def outbound(row: Message) -> OutboundMessage:
    """The message as it was asked for; its recipients must be loaded."""
    return OutboundMessage(
        to=tuple(each.recipient for each in row.recipients),
        sender=row.sender,
        application_id=row.application_id,
        text=row.text,
        media=tuple(json.loads(row.media)),
        priority=row.priority,
        expiration=row.expiration,
        reference=row.reference,
        asked_by=row.asked_by or "",
    )


def not_taken(session: Session, message_pks: Iterable[int]) -> Sequence[Message]:
    """Those of the messages that were refused and never sent, without anybody having withdrawn them. Reads."""
    refused = (Message.send_status == SendStatus.REFUSED, Message.refused_because.in_(NOT_TAKEN))
    return session.scalars(select(Message).where(Message.pk.in_(message_pks), *refused).order_by(Message.pk)).all()


def begin_again(session: Session, stored: Message, *, then: Attempt | None, now: datetime) -> bool:
    """Makes a refused message submitting, or queued if there is no attempt yet; ``stored`` is what was read of it.

    False if somebody else was quicker: has begun another attempt, or queued and then cancelled it, which leaves the
    attempt as it was but not the reason. Or if it was redacted: then there is nothing left to send. Only for what is
    known not to have been sent.
    """
    this = (Message.pk == stored.pk) & (Message.attempt == stored.attempt)
    this &= (Message.send_status == SendStatus.REFUSED) & (Message.refused_because == stored.refused_because)
    this &= Message.redacted_at.is_(None)
    queued = {"send_status": SendStatus.QUEUED, "failures": 0, "claimable_at": now, "updated_at": now}
    columns = queued if then is None else then.columns() | {"attempt": stored.attempt + 1}
    begun = change(session, this, **NO_ERROR | columns, denied_at=None)
    if begun:
        show_unsaid(session, stored.pk, before=SendStatus.REFUSED, after=SendStatus.SUBMITTING, now=now)
    return bool(begun)


def record_answer(session: Session, message_pk: int, *, attempt: int, answer: SendResult, now: datetime) -> None:
    """Stores how the request ended. An event that proved acceptance meanwhile outweighs any other answer.

    May be done again when nobody can tell whether it was committed: what is queued has left this attempt behind.
    """
    if isinstance(answer, Accepted):
        waiting: list[Linked] = []
        if answer.message_id is not None:
            waiting = bind(session, [(answer.message_id, message_pk)], answered=True, now=now)
        columns = {"segment_count": answer.segment_count, "updated_at": now}
        which = {"this_pk": message_pk, "this_attempt": attempt}
        if not session.connection().execute(_accept(), columns | which).rowcount:
            settle(session, {message_pk}, now=now)
            change(session, Message.pk == message_pk, **columns)
        merge(session, waiting, now=now)
        return
    this_attempt = (Message.pk == message_pk) & (Message.attempt == attempt)
    this_attempt &= Message.send_status != SendStatus.QUEUED
    change(session, this_attempt, **error_columns(answer), updated_at=now)
    if isinstance(answer, Refused):
        refuse(session, message_pk, this_attempt, because=answer.because, now=now)
    else:
        change(session, this_attempt & _may_become(SendStatus.UNKNOWN), send_status=SendStatus.UNKNOWN)


@cache
def _accept() -> Update:
    """Of what is still submitting, as nearly always. Made once, because making it takes longer than its execution."""
    this = (Message.pk == bindparam("this_pk")) & (Message.attempt == bindparam("this_attempt"))
    return (
        update(Message)
        .where(this, Message.send_status == literal_column("'submitting'"))
        .values(
            send_status=SendStatus.ACCEPTED,
            segment_count=bindparam("segment_count"),
            updated_at=bindparam("updated_at"),
        )
    )


def error_columns(answer: Refused | Unknown) -> dict[str, Any]:
    """What Bandwidth, or the way to it, said against the message."""
    fields = answer.field_errors if isinstance(answer, Refused) else ()
    return {
        "error_status": answer.status,
        "error_type": answer.type,
        "error_description": answer.description,
        "error_fields": json.dumps(fields) if fields else None,
    }


def write_lapsed(session: Session, *, now: datetime) -> int:
    """Writes what is shown already: a message still submitting after its deadline is unknown. Returns how many."""
    in_order = select(Message.pk).where(lapsed(now)).order_by(Message.pk)
    session.execute(in_order.with_for_update(key_share=True))
    return change(
        session,
        lapsed(now),
        send_status=SendStatus.UNKNOWN,
        updated_at=Message.deadline,
    )


def refuse(
    session: Session, message_pk: int, which: ColumnElement[bool], *, because: RefusedBecause, now: datetime
) -> bool:
    """Refuses that message if ``which`` is true of it and its state allows it; False if not."""
    refused = change(
        session,
        which & _may_become(SendStatus.REFUSED),
        send_status=SendStatus.REFUSED,
        refused_because=because,
        claimable_at=None,
        updated_at=now,
    )
    if refused:
        show_unsaid(session, message_pk, before=SendStatus.SUBMITTING, after=SendStatus.REFUSED, now=now)
    return bool(refused)


def show_unsaid(session: Session, message_pk: int, *, before: SendStatus, after: SendStatus, now: datetime) -> None:
    """Makes the recipients nothing was said about show what that means now."""
    session.execute(
        update(Recipient)
        .where(Recipient.message_pk == message_pk, Recipient.status == unsaid(before))
        .values(status=unsaid(after), updated_at=now)
    )


def _may_become(target: SendStatus) -> ColumnElement[bool]:
    return Message.send_status.in_(may_become(target))


def change(session: Session, which: ColumnElement[bool], **values: Any) -> int:
    """Changes the messages of which that is true; returns how many."""
    return session.connection().execute(update(Message).where(which).values(**values)).rowcount
