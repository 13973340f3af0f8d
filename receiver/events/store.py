"""Stores what Bandwidth said: each event once, linked to its message, its statement merged into its recipient.

Everything here runs inside one write transaction of the caller. Rows are locked in one order everywhere: unreadable
elements, message ids, events, messages, recipients, each sorted; so two transactions that meet wait for each other and
never deadlock. (Events that waited for their message id are changed by whoever holds the lock on that id.) A statement
takes all rows of its kind at once, so its cost is shared by whatever is stored together.

The statement that stores events: each once, linked to the message of its tag or else of its message id.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import cache
from typing import Any, NamedTuple, Self

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

from receiver.core.events import (
    INBOUND_TYPES,
    Event,
    Gathered,
    Identity,
    LinkedBy,
    Reply,
    Source,
    Unreadable,
    gather,
)
from receiver.database.json_rows import insert_from, insert_rows, instant, is_one_of, parameter, rows_of
from receiver.database.models import Instant, Message, MessageId, StoredEvent, UnreadableCallback
from receiver.events.links import bind, messages_tagged, report_clash
from receiver.events.notes import Recorded, judge
from receiver.events.outcomes import Linked, merge


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
            case((by_tag, LinkedBy.TAG.value), (by_id, LinkedBy.MESSAGE_ID.value)).label("linked_by"),
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


class Fate(Enum):
    """What became of one element of a callback."""

    RECORDED = auto()
    UNLINKED = auto()  # recorded, and nobody knows yet which message it is about
    DUPLICATE = auto()
    UNREADABLE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the elements of a callback; recorded + duplicates + unreadable = elements."""

    recorded: int = 0
    duplicates: int = 0
    unlinked: int = 0
    """Of the recorded ones."""
    unreadable: int = 0

    @classmethod
    def of(cls, fates: Sequence[Fate]) -> Self:
        unlinked = fates.count(Fate.UNLINKED)
        return cls(
            recorded=fates.count(Fate.RECORDED) + unlinked,
            duplicates=fates.count(Fate.DUPLICATE),
            unlinked=unlinked,
            unreadable=fates.count(Fate.UNREADABLE),
        )


def record(
    session: Session,
    elements: Sequence[Event | Unreadable],
    *,
    now: datetime,
    source: Source = Source.CALLBACK,
    waiting: Sequence[Linked] = (),
    received: Mapping[Identity, Received] | None = None,
    recorded: list[Recorded] | None = None,
) -> list[Fate]:
    """Stores every element of one or more callbacks, in any order, repeats included; returns the fate of each.

    ``waiting`` are events that the caller's bind() linked just now: their statements are merged with the others, so
    that recipients are locked only once. ``received`` tells when each event came, if not now. ``recorded``, if given,
    is made to hold what the events are; it is true once the transaction is durable.
    """
    unreadable = Counter(element for element in elements if isinstance(element, Unreadable))
    gathered = gather(element for element in elements if isinstance(element, Event))
    if unreadable:
        _record_unreadable(session, unreadable, now=now)
    rows = [row_of(gathered[identity], now=now, source=source) for identity in sorted(gathered)]
    if received:
        rows = [row | times_of(received[identity]) for row, identity in zip(rows, sorted(gathered), strict=True)]
    stored = _record_events(session, gathered, rows, now=now, waiting=waiting) if gathered or waiting else {}
    new = {identity: _fate(each, stored[identity]) for identity, each in gathered.items()}
    if recorded is not None:
        recorded[:] = judge(
            [
                (_as_stored(gathered[identity].event, stored[identity]), stored[identity], fate is not Fate.DUPLICATE)
                for identity, fate in new.items()
            ],
            now=now,
        )
    # The first of several in this batch is the new one, if it is new at all; pop() leaves duplicates to the others.
    return [
        new.pop(element.identity, Fate.DUPLICATE) if isinstance(element, Event) else Fate.UNREADABLE
        for element in elements
    ]


