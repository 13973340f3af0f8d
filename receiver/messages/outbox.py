"""The outbox: messages are stored before the call to Bandwidth, completed with its result, and reported.

Functions with a session run inside one transaction of the caller; the others have a transaction of their own. The SQL
of what every message passes is in outbox.sql, and with it the order of locks.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session

from receiver.bandwidth.error_codes import explain
from receiver.core.messages import Accepted, IdempotencyKey, OutboundMessage, Refused, SendResult, Unknown, units
from receiver.core.pace import BURST, Rates
from receiver.core.send_status import NOT_TAKEN, RefusedBecause, SendStatus, may_become, shown
from receiver.core.status import (
    TERMINAL,
    ConfirmedBy,
    RecipientStatus,
    confirmed_by,
    default_status,
    is_overdue,
)
from receiver.database.database import Database
from receiver.database.json_rows import in_texts, instant, statements
from receiver.database.lookup import JOINED, lapsed
from receiver.database.models import Message, Recipient
from receiver.database.pipeline import Pipeline, StatementRefused
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


Tagged = tuple[str, OutboundMessage]
"""A message that is not stored yet, after its tag."""


def add_submitting(session: Session, message: OutboundMessage, *, tag: str, attempt: Attempt) -> int:
    """Stores a message that is about to be sent, and its recipients; returns its key."""
    state = {"send_status": SendStatus.SUBMITTING, "created_at": attempt.at} | attempt.columns()
    return _insert(session, [(tag, message)], state)[0]


def add_queued(session: Session, new: Sequence[Tagged], *, now: datetime) -> list[int]:
    """Stores messages that wait for a worker, and their recipients; returns their keys in that order."""
    state = {"send_status": SendStatus.QUEUED, "attempt": 0, "created_at": now, "claimable_at": now}
    return _insert(session, new, state)


def _insert(session: Session, new: Sequence[Tagged], state: dict[str, Any]) -> list[int]:
    rows = [in_texts(_row(message, tag=tag) | state) for tag, message in new]
    keys = {each.tag: each.pk for each in SQL.run(session, "insert messages", rows)}
    pks = [keys[tag] for tag, _ in new]
    recipients = [
        {"message_pk": pk, "recipient": number, "position": position, "created_at": instant(state["created_at"])}
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
        "expiration": message.expiration,
        "units": units(message),
        "asked_by": message.asked_by,
    }


class Submitted(msgspec.Struct, frozen=True):
    """A message that was submitted in one round trip to the database."""

    pk: int
    is_suspect: bool
    """Whether anything stands against the credentials."""


def submit_by_pipeline(
    database: Database,
    message: OutboundMessage,
    *,
    tag: str,
    attempt: Attempt,
    key: IdempotencyKey | None,
    rates: Rates,
    credentials: str,
) -> Submitted | None:
    """Takes a turn, stores a message that is about to be sent and commits, in one round trip to PostgreSQL.

    Returns None, and stores nothing, on SQLite, if the message has no turn now, or if ``key`` stands for a message.
    ``credentials`` is their fingerprint. Raises StorageUnavailable.
    """
    if database.is_sqlite:
        return None
    row = _row(message, tag=tag) | attempt.columns()
    row |= {
        "recipients": message.to,
        "credentials": credentials,
        "account_seconds": rates.account and row["units"] / rates.account,
        "sender_seconds": rates.sender and row["units"] / rates.sender,
        "burst": BURST.total_seconds(),
    }
    if key is not None:
        row |= {"api_key": key.api_key, "key": key.key, "sha256": key.sha256, "expires_at": key.expires_at}
    stored = run_pipeline(database, "submit new message", row)
    return msgspec.json.decode(stored, type=Submitted) if stored else None


def run_pipeline(database: Database, name: str, row: dict[str, Any]) -> bytes:
    """Runs that statement of outbox.sql in one round trip to PostgreSQL; returns its value, empty if it stored nothing.

    Raises StorageUnavailable. What the server refuses is left to the way of several statements, which reports it.
    """
    try:
        return Pipeline(database, SQL.pipelined[name], keeps=False).run(msgspec.json.encode(row))
    except StatementRefused:
        return b""


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

    It is equal to report_message() of the stored message, without another round trip to the database.
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
