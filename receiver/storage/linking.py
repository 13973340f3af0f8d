"""Links: which message a message id stands for, and which events waited to learn that.

Everything here runs inside one write transaction of the caller.
"""

import logging
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES
from receiver.core.tags import is_tag
from receiver.storage.database import insert_into
from receiver.storage.merging import Linked, merge, to_event
from receiver.storage.models import Message, MessageId, StoredEvent

log = logging.getLogger(__name__)

LINKED_BY_TAG, LINKED_BY_MESSAGE_ID = "tag", "messageId"


def bind(session: Session, wanted: dict[str, int | None], *, answered: bool, now: datetime) -> dict[str, int]:
    """Makes each message id stand for its message, and links the events that waited for that.

    ``wanted`` gives the message of each id, None where only the id is known; what is returned are the ids that stand
    for a message now. An id that stands for a message already keeps it. Whoever brings an id that stands for none
    locks its row, so an event that is being parked and the answer that names its id cannot miss each other.
    """
    bound = {} if answered else _messages_of(session, wanted)
    rows = [
        {
            "message_id": message_id,
            "message_pk": wanted[message_id],
            "answered": answered,
            "linked_at": now if wanted[message_id] else None,
        }
        for message_id in sorted(wanted.keys() - bound.keys())
    ]
    if not rows:
        return bound
    insert = insert_into(session, MessageId)
    same = or_(MessageId.message_pk.is_(None), MessageId.message_pk == insert.excluded.message_pk)
    upsert = insert.on_conflict_do_update(
        index_elements=[MessageId.message_id],
        set_={
            "message_pk": func.coalesce(MessageId.message_pk, insert.excluded.message_pk),
            "linked_at": func.coalesce(MessageId.linked_at, insert.excluded.linked_at),
            "answered": or_(MessageId.answered, insert.excluded.answered & same),
        },
    ).returning(MessageId.message_id, MessageId.message_pk)
    newly = {row.message_id: row.message_pk for row in session.execute(upsert, rows) if row.message_pk is not None}
    _link_waiting(session, newly, now=now)
    return bound | newly


def check_claims(claims: Iterable[tuple[str, int | None]], bound: dict[str, int]) -> None:
    """Logs every message id that was claimed for a message but stands for another, which keeps it."""
    for message_id, claim in claims:
        if claim is not None and bound.get(message_id) != claim:
            log.error("message id %s came with two of our tags; the first message keeps it", message_id)


def _link_waiting(session: Session, newly: dict[str, int], *, now: datetime) -> None:
    """Links the events that came before anybody knew which message their id stands for."""
    waiting = session.scalars(
        select(StoredEvent)
        .where(
            StoredEvent.message_id.in_(sorted(newly)),
            StoredEvent.message_pk.is_(None),
            StoredEvent.type.not_in(INBOUND_TYPES),
        )
        .order_by(StoredEvent.pk)
    ).all()
    for row in waiting:
        row.message_pk = newly[row.message_id]
        row.linked_by = LINKED_BY_MESSAGE_ID
    session.flush()
    merge(session, [Linked(row.pk, newly[row.message_id], to_event(row)) for row in waiting], now=now)


def _messages_of(session: Session, message_ids: Iterable[str]) -> dict[str, int]:
    rows = session.execute(
        select(MessageId.message_id, MessageId.message_pk).where(
            MessageId.message_id.in_(sorted(message_ids)), MessageId.message_pk.is_not(None)
        )
    )
    return {row.message_id: row.message_pk for row in rows if row.message_pk is not None}


def messages_tagged(session: Session, tags: Iterable[str]) -> dict[str, int]:
    candidates = sorted({tag for tag in tags if is_tag(tag)})
    rows = session.execute(select(Message.tag, Message.pk).where(Message.tag.in_(candidates))) if candidates else ()
    return {row.tag: row.pk for row in rows}
