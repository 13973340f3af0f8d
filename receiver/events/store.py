"""The store of events: each event once, linked to its message, its statement merged into its recipient.

Everything here runs inside one write transaction of the caller, and a statement takes all rows of its kind at once, so
its cost is shared by whatever is stored together. The SQL is in store.sql, and with it the order of locks, which is the
same everywhere.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES, Event, Gathered, Identity, Reply, Source, Unreadable, gather
from receiver.core.status import RECEIPT_TYPES, says_invalid_recipient, standing, statement
from receiver.database.json_rows import instant, statements
from receiver.database.pipeline import Pipeline
from receiver.events.links import bind, messages_tagged, report_clash
from receiver.events.outcomes import Linked, merge

SQL = statements("receiver.events", "store.sql")

STORE_PLAIN = SQL.pipelined["store plain events"]
"""The statement for store_plain()."""

REPLY = ("sender", "text", "media", "members", "keyword")
"""The columns of an event that hold what a person sent to us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of elements of callbacks; recorded + duplicates + unreadable = elements."""

    recorded: int = 0
    duplicates: int = 0
    unlinked: int = 0
    """How many of the recorded events are unlinked."""
    unreadable: int = 0

    def __add__(self, other: Self) -> "Tally":
        return Tally(
            recorded=self.recorded + other.recorded,
            duplicates=self.duplicates + other.duplicates,
            unlinked=self.unlinked + other.unlinked,
            unreadable=self.unreadable + other.unreadable,
        )


RECORDED, DUPLICATE, UNREADABLE = Tally(recorded=1), Tally(duplicates=1), Tally(unreadable=1)
UNLINKED = Tally(recorded=1, unlinked=1)
LEFT = Tally()
"""The tally of an element that store_plain() has left to record()."""


class Received(NamedTuple):
    """When an event first came and last came, by our clock."""

    first: datetime
    last: datetime


class PlainRow(msgspec.Struct, array_like=True, frozen=True):
    """What "store plain events" returns for an event; a column of "store events" has the same name."""

    place: int
    message_pk: int | None
    bound_tag: str | None
    submitted_at: datetime | None
    deliveries: int
    first_received_at: datetime
    standing: bytes | None
    invalid_recipient: bool | None
    updated_at: datetime | None


_PLAIN_ROWS = msgspec.json.Decoder(list[PlainRow])


class Arrival(NamedTuple):
    """An event that came in this transaction, however often."""

    event: Event
    """As it is stored; the description of a plain event is that of this delivery."""
    standing: bytes
    is_new: bool
    row: Any
    """What the database returned for it: a PlainRow, or a row of "store events", which has the same columns."""


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What one transaction did; true once it is durable."""

    tallies: list[Tally]
    """One for each element, in their order."""
    arrivals: list[Arrival]
    """Different events, in the order of arrival."""
    received_at: datetime

    @property
    def tally(self) -> Tally:
        return sum(self.tallies, Tally())


def store_plain(pipeline: Pipeline, elements: Sequence[Event | Unreadable], *, now: datetime) -> StoreResult:
    """Stores the plain events of callbacks, in one round trip to PostgreSQL, and leaves the other elements to record().

    ``pipeline`` runs STORE_PLAIN. Raises StatementRefused if nothing was stored but record() may succeed, and
    StorageUnavailable.
    """
    gathered = [*gather(element for element in elements if isinstance(element, Event)).values()]
    standings = [standing(each.event) for each in gathered]
    rows = [
        plain_row(each, its_standing, now=now)
        for each, its_standing in zip(gathered, standings, strict=True)
        if len(each.tags) < 2  # with two, they may be those of different messages
    ]
    stored = _PLAIN_ROWS.decode(pipeline.run(msgspec.json.encode(rows), str(now).encode())) if rows else ()
    arrivals = [
        Arrival(gathered[row.place].event, standings[row.place], row.deliveries == gathered[row.place].deliveries, row)
        for row in stored
    ]
    return StoreResult(_tallies(elements, arrivals), arrivals, now)


def plain_row(gathered: Gathered, its_standing: bytes, *, now: datetime) -> dict[str, Any]:
    """The row of an event and of its statement, as STORE_PLAIN takes it in an array."""
    event = gathered.event
    return _row(gathered, now=now, source=Source.CALLBACK) | {
        "place": gathered.place,
        "is_inbound": event.type in INBOUND_TYPES,
        "is_receipt": event.type in RECEIPT_TYPES,
        "status": statement(event.type, event.error_code),
        "standing": f"\\x{its_standing.hex()}",
        "invalid_recipient": says_invalid_recipient(event.type, event.error_code),
    }


def record(
    session: Session,
    elements: Sequence[Event | Unreadable],
    *,
    now: datetime,
    source: Source = Source.CALLBACK,
    waiting: Sequence[Linked] = (),
    received: Mapping[Identity, Received] | None = None,
) -> StoreResult:
    """Stores every element of one or more callbacks, in any order, repeats included.

    ``waiting`` are events that the caller's bind() has just linked: their statements are merged with the others, so
    that recipients are locked only once. ``received`` tells when each event came, if not now.
    """
    unreadable = [element for element in elements if isinstance(element, Unreadable)]
    gathered = gather(element for element in elements if isinstance(element, Event))
    if unreadable:
        _store_unreadable(session, unreadable, now=now)
    in_order = [gathered[identity] for identity in sorted(gathered)]
    rows = [_as_texts(_row(each, now=now, source=source)) for each in in_order]
    if received:
        rows = [row | _times(received[each.event.identity]) for row, each in zip(rows, in_order, strict=True)]
    # Nearly always each event has one tag, and each message id stands for a message already.
    stored = {} if any(len(each.tags) > 1 for each in in_order) else _store(session, rows)
    if stored:
        _report_clashes(session, gathered, stored)
    elif rows:
        stored, newly_linked = _store_carefully(session, in_order, rows, now=now)
        waiting = [*waiting, *newly_linked]
    arrivals = [_arrival(each, stored[identity]) for identity, each in gathered.items()]
    linked = [Linked(row.pk, row.message_pk, event) for event, _, _, row in arrivals if row.message_pk]
    # Messages that are known to be accepted, and whether their receipts are on.
    accepted = {row.message_pk: row.receipts for *_, row in arrivals if row.receipts is not None}
    merge(session, [*waiting, *linked], accepted=accepted, now=now)
    tallies = _tallies(elements, arrivals)
    return StoreResult([UNREADABLE if each is LEFT else each for each in tallies], arrivals, now)


