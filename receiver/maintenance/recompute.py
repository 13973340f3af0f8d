"""Compares the stored outcome of every recipient with the fold of its stored events, and repairs what differs.

This is needed after a release that learns an event type or changes the order of events; a check proves that the stored
state is the fold of the events.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.send_status import SendStatus
from receiver.core.status import RECEIPT_TYPES, fold, has_old_order
from receiver.database.database import Database
from receiver.database.models import Message, Recipient, StoredEvent
from receiver.events.outcomes import Linked, outcome_values, set_recipient, to_event

BATCH = 200
"""Messages per transaction: few enough not to delay callbacks."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One stored fact that is not the fold of its events."""

    tag: str
    recipient: str | None
    """None if it is about the message itself."""
    stored: str
    folded: str
    values: dict[str, Any]
    """The columns as they should be."""
    message_pk: int
    only_order: bool = False
    """Whether everything shown is right, and only the standing has the order of an earlier release."""


@dataclass(frozen=True, slots=True)
class RecomputedBatch:
    """The differences that one transaction found, and repaired unless it only checked."""

    messages: int
    last_tag: str
    """Where to resume after it."""
    differences: list[Difference]


def recompute(database: Database, *, check: bool, after_tag: str = "") -> Iterator[RecomputedBatch]:
    """Goes through all messages with a higher tag than ``after_tag``, oldest first; ``check`` changes nothing."""

    def work(session: Session) -> RecomputedBatch | None:
        messages = messages_after(session, after_tag, limit=BATCH)
        if not messages:
            return None
        differences = compare(session, messages)
        if not check:
            repair(session, differences, now=times.now())
        return RecomputedBatch(len(messages), messages[-1].tag, differences)

    while batch := database.write(work):
        yield batch
        after_tag = batch.last_tag


def messages_after(session: Session, tag: str, *, limit: int) -> Sequence[Message]:
    """The messages with a higher tag, in the order of tags."""
    return session.scalars(select(Message).where(Message.tag > tag).order_by(Message.tag).limit(limit)).all()


def compare(session: Session, messages: Sequence[Message]) -> list[Difference]:
    """The differences of these messages, which are locked so that no event is merged before the repair."""
    locked = (
        select(Message)
        .where(Message.pk.in_([message.pk for message in messages]))
        .order_by(Message.pk)
        .with_for_update(key_share=True)
    )
    by_pk = {each.pk: each for each in session.scalars(locked, execution_options={"populate_existing": True})}
    recipients = session.scalars(
        select(Recipient)
        .where(Recipient.message_pk.in_(by_pk))
        .order_by(Recipient.message_pk, Recipient.recipient)
        .with_for_update()
    ).all()
    events: dict[int, list[Linked]] = {pk: [] for pk in by_pk}
    for row in session.scalars(select(StoredEvent).where(StoredEvent.message_pk.in_(by_pk)).order_by(StoredEvent.pk)):
        if row.message_pk is not None:
            events[row.message_pk].append(Linked(row.pk, row.message_pk, to_event(row)))
    found = [each for message in by_pk.values() for each in _message_differences(message, events[message.pk])]
    for recipient in recipients:
        found += _recipient_differences(by_pk[recipient.message_pk], recipient, events[recipient.message_pk])
    return found


def _message_differences(message: Message, events: Sequence[Linked]) -> list[Difference]:
    receipts = any(each.event.type in RECEIPT_TYPES for each in events)
    send_status = SendStatus.ACCEPTED if events else message.send_status
    stored, folded = _words(message.send_status, message.receipts), _words(send_status, receipts)
    if stored == folded:
        return []
    values = {"receipts": receipts, "send_status": send_status} | ({"refused_because": None} if events else {})
    return [Difference(message.tag, None, stored, folded, values, message.pk)]


def _words(send_status: str, receipts: bool) -> str:
    return f"{send_status}, receipts on" if receipts else send_status


def _recipient_differences(message: Message, recipient: Recipient, events: Sequence[Linked]) -> list[Difference]:
    own = [each for each in events if each.event.recipient == recipient.recipient]
    outcome = fold(each.event for each in own)
    winner = next((each for each in own if each.event is outcome.winner), None)
    send_status = SendStatus.ACCEPTED if events else SendStatus(message.send_status)
    values = outcome_values(winner, send_status=send_status) | {"invalid_recipient": outcome.invalid_recipient}
    wrong = [column for column, value in values.items() if getattr(recipient, column) != value]
    if not wrong:
        return []
    only_order = wrong == ["standing"] and has_old_order(recipient.standing)
    if "status" in wrong:
        stored, folded = recipient.status, str(values["status"])
    else:
        stored = ", ".join(f"{column} {getattr(recipient, column)}" for column in wrong)
        folded = ", ".join(f"{column} {values[column]}" for column in wrong)
    return [Difference(message.tag, recipient.recipient, stored, folded, values, recipient.message_pk, only_order)]


def repair(session: Session, differences: Sequence[Difference], *, now: datetime) -> None:
    """Writes the folded values. A recipient that shows the same as before does not count as updated."""
    for each in differences:
        values = each.values if each.only_order else each.values | {"updated_at": now}
        if each.recipient is None:
            session.execute(update(Message).where(Message.pk == each.message_pk).values(values))
        else:
            session.execute(set_recipient((each.message_pk, each.recipient)).values(values))