def _fate(gathered: Gathered, row: Row[Any]) -> Fate:
    if row.deliveries > gathered.deliveries:
        return Fate.DUPLICATE
    return Fate.UNLINKED if row.message_pk is None and not gathered.event.is_inbound else Fate.RECORDED


def _record_events(
    session: Session,
    gathered: Mapping[Identity, Gathered],
    rows: Sequence[dict[str, Any]],
    *,
    now: datetime,
    waiting: Sequence[Linked],
) -> dict[Identity, Row[Any]]:
    in_order = [gathered[identity] for identity in sorted(gathered)]
    # Nearly always all message ids are known, and the tag with which an event is stored is all there is to it.
    stored = {} if any(len(each.tags) > 1 for each in in_order) else upsert_events(session, rows)
    if stored:
        _report_clashes(session, gathered, stored)
    else:
        waiting = [*waiting, *_claim(session, in_order, rows, now=now)]
        stored = upsert_events(session, rows, anyway=True)
    linked = [
        Linked(row.pk, row.message_pk, _as_stored(each.event, row))
        for each in in_order
        if (row := stored[each.event.identity]).message_pk
    ]
    merge(session, [*waiting, *linked], accepted=_accepted(stored.values()), now=now)
    return stored


def _claim(
    session: Session, in_order: Sequence[Gathered], rows: Sequence[dict[str, Any]], *, now: datetime
) -> list[Linked]:
    """Locks every message id and makes it stand for the message whose tag it came with; writes into each row which tag
    that is. Returns the events that waited to learn it."""
    ours = messages_tagged(session, (tag for each in in_order for tag in each.tags))
    for each, row in zip(in_order, rows, strict=True):
        row["claim"] = next((tag for tag in each.tags if tag in ours), None)
    outbound = [
        (each.event.message_id, ours.get(row["claim"]))
        for each, row in zip(in_order, rows, strict=True)
        if not each.event.is_inbound
    ]
    return bind(session, outbound, answered=False, now=now)


def _accepted(stored: Iterable[Row[Any]]) -> dict[int, bool]:
    """The messages that are known to be accepted, and whether of them receipts are known to be on."""
    return {row.message_pk: row.receipts for row in stored if row.receipts is not None}


def _report_clashes(
    session: Session, gathered: Mapping[Identity, Gathered], stored: Mapping[Identity, Row[Any]]
) -> None:
    """Says which message ids came with the tag of another message than the one they stand for."""
    others = [
        (row.message_id, tag)
        for identity, row in stored.items()
        if row.bound_tag is not None and (tag := gathered[identity].event.tag) not in (None, row.bound_tag)
    ]
    ours = messages_tagged(session, [tag for _, tag in others]) if others else {}
    for message_id, tag in others:
        if tag in ours:
            report_clash(message_id)


def _as_stored(event: Event, row: Row[Any]) -> Event:
    if event.occurred_at != row.occurred_at or event.description != row.description:
        return replace(event, occurred_at=row.occurred_at, description=row.description)
    return event


def _record_unreadable(session: Session, unreadable: Counter[Unreadable], *, now: datetime) -> None:
    rows = [
        {
            "sha256": element.sha256,
            "reason": element.reason,
            "payload": element.payload,
            "whole_body": element.whole_body,
            "first_received_at": instant(now),
            "last_received_at": instant(now),
            "deliveries": deliveries,
        }
        for element, deliveries in unreadable.items()
    ]
    connection = session.connection()
    in_order = sorted(rows, key=lambda row: str(row["sha256"]))
    connection.execute(_unreadable_upsert(connection.dialect.name), parameter(in_order))


@cache
def _unreadable_upsert(dialect: str) -> Any:
    insert = insert_rows(dialect, UnreadableCallback)
    return insert.on_conflict_do_update(
        index_elements=[UnreadableCallback.sha256],
        set_={
            "deliveries": UnreadableCallback.deliveries + insert.excluded.deliveries,
            "last_received_at": insert.excluded.last_received_at,
        },
    )
