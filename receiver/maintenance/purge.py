"""Removes old messages and events, or redacts them: blanks what may be personal, keeps outcomes, codes and times.

A message's age counts from its last request to Bandwidth, or from its creation if there was none; all that belongs to a
message is purged with it. The age of an event without a message, and of an unreadable element, counts from its last
delivery.

Transactions are short, with pauses between them, so that callbacks do not wait. A purge may be stopped at any time; the
next one finds what remains.

A redacted number becomes ``redacted-``, our key and a place: the same in a message's recipients and in its events, so
that their fold stays the same, and another in every other message, so that two people are never linked by it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    case,
    cast,
    delete,
    distinct,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.events import INBOUND_TYPES
from receiver.core.numbers import PSEUDONYM
from receiver.core.send_status import SendStatus
from receiver.core.tags import new_tag
from receiver.database.database import Database
from receiver.database.json_rows import is_one_of
from receiver.database.lookup import is_open, lapsed
from receiver.database.models import (
    BLANK_REPLY,
    REDACTED,
    IdempotencyKeyRow,
    Message,
    MessageId,
    Recipient,
    Resolution,
    StoredEvent,
    UnreadableCallback,
)

YOUNGEST = timedelta(days=14)
"""How long Bandwidth keeps its own records, which `receiver reconcile` may still query. An Idempotency-Key is valid for
seven days, and Bandwidth delivers an event again for one."""

OLDEST = timedelta(days=36500)

PAGE = 1000
"""Rows that one query examines, whether they are due or not, so that none takes long."""

BUSY_SECONDS = 0.1
"""How long a transaction should take; the pause after it is as long, so that others have half of the time."""

MOST_AT_ONCE = 500


class Kind(StrEnum):
    """A kind of row that is purged by itself; rows of all other kinds are purged with their message."""

    MESSAGE = "messages"
    UNLINKED = "unlinked events"
    INBOUND = "inbound events"
    UNREADABLE = "unreadable elements"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The age of what to purge, and whether to remove or redact it."""

    before: datetime
    """Everything older than this."""
    redact: bool
    """Whether to redact instead of removing; what is redacted already is not due again."""
    now: datetime
    """When the purge began."""


@dataclass(slots=True)
class Survey:
    """The counts and time spans of the rows that a purge would affect."""

    counts: Counter[str] = field(default_factory=Counter)
    """By kind, and the ``recipients`` and ``events`` of the messages; ``open``: messages without a final outcome."""
    span: dict[Kind, tuple[datetime, datetime]] = field(default_factory=dict)
    """By kind: when the oldest and the newest were created or first received."""
    staying: int = 0
    """Messages that were created early enough, but are still queued or were sent later."""


def make_terms(older_than: timedelta, *, redact: bool) -> Terms:
    """The terms of a purge that begins now."""
    now = times.now()
    return Terms(before=now - older_than, redact=redact, now=now)


def survey(database: Database, wanted: Terms) -> Iterator[Survey]:
    """Examines everything that is old enough; yields the survey so far, and at last the whole. Changes nothing."""
    found = Survey()
    for page in _pages(database, wanted):
        found.staying += page.staying
        for each in page.due:
            first, _ = found.span.setdefault(each.kind, (each.at, each.at))
            found.span[each.kind] = first, each.at
        found.counts.update(each.kind for each in page.due)
        if messages := [each.key for each in page.due if each.kind is Kind.MESSAGE]:
            with database.read() as session:
                found.counts.update(count_belongings(session, messages))
        yield found


def purge(database: Database, wanted: Terms) -> Iterator[Counter[str]]:
    """Purges everything that is due; yields how many rows of each kind every transaction purged."""
    changes, size = (_REDACT if wanted.redact else _REMOVE), 20
    for page in _pages(database, wanted):
        remaining = page.due
        while remaining:
            batch, remaining = remaining[:size], remaining[size:]
            began = time.monotonic()
            change, keys = changes[batch[0].kind], [each.key for each in batch]
            yield database.write(partial(change, keys=keys, terms=wanted))
            took = time.monotonic() - began
            size = max(1, min(MOST_AT_ONCE, int(size * min(2, BUSY_SECONDS / took))))
            time.sleep(took)