def _store(session: Session, rows: Sequence[Mapping[str, Any]], *, anyway: bool = False) -> dict[Identity, Row[Any]]:
    """Stores and links the events of these rows. Stores nothing if any message id is unknown, unless ``anyway``."""
    found = SQL.run(session, "store events", rows, anyway=anyway) if rows else ()
    return {(row.message_id, row.recipient, row.type, row.error_code): row for row in found}


def _row(gathered: Gathered, *, now: datetime, source: Source) -> dict[str, Any]:
    """The row of an event; ``claim`` is the tag of the message that it is to be linked to."""
    event = gathered.event
    # Rows are written in the order of locks; a microsecond apart, they can be read in the order of arrival.
    received_at = now + timedelta(microseconds=gathered.place)
    row = {
        "message_id": event.message_id,
        "recipient": event.recipient,
        "type": event.type,
        "error_code": event.error_code,
        "claim": event.tag,
        "tag": event.tag,
        "description": event.description,
        "occurred_at": event.occurred_at,
        "first_received_at": received_at,
        "last_received_at": received_at,
        "deliveries": gathered.deliveries,
        "source": source,
        "payload": event.payload,
    }
    return row | columns_of(event.reply) if event.reply else row


def _as_texts(row: dict[str, Any]) -> dict[str, Any]:
    """The same row with its instants as both databases parse them."""
    return {name: instant(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _arrival(gathered: Gathered, row: Row[Any]) -> Arrival:
    """Returns the event with the stored time and description, which may be those of an earlier delivery."""
    event = gathered.event
    if (event.occurred_at, event.description) != (row.occurred_at, row.description):
        event = replace(event, occurred_at=row.occurred_at, description=row.description)
    return Arrival(event, standing(event), row.deliveries == gathered.deliveries, row)


def columns_of(reply: Reply | None) -> dict[str, str | None]:
    """The columns of an event that hold what a person sent to us; all null while the payload has not been read."""
    if reply is None:
        return dict.fromkeys(REPLY)
    return {
        "sender": reply.sender,
        "text": reply.text,
        "media": json.dumps(reply.media, ensure_ascii=False),
        "members": json.dumps(reply.members, ensure_ascii=False),
        "keyword": reply.keyword,
    }


def _times(received: Received) -> dict[str, str | None]:
    """The columns of an event that came at another time than now."""
    return {"first_received_at": instant(received.first), "last_received_at": instant(received.last)}


def _tallies(elements: Sequence[Event | Unreadable], arrivals: Sequence[Arrival]) -> list[Tally]:
    """A tally for each event that has arrived, LEFT for other elements. Of equal elements only the first can be new."""
    tally_of: dict[Identity | None, Tally] = {}
    for event, _, is_new, row in arrivals:
        is_unlinked = row.message_pk is None and event.type not in INBOUND_TYPES
        tally_of[event.identity] = DUPLICATE if not is_new else UNLINKED if is_unlinked else RECORDED
    tallies = []
    for element in elements:
        identity = element.identity if isinstance(element, Event) else None
        tallies.append(tally_of.get(identity, LEFT))
        if identity in tally_of:
            tally_of[identity] = DUPLICATE
    return tallies


def _store_carefully(
    session: Session, in_order: Sequence[Gathered], rows: Sequence[dict[str, Any]], *, now: datetime
) -> tuple[dict[Identity, Row[Any]], list[Linked]]:
    """Locks every message id, and makes it stand for the message whose tag it came with, before it stores the events.

    Returns also the events that waited for these ids.
    """
    ours = messages_tagged(session, (tag for each in in_order for tag in each.tags))
    tags = [next((tag for tag in each.tags if tag in ours), None) for each in in_order]
    claims = [
        (each.event.message_id, ours.get(tag) if tag else None)
        for each, tag in zip(in_order, tags, strict=True)
        if not each.event.is_inbound
    ]
    newly_linked = bind(session, claims, answered=False, now=now)
    claiming = [row | {"claim": tag} for row, tag in zip(rows, tags, strict=True)]
    return _store(session, claiming, anyway=True), newly_linked


def _report_clashes(
    session: Session, gathered: Mapping[Identity, Gathered], stored: Mapping[Identity, Row[Any]]
) -> None:
    """Logs which message ids came with the tag of another message than the one they stand for."""
    others = [
        (row.message_id, tag)
        for identity, row in stored.items()
        if row.bound_tag is not None and (tag := gathered[identity].event.tag) not in (None, row.bound_tag)
    ]
    ours = messages_tagged(session, [tag for _, tag in others]) if others else {}
    for message_id, tag in others:
        if tag in ours:
            report_clash(message_id)


def _store_unreadable(session: Session, elements: Sequence[Unreadable], *, now: datetime) -> None:
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
        for element, deliveries in Counter(elements).items()
    ]
    SQL.run(session, "store unreadable elements", sorted(rows, key=lambda row: str(row["sha256"])))
