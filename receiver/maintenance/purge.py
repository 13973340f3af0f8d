"""What is old enough to be purged, a page at a time; and the locks on it, in the order in which all rows are locked.

A message is as old as its last request to Bandwidth, or as itself if there was none; what belongs to it goes with it.
An event without a message, and an unreadable element, are as old as their last delivery.
"""
# MERGED: """Purges what is old: removes it, or blanks what may be personal in it.
# MERGED:
# MERGED: In transactions so short, with pauses between them, that receiving does not wait. Whatever ends a purge, what is left is
# MERGED: found by the next one.
# MERGED: """

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, and_, case, distinct, func, literal, or_, select, true, tuple_
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.events import INBOUND_TYPES
from receiver.core.send_status import SendStatus
from receiver.core.tags import first_tag
from receiver.database.database import Database
from receiver.database.json_rows import is_one_of
from receiver.database.lookup import is_open, lapsed
from receiver.database.models import (
    IdempotencyKeyRow,
    Message,
    MessageId,
    Recipient,
    Resolution,
    StoredEvent,
    UnreadableCallback,
)
from receiver.maintenance import purge_rows

PAGE = 1000
"""Rows looked at in one question, whether they are due or not: so that none takes long."""

REDACTED = '{"redacted":true}'
"""The payload of what was redacted, which no event can have, and by which it is known not to need it again."""

# Keys are lists, although every length is planned anew: with rows of a parameter PostgreSQL read whole tables as long
# as it had no statistics of them, and purged a thirtieth as much.


class Kind(StrEnum):
    """What is purged one by one; everything else belongs to a message."""

    MESSAGE = "messages"
    UNLINKED = "unlinked events"
    INBOUND = "inbound events"
    UNREADABLE = "unreadable elements"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What to purge."""

    before: datetime
    """What is older than this."""
    redact: bool
    """Blank it instead of removing it; what was blanked before is not due again."""
    now: datetime
    """When the purge began."""


@dataclass(frozen=True, slots=True)
class Due:
    """A row to be purged."""

    kind: Kind
    key: int
    at: datetime
    """When it was created, or first received."""


Place = Any
"""Where a page ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows of one table, oldest first."""

    due: list[Due]
    staying: int = 0
    """Messages that were created early enough and are not old all the same: queued, or sent later."""
    last: Place | None
    """Where the next page begins; None after the last one."""


def old_messages(session: Session, terms: Terms, after: Place | None) -> Page:
    """By tag, which is unique and ordered by the time of creation."""
    rows = session.execute(
        select(Message.pk, Message.tag, Message.created_at, _is_old(terms).label("old"), _is_due(terms).label("due"))
        .where(Message.tag > (after or ""), Message.tag < first_tag(terms.before))
        .order_by(Message.tag)
        .limit(PAGE)
    ).all()
    return Page(
        due=[Due(Kind.MESSAGE, row.pk, row.created_at) for row in rows if row.due],
        staying=sum(not row.old for row in rows),
        last=rows[-1].tag if len(rows) == PAGE else None,
    )


def _is_old(terms: Terms) -> ColumnElement[bool]:
    """Its age, and nobody sends it any more."""
    under_way = Message.send_status.in_((SendStatus.QUEUED, SendStatus.SUBMITTING))
    last_request = func.coalesce(Message.submitted_at, Message.created_at)
    return and_(last_request < terms.before, or_(~under_way, lapsed(terms.now)))


def _is_due(terms: Terms) -> ColumnElement[bool]:
    if not terms.redact:
        return _is_old(terms)
    # What was stored after a message was redacted brings the number and the text again. When an event came is no sign
    # of that: what had been unreadable and was read again came before, and the clocks of hosts differ.
    brought = _any(StoredEvent.message_pk == Message.pk, StoredEvent.payload != REDACTED)
    decided = _any(Resolution.message_pk == Message.pk, Resolution.reason != "")
    return and_(_is_old(terms), or_(Message.redacted_at.is_(None), brought, decided))


def _any(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Looked up for each message: for an EXISTS PostgreSQL would read the whole table, in case there are many."""
    return select(literal(1)).where(*which).limit(1).scalar_subquery().is_not(None)


