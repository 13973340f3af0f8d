"""Links: which message a message id stands for, and which events waited to learn that.

Everything here runs inside one write transaction of the caller.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES
from receiver.core.tags import is_tag
from receiver.storage.database import chunks, insert_into
from receiver.storage.merging import Linked, to_event
from receiver.storage.models import Message, MessageId, StoredEvent

log = logging.getLogger(__name__)

LINKED_BY_TAG, LINKED_BY_MESSAGE_ID = "tag", "messageId"

Claim = tuple[str, int | None]
"""A message id, and the key of the message whose tag or answer it came with; None when it came alone."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What is known of message ids once they are locked."""

    messages: dict[str, int]
    """The message that each id stands for; an id that stands for none is absent."""
    waiting: list[Linked]
    """Events that waited to learn their message, linked now; their statements are still to be merged."""


def bind(session: Session, claims: Sequence[Claim], *, answered: bool, now: datetime) -> Binding:
    """Makes each message id stand for the message it is claimed for, and links the events that waited for that.

    An id that stands for a message already keeps it. Whoever brings an id that stands for none locks its row, so an
    event that is being parked and the answer that names its id cannot miss each other.
    """
    wanted: dict[str, int | None] = {}
    for message_id, message_pk in claims:
        wanted[message_id] = wanted.get(message_id) or message_pk
    binding = Binding({}, [])
    for chunk in chunks(sorted(wanted)):
        known = {} if answered else _messages_of(session, chunk)
        rows = [
            {
                "message_id": message_id,
                "message_pk": wanted[message_id],
                "answered": answered,
                "linked_at": now if wanted[message_id] else None,
            }
            for message_id in chunk
            if message_id not in known
        ]
        newly = _lock_message_ids(session, rows) if rows else {}
        binding.messages.update(known | newly)
        binding.waiting.extend(_link_waiting(session, newly))
    for message_id, message_pk in claims:
        if message_pk is not None and binding.messages[message_id] != message_pk:
            log.error("message id %s came with two of our tags; the first message keeps it", message_id)
    return binding


def _lock_message_ids(session: Session, rows: list[dict[str, Any]]) -> dict[str, int]:
    insert = insert_into(session.connection(), MessageId)
    same = or_(MessageId.message_pk.is_(None), MessageId.message_pk == insert.excluded.message_pk)
    upsert = insert.on_conflict_do_update(
        index_elements=[MessageId.message_id],
        set_={
            "message_pk": func.coalesce(MessageId.message_pk, insert.excluded.message_pk),
            "linked_at": func.coalesce(MessageId.linked_at, insert.excluded.linked_at),
            "answered": or_(MessageId.answered, insert.excluded.answered & same),
        },
    ).returning(MessageId.message_id, MessageId.message_pk)
    return {row.message_id: row.message_pk for row in session.execute(upsert, rows) if row.message_pk is not None}


def _link_waiting(session: Session, newly: dict[str, int]) -> list[Linked]:
    """Links the events that came before anybody knew which message their id stands for."""
    if not newly:
        return []
    waiting = session.scalars(
        select(StoredEvent)
        .where(
            StoredEvent.message_id.in_(newly),
            StoredEvent.message_pk.is_(None),
            StoredEvent.type.not_in(INBOUND_TYPES),
        )
        .order_by(StoredEvent.pk)
    ).all()
    for row in waiting:
        row.message_pk = newly[row.message_id]
        row.linked_by = LINKED_BY_MESSAGE_ID
    session.flush()
    return [Linked(row.pk, newly[row.message_id], to_event(row)) for row in waiting]


def _messages_of(session: Session, message_ids: Sequence[str]) -> dict[str, int]:
    rows = session.execute(
        select(MessageId.message_id, MessageId.message_pk).where(
            MessageId.message_id.in_(message_ids), MessageId.message_pk.is_not(None)
        )
    )
    return {row.message_id: row.message_pk for row in rows if row.message_pk is not None}


def messages_tagged(session: Session, tags: Iterable[str]) -> dict[str, int]:
    """The messages of those tags that are ours."""
    ours: dict[str, int] = {}
    for chunk in chunks(sorted({tag for tag in tags if is_tag(tag)})):
        rows = session.execute(select(Message.tag, Message.pk).where(Message.tag.in_(chunk)))
        ours |= {row.tag: row.pk for row in rows}
    return ours
