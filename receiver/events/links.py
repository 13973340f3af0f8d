"""Links: which message a message id stands for, and which events waited to learn that.

Everything here runs inside one write transaction of the caller.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES, LinkedBy
from receiver.core.numbers import identifier
from receiver.core.tags import is_tag
from receiver.database.json_rows import insert_rows, instant, is_one_of, parameter, rows_of
from receiver.database.models import Message, MessageId, StoredEvent
from receiver.events.outcomes import Linked, to_event
from receiver.log import get_logger

log = get_logger(__name__)

Claim = tuple[str, int | None]
"""A message id, and the key of the message whose tag or answer it came with; None when it came alone."""


def messages_tagged(session: Session, tags: Iterable[str]) -> dict[str, int]:
    """The messages of those tags that are ours."""
    wanted = {tag for tag in tags if is_tag(tag)}
    rows = session.execute(select(Message.tag, Message.pk).where(Message.tag.in_(wanted))) if wanted else ()
    return {row.tag: row.pk for row in rows}


def bind(session: Session, claims: Sequence[Claim], *, answered: bool, now: datetime) -> list[Linked]:
    """Makes each message id stand for the message it is claimed for, unless it stands for one already.

    Returns the events that waited to learn that, linked now; their statements are still to be merged. Whoever brings
    an id that stands for none locks its row, so an event that is being parked and the answer that names its id cannot
    miss each other.
    """
    wanted: dict[str, int | None] = {}
    for message_id, message_pk in claims:
        wanted[message_id] = wanted.get(message_id) or message_pk
    known = {} if answered else _messages_of(session, wanted)
    unknown = {message_id: message_pk for message_id, message_pk in wanted.items() if message_id not in known}
    newly = _lock_message_ids(session, unknown, answered=answered, now=now) if unknown else {}
    for message_id, message_pk in claims:
        if message_pk not in (None, known.get(message_id), newly.get(message_id)):
            report_clash(message_id)
    return _link_waiting(session, newly) if newly else []


def _messages_of(session: Session, message_ids: Iterable[str]) -> dict[str, int]:
    rows = session.execute(
        select(MessageId.message_id, MessageId.message_pk).where(
            MessageId.message_id.in_(message_ids), MessageId.message_pk.is_not(None)
        )
    )
    return {row.message_id: row.message_pk for row in rows if row.message_pk is not None}


def report_clash(message_id: str) -> None:
    """Two of our tags under one id cannot happen unless Bandwidth errs."""
    log.error("a message id came with two of our tags; the first message keeps it", message_id=identifier(message_id))


def _lock_message_ids(
    session: Session, wanted: Mapping[str, int | None], *, answered: bool, now: datetime
) -> dict[str, int]:
    rows = [
        {
            "message_id": message_id,
            "message_pk": message_pk,
            "answered": answered,
            "linked_at": instant(now) if message_pk else None,
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
    query = _waiting_events(session.connection().dialect.name)
    waiting = session.scalars(query, parameter({"message_id": message_id} for message_id in sorted(newly))).all()
    for row in waiting:
        row.message_pk = newly[row.message_id]
        row.linked_by = LinkedBy.MESSAGE_ID
    session.flush()
    return [Linked(row.pk, newly[row.message_id], to_event(row)) for row in waiting]


@cache
def _waiting_events(dialect: str) -> Select[StoredEvent]:
    given = rows_of(dialect, StoredEvent.message_id)
    return (
        select(StoredEvent)
        .join(given, StoredEvent.message_id == given.c.message_id)
        .where(StoredEvent.message_pk.is_(None), ~is_one_of(StoredEvent.type, INBOUND_TYPES))
        .order_by(StoredEvent.pk)
    )