# What is due. Keys are passed as lists, although every length is planned anew: with rows in one parameter PostgreSQL
# read whole tables as long as it had no statistics of them, and purged a thirtieth as fast.


@dataclass(frozen=True, slots=True)
class Due:
    """A row to be purged."""

    kind: Kind
    key: int
    at: datetime
    """When it was created, or first received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgePage:
    """Some rows of one table, oldest first."""

    due: list[Due]
    staying: int = 0
    """See Survey."""
    last: Any
    """The value after which the next page begins; None on the last one."""


def _pages(database: Database, wanted: Terms) -> Iterator[PurgePage]:
    for read_page in (old_messages, old_events, _old_unreadable):
        last, more = None, True
        while more:
            with database.read() as session:
                page = read_page(session, wanted, last)
            yield page
            last, more = page.last, page.last is not None


def old_messages(session: Session, terms: Terms, after: str | None) -> PurgePage:
    """A page in the order of tags, which are unique and ordered by creation; ``after`` is the last tag before it."""
    rows = session.execute(
        select(Message.pk, Message.tag, Message.created_at, _is_old(terms).label("old"), _is_due(terms).label("due"))
        .where(Message.tag > (after or ""), Message.tag < new_tag(terms.before, random=0))
        .order_by(Message.tag)
        .limit(PAGE)
    ).all()
    return PurgePage(
        due=[Due(Kind.MESSAGE, row.pk, row.created_at) for row in rows if row.due],
        staying=sum(not row.old for row in rows),
        last=rows[-1].tag if len(rows) == PAGE else None,
    )


def _is_old(terms: Terms) -> ColumnElement[bool]:
    """Whether the message is old enough, and will not be sent any more."""
    under_way = Message.send_status.in_((SendStatus.QUEUED, SendStatus.SUBMITTING))
    last_request = func.coalesce(Message.submitted_at, Message.created_at)
    return and_(last_request < terms.before, or_(~under_way, lapsed(terms.now)))


def _is_due(terms: Terms) -> ColumnElement[bool]:
    if not terms.redact:
        return _is_old(terms)
    # An event that is stored after a redaction brings the number and the text again. Its time of receipt is no sign of
    # that: an unreadable element that was replayed was received before, and the clocks of hosts differ.
    brought = _has_any(StoredEvent.message_pk == Message.pk, StoredEvent.payload != REDACTED)
    decided = _has_any(Resolution.message_pk == Message.pk, Resolution.reason != "")
    return and_(_is_old(terms), or_(Message.redacted_at.is_(None), brought, decided))


def _has_any(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Looks up each message by itself; for an EXISTS PostgreSQL would read the whole table, in case there are many."""
    return select(literal(1)).where(*which).limit(1).scalar_subquery().is_not(None)


def old_events(session: Session, terms: Terms, after: tuple[datetime, int] | None) -> PurgePage:
    """A page of unlinked and inbound events, by first receipt and key; ``after`` has both of the last one before."""
    inbound = is_one_of(StoredEvent.type, INBOUND_TYPES)
    kind = case((inbound, Kind.INBOUND.name), else_=Kind.UNLINKED.name)
    return _old_received(session, StoredEvent, kind, terms, after, StoredEvent.linked_by.is_(None))


def _old_unreadable(session: Session, terms: Terms, after: tuple[datetime, int] | None) -> PurgePage:
    return _old_received(session, UnreadableCallback, literal(Kind.UNREADABLE.name), terms, after, true())


_Received = type[StoredEvent] | type[UnreadableCallback]


def _old_received(
    session: Session, table: _Received, kind: Any, terms: Terms, after: Any, which: ColumnElement[bool]
) -> PurgePage:
    rows = session.execute(
        select(table.pk, table.first_received_at, kind.label("kind"), _is_still_due(table, terms).label("due"))
        .where(which, table.first_received_at < terms.before)
        .where(true() if after is None else tuple_(table.first_received_at, table.pk) > after)
        .order_by(table.first_received_at, table.pk)
        .limit(PAGE)
    ).all()
    return PurgePage(
        due=[Due(Kind[row.kind], row.pk, row.first_received_at) for row in rows if row.due],
        last=(rows[-1].first_received_at, rows[-1].pk) if len(rows) == PAGE else None,
    )


