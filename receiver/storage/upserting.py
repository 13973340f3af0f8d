"""The statement that stores events: each once, linked to the message of its tag or else of its message id."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Boolean,
    ColumnElement,
    LargeBinary,
    Row,
    Select,
    String,
    bindparam,
    case,
    column,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES, Gathered, Identity, Reply
from receiver.database.json_rows import insert_from, instant, is_one_of, parameter, rows_of
from receiver.database.models import Instant, Message, MessageId, StoredEvent
from receiver.storage.linking import LINKED_BY_MESSAGE_ID, LINKED_BY_TAG


class Received(NamedTuple):
    """When an event first came and last came, by our clock."""

    first: datetime
    last: datetime


def row_of(gathered: Gathered, *, now: datetime, source: str) -> dict[str, Any]:
    """The row of a new event; ``claim`` is the tag of the message that it is to be linked to."""
    event = gathered.event
    # Rows are written in the order of locks; a microsecond apart, they can be read in the order of arrival.
    received_at = instant(now + timedelta(microseconds=gathered.place))
    return {
        "message_id": event.message_id,
        "recipient": event.recipient,
        "type": event.type,
        "error_code": event.error_code,
        "claim": event.tag,
        "tag": event.tag,
        "description": event.description,
        "occurred_at": instant(event.occurred_at),
        "first_received_at": received_at,
        "last_received_at": received_at,
        "deliveries": gathered.deliveries,
        "source": source,
        "payload": event.payload,
        **columns_of(event.reply),
    }


def columns_of(reply: Reply | None) -> dict[str, str | None]:
    """The columns of an event that tell what a person sent to us; null means that nobody has read it yet."""
    if reply is None:
        return dict.fromkeys(REPLY)
    return {
        "sender": reply.sender,
        "text": reply.text,
        "media": _array(reply.media),
        "members": _array(reply.members),
        "keyword": reply.keyword,
    }


def _array(texts: Sequence[str]) -> str:
    return json.dumps(texts, ensure_ascii=False)


REPLY = ("sender", "text", "media", "members", "keyword")


def times_of(received: Received) -> dict[str, Any]:
    """The columns that tell when an event came, if it did not come now."""
    return {"first_received_at": instant(received.first), "last_received_at": instant(received.last)}


def upsert_events(
    session: Session, rows: Sequence[Mapping[str, Any]], *, anyway: bool = False
) -> dict[Identity, Row[Any]]:
    """Stores the events and links each to the message that has the tag ``claim``, or else to that of its message id.

    Unless ``anyway``, nothing is stored if any message id stands for no message: its row must be locked before.
    """
    connection = session.connection()
    upsert = _event_upsert(connection.dialect.name)
    stored = connection.execute(upsert, parameter(rows) | {"anyway": anyway}) if rows else ()
    return {(row.message_id, row.recipient, row.type, row.error_code): row for row in stored}


@cache
def _event_upsert(dialect: str) -> Any:
    """A repeat counts, may tell an earlier time, and may link; everything else stays that of the first. It may have
    come before the first: what was unreadable then and is read again."""
    insert = insert_from(dialect, StoredEvent, _linked_rows(dialect))
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[StoredEvent.message_id, StoredEvent.recipient, StoredEvent.type, StoredEvent.error_code],
        set_={
            "deliveries": StoredEvent.deliveries + new.deliveries,
            "first_received_at": _pick(new.first_received_at < StoredEvent.first_received_at, new, "first_received_at"),
            "last_received_at": _pick(new.last_received_at > StoredEvent.last_received_at, new, "last_received_at"),
            "occurred_at": _pick(
                or_(StoredEvent.occurred_at.is_(None), new.occurred_at < StoredEvent.occurred_at), new, "occurred_at"
            ),
            "message_pk": func.coalesce(StoredEvent.message_pk, new.message_pk),
            "linked_by": func.coalesce(StoredEvent.linked_by, new.linked_by),
        },
    ).returning(
        StoredEvent.pk,
        StoredEvent.message_id,
        StoredEvent.recipient,
        StoredEvent.type,
        StoredEvent.error_code,
        StoredEvent.message_pk,
        StoredEvent.occurred_at,
        StoredEvent.description,
        StoredEvent.deliveries,
        StoredEvent.first_received_at,
        # Whether receipts are on; null unless the message is accepted. (On SQLite, SQLAlchemy takes the tables' names
        # out of all that is returned, so these are written as text.)
        literal_column(
            "(SELECT m.receipts FROM messages m WHERE m.pk = events.message_pk AND m.send_status = 'accepted')", Boolean
        ).label("receipts"),
        # The tag of the message that its message id stands for; without the cast SQLite would read all of them.
        literal_column(
            "(SELECT m.tag FROM message_ids i JOIN messages m ON m.pk = i.message_pk"
            " WHERE i.message_id = CAST(events.message_id AS TEXT))",
            String,
        ).label("bound_tag"),
        # What was known before: of the recipient, whose standing is null if the message has no such recipient.
        _of_recipient("r.standing", LargeBinary).label("standing_before"),
        _of_recipient("r.invalid_recipient", Boolean).label("was_invalid"),
        _of_recipient("r.updated_at", Instant).label("changed_before"),
        literal_column("(SELECT m.submitted_at FROM messages m WHERE m.pk = events.message_pk)", Instant).label(
            "submitted_at"
        ),
    )


def _of_recipient(column: str, its_type: Any) -> ColumnElement[Any]:
    same = "r.message_pk = events.message_pk AND r.recipient = CAST(events.recipient AS TEXT)"
    return literal_column(f"(SELECT {column} FROM recipients r WHERE {same})", its_type)  # noqa: S608 - constants


def _linked_rows(dialect: str) -> Select[Any]:
    given = rows_of(dialect, *(StoredEvent.__table__.c[name] for name in GIVEN), column("claim", String))
    inbound = is_one_of(given.c.type, INBOUND_TYPES)
    by_tag, by_id = Message.pk.is_not(None), MessageId.message_pk.is_not(None)
    linked = (
        select(
            *(given.c[name] for name in GIVEN),
            func.coalesce(Message.pk, MessageId.message_pk).label("message_pk"),
            case((by_tag, LINKED_BY_TAG), (by_id, LINKED_BY_MESSAGE_ID)).label("linked_by"),
            func.min(case((or_(by_id, inbound), 1), else_=0)).over().label("all_known"),
        )
        .select_from(given)
        .outerjoin(Message, (Message.tag == given.c.claim) & ~inbound)
        .outerjoin(MessageId, (MessageId.message_id == given.c.message_id) & ~inbound)
        .subquery("linked")
    )
    return (
        select(*(linked.c[name] for name in (*GIVEN, "message_pk", "linked_by")))
        .where(or_(linked.c.all_known == 1, bindparam("anyway", type_=Boolean)))
        .order_by(linked.c.message_id, linked.c.recipient, linked.c.type, linked.c.error_code)  # the order of locks
    )


GIVEN = (
    "message_id",
    "recipient",
    "type",
    "error_code",
    "tag",
    "description",
    "occurred_at",
    "first_received_at",
    "last_received_at",
    "deliveries",
    "source",
    "payload",
    *REPLY,
)
"""The columns of an event that do not depend on what is stored already."""


def _pick(is_newer: ColumnElement[bool], new: Any, column: str) -> Any:
    return case((is_newer, new[column]), else_=getattr(StoredEvent, column))
