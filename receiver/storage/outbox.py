"""Messages on their way to Bandwidth: written before the call, completed with its answer.

Every function runs inside one write transaction of the caller.
"""

import json
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, select, update
from sqlalchemy.orm import Session

from receiver.core.messages import Accepted, Answer, OutboundMessage, Refused
from receiver.core.send_status import RefusedBecause, SendStatus, may_become
from receiver.core.status import NO_STANDING, unsaid
from receiver.storage.linking import bind
from receiver.storage.merging import Linked, merge, settle
from receiver.storage.models import Message, Recipient
from receiver.storage.reading import lapsed


def add_submitting(
    session: Session, message: OutboundMessage, *, tag: str, now: datetime, deadline: datetime, overdue_at: datetime
) -> int:
    """Stores the message and its recipients as about to be sent; returns its key.

    ``deadline`` is when it counts as unknown if no answer was stored by then.
    """
    row = Message(
        tag=tag,
        reference=message.reference,
        application_id=message.application_id,
        sender=message.sender,
        text=message.text,
        media=json.dumps(message.media),
        priority=message.priority,
        expiration=message.expiration,
        receipts=False,
        send_status=SendStatus.SUBMITTING,
        attempt=1,
        created_at=now,
        submitted_at=now,
        deadline=deadline,
        overdue_at=overdue_at,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    session.add_all(
        Recipient(
            message_pk=row.pk,
            recipient=number,
            position=position,
            status=unsaid(SendStatus.SUBMITTING),
            standing=NO_STANDING,
            invalid_recipient=False,
            created_at=now,
            updated_at=now,
        )
        for position, number in enumerate(message.to)
    )
    return row.pk


def record_answer(session: Session, message_pk: int, *, attempt: int, answer: Answer, now: datetime) -> None:
    """Stores how the request ended. An event that proved acceptance meanwhile outweighs any other answer."""
    this_attempt = (Message.pk == message_pk) & (Message.attempt == attempt)
    if isinstance(answer, Accepted):
        waiting: list[Linked] = []
        if answer.message_id is not None:
            waiting = bind(session, [(answer.message_id, message_pk)], answered=True, now=now)
        settle(session, {message_pk}, now=now)
        _change(session, Message.pk == message_pk, segment_count=answer.segment_count, updated_at=now)
        merge(session, waiting, now=now)
        return
    _change(
        session,
        this_attempt,
        error_status=answer.status,
        error_type=answer.type,
        error_description=answer.description,
        updated_at=now,
    )
    if isinstance(answer, Refused):
        _refuse(session, message_pk, this_attempt, because=answer.because, now=now)
    else:
        _change(session, this_attempt & _may_become(SendStatus.UNKNOWN), send_status=SendStatus.UNKNOWN)


def write_lapsed(session: Session, *, now: datetime) -> int:
    """Writes what is shown already: a message still submitting after its deadline is unknown. Returns how many."""
    in_order = select(Message.pk).where(lapsed(now)).order_by(Message.pk)
    session.execute(in_order.with_for_update(key_share=True))
    return _change(
        session,
        lapsed(now),
        send_status=SendStatus.UNKNOWN,
        updated_at=Message.deadline,
    )


def _refuse(
    session: Session, message_pk: int, this_attempt: ColumnElement[bool], *, because: RefusedBecause, now: datetime
) -> None:
    refused = _change(
        session,
        this_attempt & _may_become(SendStatus.REFUSED),
        send_status=SendStatus.REFUSED,
        refused_because=because,
    )
    if refused:
        session.execute(
            update(Recipient)
            .where(Recipient.message_pk == message_pk, Recipient.status == unsaid(SendStatus.SUBMITTING))
            .values(status=unsaid(SendStatus.REFUSED), updated_at=now)
        )


def _may_become(target: SendStatus) -> ColumnElement[bool]:
    return Message.send_status.in_(may_become(target))


def _change(session: Session, which: ColumnElement[bool], **values: Any) -> int:
    result = session.execute(update(Message).where(which).values(**values))
    return cast("CursorResult[Any]", result).rowcount