def _is_still_due(table: _Received, terms: Terms) -> ColumnElement[bool]:
    """Whether an event without a message, or an unreadable element, has not come again and is not redacted yet."""
    return and_(table.last_received_at < terms.before, table.payload != REDACTED if terms.redact else true())


def count_belongings(session: Session, message_pks: Sequence[int]) -> Counter[str]:
    """Counts the ``recipients`` and ``events`` of these messages, and the ``open`` ones without a final outcome."""
    of_recipients = select(
        func.count().label("recipients"),
        func.count(distinct(case((is_open(Recipient), Recipient.message_pk)))).label("open"),
    ).where(Recipient.message_pk.in_(message_pks))
    of_events = select(func.count()).select_from(StoredEvent).where(StoredEvent.message_pk.in_(message_pks))
    return Counter({**session.execute(of_recipients).one()._mapping, "events": session.scalar(of_events) or 0})


# Locks, in the order in which every transaction of this program locks rows.

_EVENT_ORDER = (StoredEvent.message_id, StoredEvent.recipient, StoredEvent.type, StoredEvent.error_code)


def _lock_messages(session: Session, keys: Sequence[int], terms: Terms) -> Sequence[int]:
    """Locks the messages that are still due, with all that belongs to them, so that nothing is added. Returns them."""
    _lock(session, IdempotencyKeyRow, keys, IdempotencyKeyRow.api_key, IdempotencyKeyRow.key)
    _lock(session, MessageId, keys, MessageId.message_id)
    _lock(session, StoredEvent, keys, *_EVENT_ORDER)
    due = select(Message.pk).where(Message.pk.in_(keys), _is_due(terms)).order_by(Message.pk)
    found = session.scalars(due.with_for_update(of=Message)).all()
    _lock(session, Recipient, found, Recipient.message_pk, Recipient.recipient)
    return found


def _lock(session: Session, table: Any, message_pks: Sequence[int], *order: Any) -> None:
    if session.connection().dialect.name != "sqlite":  # which has one writer at a time, so it needs no locks
        rows = select(literal(1)).where(table.message_pk.in_(message_pks)).order_by(*order)
        session.execute(rows.with_for_update(of=table))


def _lock_events(session: Session, keys: Sequence[int], terms: Terms) -> Sequence[StoredEvent]:
    """Locks the events without a message that are still due, and returns them.

    The rows of their message ids are locked first, so that none of the events is linked meanwhile.
    """
    rows = (StoredEvent.pk.in_(keys), StoredEvent.linked_by.is_(None), _is_still_due(StoredEvent, terms))
    ids = select(StoredEvent.message_id).where(*rows)
    parked = select(MessageId.message_id).where(MessageId.message_id.in_(ids), MessageId.message_pk.is_(None))
    session.execute(parked.order_by(MessageId.message_id).with_for_update())
    return session.scalars(select(StoredEvent).where(*rows).order_by(*_EVENT_ORDER).with_for_update()).all()


# The changes of one write transaction: each removes or redacts the rows with these keys that are still due, and returns
# how many rows of each kind it changed.