def old_events(session: Session, terms: Terms, after: Place | None) -> Page:
    """Unlinked and inbound events."""
    inbound = is_one_of(StoredEvent.type, INBOUND_TYPES)
    kind = case((inbound, Kind.INBOUND.name), else_=Kind.UNLINKED.name)
    return _received(session, StoredEvent, kind, terms, after, StoredEvent.linked_by.is_(None))


def old_unreadable(session: Session, terms: Terms, after: Place | None) -> Page:
    """Elements of callbacks that are no events."""
    return _received(session, UnreadableCallback, literal(Kind.UNREADABLE.name), terms, after, true())


Received = type[StoredEvent] | type[UnreadableCallback]


def _received(
    session: Session, table: Received, kind: Any, terms: Terms, after: Place | None, which: ColumnElement[bool]
) -> Page:
    rows = session.execute(
        select(table.pk, table.first_received_at, kind.label("kind"), still_due(table, terms).label("due"))
        .where(which, table.first_received_at < terms.before)
        .where(true() if after is None else tuple_(table.first_received_at, table.pk) > after)
        .order_by(table.first_received_at, table.pk)
        .limit(PAGE)
    ).all()
    return Page(
        due=[Due(Kind[row.kind], row.pk, row.first_received_at) for row in rows if row.due],
        last=(rows[-1].first_received_at, rows[-1].pk) if len(rows) == PAGE else None,
    )


def still_due(table: Received, terms: Terms) -> ColumnElement[bool]:
    """Of an event without a message, or an unreadable element."""
    return and_(table.last_received_at < terms.before, table.payload != REDACTED if terms.redact else true())


SOURCES = (old_messages, old_events, old_unreadable)


def belongings(session: Session, message_pks: Sequence[int]) -> Counter[str]:
    """How many recipients and events these messages have, and how many of them have an outcome that is still open."""
    of_recipients = select(
        func.count().label("recipients"),
        func.count(distinct(case((is_open(Recipient), Recipient.message_pk)))).label("open"),
    ).where(Recipient.message_pk.in_(message_pks))
    of_events = select(func.count()).select_from(StoredEvent).where(StoredEvent.message_pk.in_(message_pks))
    return Counter({**session.execute(of_recipients).one()._mapping, "events": session.scalar(of_events) or 0})


def lock_messages(session: Session, keys: Sequence[int], terms: Terms) -> Sequence[int]:
    """Those of the messages that are due still, locked with all that belongs to them, so that nothing is added."""
    _lock(session, IdempotencyKeyRow, keys, IdempotencyKeyRow.api_key, IdempotencyKeyRow.key)
    _lock(session, MessageId, keys, MessageId.message_id)
    _lock(session, StoredEvent, keys, *IDENTITY)
    due = select(Message.pk).where(Message.pk.in_(keys), _is_due(terms)).order_by(Message.pk)
    found = session.scalars(due.with_for_update(of=Message)).all()
    _lock(session, Recipient, found, Recipient.message_pk, Recipient.recipient)
    return found


IDENTITY = (StoredEvent.message_id, StoredEvent.recipient, StoredEvent.type, StoredEvent.error_code)
"""In whose order events are locked."""


def _lock(session: Session, table: Any, message_pks: Sequence[int], *order: Any) -> None:
    if session.connection().dialect.name != "sqlite":  # one writer at a time needs no locks
        rows = select(literal(1)).where(table.message_pk.in_(message_pks)).order_by(*order)
        session.execute(rows.with_for_update(of=table))


