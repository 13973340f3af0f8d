"""The outbox: messages are stored before the call to Bandwidth, and completed with its result.

Every function runs inside one write transaction of the caller. The SQL of what every message passes is in outbox.sql,
and with it the order of locks.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session

from receiver.core.messages import Accepted, IdempotencyKey, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.pace import BURST, Rates
from receiver.core.send_status import NOT_TAKEN, RefusedBecause, SendStatus, may_become
from receiver.core.status import default_status
from receiver.database.database import Database
from receiver.database.json_rows import instant, statements, to_json
from receiver.database.lookup import JOINED, lapsed
from receiver.database.models import Message, Recipient
from receiver.events.links import bind
from receiver.events.outcomes import Linked, merge, settle

SQL = statements("receiver.messages", "outbox.sql")

NO_ERROR = dict.fromkeys(("refused_because", "error_status", "error_type", "error_description", "error_fields"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to Bandwidth that is about to be made."""

    at: datetime
    deadline: datetime
    """When the message counts as unknown if no result was stored by then."""
    overdue_at: datetime
    """When the outcome of every recipient should be known."""
    number: int = 1
    """How many requests were begun for the message, this one included."""

    def columns(self) -> dict[str, Any]:
        """Returns the columns of a message that hold its last attempt."""
        return {
            "attempt": self.number,
            "submitted_at": self.at,
            "deadline": self.deadline,
            "overdue_at": self.overdue_at,
        }

    def row(self) -> dict[str, Any]:
        """Returns the same columns, as the statements in outbox.sql take them."""
        return {name: instant(each) if isinstance(each, datetime) else each for name, each in self.columns().items()}


Tagged = tuple[str, OutboundMessage]
"""A message that is not stored yet, after its tag."""


def add_submitting(session: Session, message: OutboundMessage, *, tag: str, attempt: Attempt) -> int:
    """Stores a message that is about to be sent, and its recipients; returns its key."""
    row = attempt.row() | {"send_status": SendStatus.SUBMITTING, "created_at": instant(attempt.at)}
    return _insert(session, [(tag, message)], row)[0]


def add_queued(session: Session, new: Sequence[Tagged], *, now: datetime) -> list[int]:
    """Stores messages that wait for a worker, and their recipients; returns their keys in that order."""
    created_at = instant(now)
    row = {"send_status": SendStatus.QUEUED, "attempt": 0, "created_at": created_at, "claimable_at": created_at}
    return _insert(session, new, row)


def _insert(session: Session, new: Sequence[Tagged], state: dict[str, Any]) -> list[int]:
    rows = [_row(message, tag=tag) | state for tag, message in new]
    keys = {each.tag: each.pk for each in SQL.run(session, "insert messages", rows)}
    pks = [keys[tag] for tag, _ in new]
    recipients = [
        {"message_pk": pk, "recipient": number, "position": position, "created_at": state["created_at"]}
        for pk, (_, message) in zip(pks, new, strict=True)
        for position, number in enumerate(message.to)
    ]
    SQL.run(session, "insert recipients", recipients)
    return pks


def _row(message: OutboundMessage, *, tag: str) -> dict[str, Any]:
    return {
        "tag": tag,
        "reference": message.reference,
        "application_id": message.application_id,
        "sender": message.sender,
        "text": message.text,
        "media": json.dumps(message.media),
        "priority": message.priority,
        "expiration": instant(message.expiration),
        "units": message.units,
        "asked_by": message.asked_by,
    }


class Submitted(Protocol):
    """A message that submit_at_once() stored."""

    pk: int
    is_suspect: bool
    """Whether anything stands against the credentials."""


def submit_at_once(
    database: Database,
    message: OutboundMessage,
    *,
    tag: str,
    attempt: Attempt,
    key: IdempotencyKey | None,
    rates: Rates,
    credentials: str,
) -> Submitted | None:
    """Takes a turn, stores a message that is about to be sent and commits, in one journey to PostgreSQL.

    Returns None, and stores nothing, on SQLite, if the message has no turn now, or if ``key`` stands for a message.
    ``credentials`` is their fingerprint. Raises StorageUnavailable.
    """
    if database.is_sqlite:
        return None
    row = _row(message, tag=tag) | attempt.row()
    row |= {
        "recipients": message.to,
        "credentials": credentials,
        "account_seconds": rates.account and row["units"] / rates.account,
        "sender_seconds": rates.sender and row["units"] / rates.sender,
        "burst": BURST.total_seconds(),
    }
    if key is not None:
        row |= {"api_key": key.api_key, "key": key.key, "sha256": key.sha256, "expires_at": instant(key.expires_at)}
    stored: list[Submitted] = database.write_at_once(SQL.at_once["submit new message"], [to_json(row)])
    return stored[0] if stored else None


def accept_at_once(database: Database, message_pk: int, *, number: int, accepted: Accepted, now: datetime) -> bool:
    """Stores that Bandwidth accepted the attempt with that number and commits, in one journey to PostgreSQL.

    Returns False if record_result() must store it: on SQLite, if the response had no message id, or if anything else is
    known about the message or that id. Raises StorageUnavailable.
    """
    if database.is_sqlite or accepted.message_id is None:
        return False
    row = {
        "pk": message_pk,
        "attempt": number,
        "message_id": accepted.message_id,
        "segment_count": accepted.segment_count,
        "updated_at": instant(now),
    }
    return bool(database.write_at_once(SQL.at_once["store acceptance"], [to_json(row)]))


