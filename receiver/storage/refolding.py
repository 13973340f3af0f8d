"""Compares the stored outcome of every recipient with the fold of its stored events, and repairs it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus, fold
from receiver.storage.merging import Linked, accept, outcome_values, set_recipient, to_event
from receiver.storage.models import Message, Recipient, StoredEvent


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is stored otherwise than its events say."""

    tag: str
    recipient: str | None
    """None when it is about the message itself."""
    stored: str
    folded: str
    values: dict[str, Any]
    """The columns as they should be."""
    message_pk: int


def messages_after(session: Session, tag: str, *, limit: int) -> Sequence[Message]:
    """The messages with a higher tag, in the order of tags."""
    return session.scalars(select(Message).where(Message.tag > tag).order_by(Message.tag).limit(limit)).all()


def compare(session: Session, messages: Sequence[Message]) -> list[Difference]:
    """What differs. Locks the recipients, so that no event is merged between the comparison and the repair."""
    pks = [message.pk for message in messages]
    recipients = session.scalars(
        select(Recipient)
        .where(Recipient.message_pk.in_(pks))
        .order_by(Recipient.message_pk, Recipient.recipient)
        .with_for_update()
    ).all()
    said: dict[tuple[int, str], list[Linked]] = defaultdict(list)
    accepted: set[int] = set()
    for row in session.scalars(select(StoredEvent).where(StoredEvent.message_pk.in_(pks)).order_by(StoredEvent.pk)):
        said[row.message_pk or 0, row.recipient].append(Linked(row.pk, row.message_pk or 0, to_event(row)))
        accepted.add(row.message_pk or 0)
    by_pk = {message.pk: message for message in messages}
    found = [
        Difference(message.tag, None, message.send_status, SendStatus.ACCEPTED, {}, message.pk)
        for message in messages
        if message.pk in accepted and message.send_status != SendStatus.ACCEPTED
    ]
    for recipient in recipients:
        message = by_pk[recipient.message_pk]
        refused = message.send_status == SendStatus.REFUSED and message.pk not in accepted
        unsaid = RecipientStatus.NOT_SENT if refused else RecipientStatus.PENDING
        found += _difference(message.tag, recipient, said[recipient.message_pk, recipient.recipient], unsaid=unsaid)
    return found


def repair(session: Session, differences: Sequence[Difference], *, now: datetime) -> None:
    """Writes what the events say."""
    accept(session, (each.message_pk for each in differences if each.recipient is None), now=now)
    for each in differences:
        if each.recipient is not None:
            values = each.values | {"updated_at": now}
            session.execute(set_recipient((each.message_pk, each.recipient)).values(values))


def _difference(tag: str, recipient: Recipient, said: Sequence[Linked], *, unsaid: RecipientStatus) -> list[Difference]:
    outcome = fold(each.event for each in said)
    winner = next((each for each in said if each.event is outcome.winner), None)
    values = outcome_values(winner, unsaid=unsaid) | {"invalid_recipient": outcome.invalid_recipient}
    if all(getattr(recipient, column) == value for column, value in values.items()):
        return []
    return [Difference(tag, recipient.recipient, recipient.status, values["status"], values, recipient.message_pk)]