def remove_messages(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Removes messages and everything that belongs to them."""
    due = _lock_messages(session, keys, terms)
    for table in (Resolution, IdempotencyKeyRow, MessageId):
        _delete(session, table, table.message_pk.in_(due))
    return Counter(
        {
            "recipients": _delete(session, Recipient, Recipient.message_pk.in_(due)),
            "events": _delete(session, StoredEvent, StoredEvent.message_pk.in_(due)),
            Kind.MESSAGE: _delete(session, Message, Message.pk.in_(due)),
        }
    )


def remove_events(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Removes events without a message, and their message ids if these have no other event."""
    due = _lock_events(session, keys, terms)
    _delete(session, StoredEvent, StoredEvent.pk.in_([each.pk for each in due]))
    has_event = exists().where(StoredEvent.message_id == MessageId.message_id)
    under = MessageId.message_id.in_({each.message_id for each in due})
    _delete(session, MessageId, under & MessageId.message_pk.is_(None) & ~has_event)
    return _count_events(due)


def _remove_unreadable(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    due = UnreadableCallback.pk.in_(keys) & _is_still_due(UnreadableCallback, terms)
    return Counter({Kind.UNREADABLE: _delete(session, UnreadableCallback, due)})


def _delete(session: Session, table: Any, which: Any) -> int:
    return session.connection().execute(delete(table).where(which)).rowcount


def _count_events(events: Sequence[StoredEvent]) -> Counter[str]:
    return Counter(Kind.INBOUND if each.type in INBOUND_TYPES else Kind.UNLINKED for each in events)


def _pseudonym(key: Any, *places: Any) -> ColumnElement[str]:
    text: Any = literal(PSEUDONYM).concat(cast(key, String))
    for place in places:
        text = text.concat("-").concat(cast(place, String))
    return text  # type: ignore[no-any-return]


_RECIPIENT_PSEUDONYM = _pseudonym(Recipient.message_pk, Recipient.position + 1)
_BLANK_EVENT = {"description": None, "tag": None, "payload": REDACTED, **BLANK_REPLY}


def redact_messages(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Redacts messages and everything that belongs to them."""
    due = _lock_messages(session, keys, terms)
    _forget_keys(session, due)
    brought = StoredEvent.message_pk.in_(due) & (StoredEvent.payload != REDACTED)
    # Events before recipients, whose numbers they are matched by.
    events = _update(session, StoredEvent, brought, recipient=_event_pseudonym(), **_BLANK_EVENT)
    named = Recipient.message_pk.in_(due) & (Recipient.recipient != _RECIPIENT_PSEUDONYM)
    recipients = _update(session, Recipient, named, recipient=_RECIPIENT_PSEUDONYM, description=None)
    _update(session, Resolution, Resolution.message_pk.in_(due), reason="")
    blank = {"text": None, "media": "[]", "error_description": None, "error_fields": None, "redacted_at": terms.now}
    messages = _update(session, Message, Message.pk.in_(due), **blank)
    return Counter({"recipients": recipients, "events": events, Kind.MESSAGE: messages})


def _event_pseudonym() -> Any:
    """The pseudonym of the event's recipient; its own if the message has no such recipient; empty if it names none."""
    same = (Recipient.message_pk == StoredEvent.message_pk) & (Recipient.recipient == StoredEvent.recipient)
    of_recipient = select(_RECIPIENT_PSEUDONYM).where(same).scalar_subquery()
    return case((StoredEvent.recipient == "", ""), else_=func.coalesce(of_recipient, _pseudonym(StoredEvent.pk)))


def _forget_keys(session: Session, message_pks: Sequence[int]) -> None:
    """Deletes Idempotency-Keys that expire, and those of messages that were never sent and cannot be any more.

    The others keep a file of messages from being sent a second time.
    """
    refused = select(Message.pk).where(Message.pk.in_(message_pks), Message.send_status == SendStatus.REFUSED)
    useless = IdempotencyKeyRow.expires_at.is_not(None) | IdempotencyKeyRow.message_pk.in_(refused)
    session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.message_pk.in_(message_pks), useless))


def redact_events(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Redacts events without a message."""
    due = _lock_events(session, keys, terms)
    number = case((StoredEvent.recipient == "", ""), else_=_pseudonym(StoredEvent.pk))
    _update(session, StoredEvent, StoredEvent.pk.in_([each.pk for each in due]), recipient=number, **_BLANK_EVENT)
    return _count_events(due)


def _redact_unreadable(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Redacts the digest, too, because a short text could be guessed from it."""
    due = UnreadableCallback.pk.in_(keys) & _is_still_due(UnreadableCallback, terms)
    blank = {"payload": REDACTED, "sha256": _pseudonym(UnreadableCallback.pk)}
    return Counter({Kind.UNREADABLE: _update(session, UnreadableCallback, due, **blank)})


def _update(session: Session, table: Any, which: Any, **values: Any) -> int:
    return session.connection().execute(update(table).where(which).values(**values)).rowcount


_Change = Callable[..., Counter[str]]

_REMOVE: dict[Kind, _Change] = {
    Kind.MESSAGE: remove_messages,
    Kind.UNLINKED: remove_events,
    Kind.INBOUND: remove_events,
    Kind.UNREADABLE: _remove_unreadable,
}
_REDACT: dict[Kind, _Change] = {
    Kind.MESSAGE: redact_messages,
    Kind.UNLINKED: redact_events,
    Kind.INBOUND: redact_events,
    Kind.UNREADABLE: _redact_unreadable,
}
