"""Links: which message a message id stands for, and which events waited to learn that.

Everything here runs inside one write transaction of the caller.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session, aliased

from receiver.core.events import INBOUND_TYPES
from receiver.core.send_status import SendStatus
from receiver.core.tags import is_tag
from receiver.storage.merging import Linked, to_event
from receiver.storage.models import Message, MessageId, StoredEvent
from receiver.storage.rows import insert_rows, parameter, rows_of

log = logging.getLogger(__name__)

LINKED_BY_TAG, LINKED_BY_MESSAGE_ID = "tag", "messageId"

Claim = tuple[str, int | None]
"""A message id, and the key of the message whose tag or answer it came with; None when it came alone."""


@dataclass(frozen=True, slots=True)
class Known:
    """What tags and message ids stand for, as far as that is known before anything is locked; it never changes."""

    tagged: dict[str, int]
    """The messages of the tags that are ours."""
    bound: dict[str, int]
    """The message that each id stands for; an id that stands for none is absent."""
    accepted: dict[int, bool]
    """Which of these messages are accepted already, and whether of them receipts are known to be on."""


def look_up(session: Session, pairs: Iterable[tuple[str | None, str]]) -> Known:
    """What is known of these pairs of a tag, if there is one, and a message id."""
    rows = [
        {"tag": tag if tag and is_tag(tag) else None, "message_id": message_id}
        for tag, message_id in dict.fromkeys(pairs)
    ]
    known = Known({}, {}, {})
    connection = session.connection()
    for row in connection.execute(_look_up(connection.dialect.name), parameter(rows)) if rows else ():
        if row.tagged is not None:
            known.tagged[row.tag] = row.tagged
        if row.bound is not None:
            known.bound[row.message_id] = row.bound
        if row.send_status == SendStatus.ACCEPTED:
            known.accepted[row.tagged or row.bound] = row.receipts
    return known


@cache
def _look_up(dialect: str) -> Select[Any]:
    ids, tagged, either = aliased(MessageId), aliased(Message), aliased(Message)
    given = rows_of(dialect, Message.tag, MessageId.message_id)
    return (
        select(
            given.c.tag,
            given.c.message_id,
            tagged.pk.label("tagged"),
            ids.message_pk.label("bound"),
            either.send_status,
            either.receipts,
        )
        .select_from(given)
        .outerjoin(tagged, tagged.tag == given.c.tag)
        .outerjoin(ids, ids.message_id == given.c.message_id)
        .outerjoin(either, either.pk == func.coalesce(tagged.pk, ids.message_pk))
    )


@dataclass(frozen=True, slots=True)
class Binding:
    """What is known of message ids once they are locked."""

    messages: dict[str, int]
    """The message that each id stands for; an id that stands for none is absent."""
    waiting: list[Linked]
    """Events that waited to learn their message, linked now; their statements are still to be merged."""


def bind(
    session: Session, claims: Sequence[Claim], *, known: Mapping[str, int], answered: bool, now: datetime
) -> Binding:
    """Makes each message id stand for the message it is claimed for, and links the events that waited for that.

    An id that stands for a message already keeps it; ``known`` are those of which that need not be asked again.
    Whoever brings an id that stands for none locks its row, so an event that is being parked and the answer that names
    its id cannot miss each other.
    """
    wanted: dict[str, int | None] = {}
    for message_id, message_pk in claims:
        if message_id not in known:
            wanted[message_id] = wanted.get(message_id) or message_pk
    newly = _lock_message_ids(session, wanted, answered=answered, now=now) if wanted else {}
    binding = Binding({**known, **newly}, _link_waiting(session, newly) if newly else [])
    for message_id, message_pk in claims:
        if message_pk is not None and binding.messages[message_id] != message_pk:
            log.error("message id %s came with two of our tags; the first message keeps it", message_id)
    return binding


def _lock_message_ids(
    session: Session, wanted: Mapping[str, int | None], *, answered: bool, now: datetime
) -> dict[str, int]:
    rows = [
        {
            "message_id": message_id,
            "message_pk": message_pk,
            "answered": answered,
            "linked_at": now if message_pk else None,
        }
        for message_id, message_pk in sorted(wanted.items())
    ]
    connection = session.connection()
    locked = connection.execute(_message_id_upsert(connection.dialect.name), parameter(rows))
    return {row.message_id: row.message_pk for row in locked if row.message_pk is not None}


@cache
def _message_id_upsert(dialect: str) -> Any:
    insert = insert_rows(dialect, MessageId)
    same = or_(MessageId.message_pk.is_(None), MessageId.message_pk == insert.excluded.message_pk)
    return insert.on_conflict_do_update(
        index_elements=[MessageId.message_id],
        set_={
            "message_pk": func.coalesce(MessageId.message_pk, insert.excluded.message_pk),
            "linked_at": func.coalesce(MessageId.linked_at, insert.excluded.linked_at),
            "answered": or_(MessageId.answered, insert.excluded.answered & same),
        },
    ).returning(MessageId.message_id, MessageId.message_pk)


def _link_waiting(session: Session, newly: Mapping[str, int]) -> list[Linked]:
    """Links the events that came before anybody knew which message their id stands for."""
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