def lock_events(session: Session, keys: Sequence[int], terms: Terms) -> Sequence[StoredEvent]:
    """Those of the events without a message that are due still, locked after the rows of their message ids: so none of
    them is linked meanwhile."""
    rows = (StoredEvent.pk.in_(keys), StoredEvent.linked_by.is_(None), still_due(StoredEvent, terms))
    ids = select(StoredEvent.message_id).where(*rows)
    parked = select(MessageId.message_id).where(MessageId.message_id.in_(ids), MessageId.message_pk.is_(None))
    session.execute(parked.order_by(MessageId.message_id).with_for_update())
    return session.scalars(select(StoredEvent).where(*rows).order_by(*IDENTITY).with_for_update()).all()


YOUNGEST = timedelta(days=14)
"""So long Bandwidth keeps its own record, which `receiver reconcile` may still ask. An Idempotency-Key stands for seven
days, and Bandwidth delivers an event again for one."""

OLDEST = timedelta(days=36500)

BUSY_SECONDS = 0.1
"""How long a transaction is meant to take; the pause after it is as long, so that others have half of the time."""

MOST_AT_ONCE = 500

Change = Callable[[Session, Sequence[int], Terms], Counter[str]]

REMOVE: dict[Kind, Change] = {
    Kind.MESSAGE: purge_rows.remove_messages,
    Kind.UNLINKED: purge_rows.remove_events,
    Kind.INBOUND: purge_rows.remove_events,
    Kind.UNREADABLE: purge_rows.remove_unreadable,
}
REDACT: dict[Kind, Change] = {
    Kind.MESSAGE: purge_rows.redact_messages,
    Kind.UNLINKED: purge_rows.redact_events,
    Kind.INBOUND: purge_rows.redact_events,
    Kind.UNREADABLE: purge_rows.redact_unreadable,
}


@dataclass(slots=True)
class Survey:
    """What a purge would do."""

    counts: Counter[str] = field(default_factory=Counter)
    """Of each kind, and of the recipients and events of the messages; ``open``: messages without a final outcome."""
    span: dict[Kind, tuple[datetime, datetime]] = field(default_factory=dict)
    """Of each kind the oldest and the newest."""
    staying: int = 0
    """Messages created early enough that are not old all the same: queued, or sent later."""


def terms(older_than: timedelta, *, redact: bool) -> Terms:
    """What is older than that by now."""
    now = times.now()
    return Terms(before=now - older_than, redact=redact, now=now)


def survey(database: Database, wanted: Terms) -> Iterator[Survey]:
    """Looks at everything that is old enough; yields the survey so far, at last the whole. Changes nothing."""
    found = Survey()
    for page in _pages(database, wanted):
        found.staying += page.staying
        for each in page.due:
            first, _ = found.span.setdefault(each.kind, (each.at, each.at))
            found.span[each.kind] = first, each.at
        found.counts.update(each.kind for each in page.due)
        if messages := [each.key for each in page.due if each.kind is Kind.MESSAGE]:
            with database.read() as session:
                found.counts.update(belongings(session, messages))
        yield found


def purge(database: Database, wanted: Terms) -> Iterator[Counter[str]]:
    """Purges it; yields how many rows of each kind every transaction purged."""
    changes, size = (REDACT if wanted.redact else REMOVE), 20
    for page in _pages(database, wanted):
        left = page.due
        while left:
            batch, left = left[:size], left[size:]
            began = time.monotonic()
            yield database.write(partial(_change, changes[batch[0].kind], [each.key for each in batch], wanted))
            took = time.monotonic() - began
            size = max(1, min(MOST_AT_ONCE, int(size * min(2, BUSY_SECONDS / took))))
            time.sleep(took)


def _change(change: Change, keys: Sequence[int], wanted: Terms, session: Session) -> Counter[str]:
    return change(session, keys, wanted)


def _pages(database: Database, wanted: Terms) -> Iterator[Page]:
    for source in SOURCES:
        last, more = None, True
        while more:
            with database.read() as session:
                page = source(session, wanted, last)
            yield page
            last, more = page.last, page.last is not None