def message_with_key(session: Session, message_pk: int) -> Message | None:
    """Returns the message with that key, its recipients in the request's order and its message ids loaded. Reads."""
    return session.scalars(_WITH_KEY, {"this_pk": message_pk}).unique().one_or_none()


_WITH_KEY = select(Message).where(Message.pk == bindparam("this_pk")).options(*JOINED)


def to_outbound(row: Message) -> OutboundMessage:
    """Returns the message as it was requested; its recipients must be loaded."""
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
    """Returns those of the messages that were refused, by Bandwidth or on the way to it, and so never sent. Reads."""
    refused = (Message.send_status == SendStatus.REFUSED, Message.refused_because.in_(NOT_TAKEN))
    return session.scalars(select(Message).where(Message.pk.in_(message_pks), *refused).order_by(Message.pk)).all()


def retry_refused(session: Session, refused: Message, attempt: Attempt | None, *, now: datetime) -> bool:
    """Makes a refused message submitting by ``attempt``, or queued without one. For known-unsent messages only.

    ``refused`` is what was read of it. Returns False if it has changed since: another request began an attempt, or
    queued it and somebody cancelled it, which changes the reason but not the attempt. Also if it was redacted, because
    then there is nothing to send.
    """
    unchanged = (Message.pk == refused.pk) & (Message.attempt == refused.attempt)
    unchanged &= (Message.send_status == SendStatus.REFUSED) & (Message.refused_because == refused.refused_because)
    unchanged &= Message.redacted_at.is_(None)
    columns: dict[str, Any] = {
        "send_status": SendStatus.QUEUED,
        "failures": 0,
        "claimable_at": now,
        "updated_at": now,
    }
    if attempt is not None:
        columns = attempt.columns() | {
            "send_status": SendStatus.SUBMITTING,
            "claimable_at": None,
            "updated_at": attempt.at,
        }
    if not change(session, unchanged, **NO_ERROR | columns, denied_at=None):
        return False
    show_default_status(session, refused.pk, before=SendStatus.REFUSED, after=SendStatus.SUBMITTING, now=now)
    return True


def record_result(session: Session, message_pk: int, *, number: int, result: SendResult, now: datetime) -> None:
    """Stores the result of the attempt with that number. An event that proved acceptance outweighs any other result.

    It may be stored again when the commit was not confirmed: a message that was queued again has left the attempt.
    """
    if not isinstance(result, Accepted):
        _record_failure(session, message_pk, result, number=number, now=now)
        return
    waiting: Sequence[Linked] = ()
    if result.message_id is not None:
        waiting = bind(session, [(result.message_id, message_pk)], answered=True, now=now)
    row = {
        "pk": message_pk,
        "attempt": number,
        "segment_count": result.segment_count,
        "updated_at": instant(now),
    }
    if not SQL.run(session, "accept message", [row]).all():
        # Bandwidth has the message, whatever another attempt, a deadline or a person made of it meanwhile.
        settle(session, {message_pk}, now=now)
        change(session, Message.pk == message_pk, segment_count=result.segment_count, updated_at=now)
    if waiting:
        merge(session, waiting, now=now)


def _record_failure(
    session: Session, message_pk: int, result: Refused | Unknown, *, number: int, now: datetime
) -> None:
    this_attempt = (Message.pk == message_pk) & (Message.attempt == number)
    this_attempt &= Message.send_status != SendStatus.QUEUED
    change(session, this_attempt, **error_columns(result), updated_at=now)
    if isinstance(result, Refused):
        refuse(session, message_pk, this_attempt, because=result.because, now=now)
    else:
        change(session, this_attempt & _may_become(SendStatus.UNKNOWN), send_status=SendStatus.UNKNOWN)


def error_columns(result: Refused | Unknown) -> dict[str, Any]:
    """Returns the columns that say why the last request failed."""
    fields = result.field_errors if isinstance(result, Refused) else ()
    return {
        "error_status": result.status,
        "error_type": result.type,
        "error_description": result.description,
        "error_fields": json.dumps(fields) if fields else None,
    }


def write_lapsed(session: Session, *, now: datetime) -> int:
    """Makes unknown what is still submitting after its deadline, and shows so already; returns how many messages."""
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
    """Refuses that message if ``which`` holds for it and its state allows it; returns whether it did."""
    refused = change(
        session,
        which & _may_become(SendStatus.REFUSED),
        send_status=SendStatus.REFUSED,
        refused_because=because,
        claimable_at=None,
        updated_at=now,
    )
    if refused:
        show_default_status(session, message_pk, before=SendStatus.SUBMITTING, after=SendStatus.REFUSED, now=now)
    return bool(refused)


def show_default_status(
    session: Session, message_pk: int, *, before: SendStatus, after: SendStatus, now: datetime
) -> None:
    """Updates the recipients without any statement when their message changes from ``before`` to ``after``."""
    session.execute(
        update(Recipient)
        .where(Recipient.message_pk == message_pk, Recipient.status == default_status(before))
        .values(status=default_status(after), updated_at=now)
    )


def _may_become(target: SendStatus) -> ColumnElement[bool]:
    return Message.send_status.in_(may_become(target))


def change(session: Session, which: ColumnElement[bool], **values: Any) -> int:
    """Changes the messages for which ``which`` holds; returns how many."""
    return session.connection().execute(update(Message).where(which).values(**values)).rowcount
