"""Messages of which it is not known what became of them, and to which of them a message id may belong."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import CompoundSelect, and_, exists, or_, select, union_all
from sqlalchemy.orm import Session, selectinload

from receiver.core.events import Event
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.lookup import is_open, lapsed, shows
from receiver.database.models import Message, MessageId, Recipient
from receiver.events.links import bind
from receiver.events.store import record

RECONCILE = "reconcile"
"""The source of an event that we asked Bandwidth for."""

RESTORED = "restored"
"""The error's type of a message that a restored backup took for unsent."""


def tags_in_doubt(session: Session, *, since: datetime, open_before: datetime, now: datetime) -> Sequence[str]:
    """Of the messages sent since then that are shown as unknown, or have a recipient who is overdue; oldest first.

    Nobody is overdue whose message was created after ``open_before``.
    """
    # As a union of three, each by an index.
    suspects: CompoundSelect[tuple[int]] = union_all(
        select(Message.pk).where(Message.send_status == SendStatus.UNKNOWN).correlate(None),
        select(Message.pk).where(lapsed(now)).correlate(None),
        select(Recipient.message_pk).where(is_open(Recipient), Recipient.created_at <= open_before),
    )
    overdue = and_(Message.send_status == SendStatus.ACCEPTED, Message.overdue_at < now)
    return session.scalars(
        select(Message.tag)
        .where(Message.pk.in_(suspects), Message.submitted_at >= since)
        .where(or_(shows(SendStatus.UNKNOWN, now=now), overdue))
        .order_by(Message.tag)
    ).all()


def ids_of_others(session: Session, message_pk: int, message_ids: Collection[str]) -> set[str]:
    """Those of the message ids that stand for another message of ours."""
    taken = (MessageId.message_id.in_(message_ids), MessageId.message_pk != message_pk)
    return set(session.scalars(select(MessageId.message_id).where(*taken)))


def has_rival(session: Session, message: Message, *, since: datetime, until: datetime) -> bool:
    """Whether another message of ours to the same recipients, of which no message id is known, may have been sent while
    this one was: it was on its way between the two instants, and is not known never to have been sent. A restored
    backup does not know all that were."""
    if message.error_type == RESTORED:
        return True
    not_sent = and_(Message.send_status == SendStatus.REFUSED, Message.refused_because != RefusedBecause.OPERATOR.value)
    # By one of its numbers, which an index knows: a sender may have sent to everybody, always.
    to_one = select(Recipient.message_pk).where(Recipient.recipient == message.recipients[0].recipient)
    others = session.scalars(
        select(Message)
        .where(Message.pk.in_(to_one), Message.sender == message.sender, Message.pk != message.pk)
        .where(Message.submitted_at <= until, Message.deadline >= since)
        .where(Message.send_status != SendStatus.QUEUED, ~not_sent)
        .where(~exists().where(MessageId.message_pk == Message.pk))
        .options(selectinload(Message.recipients))
    )
    return any(_numbers(other) == _numbers(message) for other in others)


def record_found(session: Session, message_pk: int, message_id: str, events: Sequence[Event], *, now: datetime) -> bool:
    """Makes the message id stand for the message and records these events of it; False, and nothing is recorded, if
    that id stands for another message by now, or the message has another id."""
    bound = or_(MessageId.message_id == message_id, MessageId.message_pk == message_pk)
    for row in session.scalars(select(MessageId).where(bound)):
        if row.message_id != message_id or row.message_pk not in (None, message_pk):
            return False
    waiting = bind(session, [(message_id, message_pk)], answered=False, now=now)
    record(session, events, now=now, source=RECONCILE, waiting=waiting)
    return True


def _numbers(message: Message) -> set[str]:
    return {each.recipient for each in message.recipients}
