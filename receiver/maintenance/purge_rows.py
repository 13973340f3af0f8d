"""Blanks what may be personal in what is due, and keeps outcomes, codes, times and counts.

A number becomes ``redacted-``, a key of ours and a place: the same in a message's recipients and in its events, so
that their fold stays what it was, and in no other message, so that nobody takes two people for one. Every function is
part of a write transaction of the caller, and returns how many rows of each kind were redacted.

Removes what is due, and nothing else; how many rows of each kind that were is returned.

Every function is part of a write transaction of the caller.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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

from receiver.core.events import INBOUND_TYPES
from receiver.core.numbers import PSEUDONYM
from receiver.core.send_status import SendStatus
from receiver.core.tags import first_tag
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

PAGE = 1000
"""Rows looked at in one question, whether they are due or not: so that none takes long."""

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


def remove_messages(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """With all that belongs to them."""
    due = lock_messages(session, keys, terms)
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
    """Without a message; and their message ids, if nothing else came under them."""
    due = lock_events(session, keys, terms)
    _delete(session, StoredEvent, StoredEvent.pk.in_([each.pk for each in due]))
    left = exists().where(StoredEvent.message_id == MessageId.message_id)
    under = MessageId.message_id.in_({each.message_id for each in due})
    _delete(session, MessageId, under & MessageId.message_pk.is_(None) & ~left)
    return count_events(due)


def count_events(events: Sequence[StoredEvent]) -> Counter[str]:
    return Counter(Kind.INBOUND if each.type in INBOUND_TYPES else Kind.UNLINKED for each in events)


def remove_unreadable(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    due = UnreadableCallback.pk.in_(keys) & still_due(UnreadableCallback, terms)
    return Counter({Kind.UNREADABLE: _delete(session, UnreadableCallback, due)})


def _delete(session: Session, table: Any, which: Any) -> int:
    return session.connection().execute(delete(table).where(which)).rowcount


def _pseudonym(key: Any, *places: Any) -> ColumnElement[str]:
    text: Any = literal(PSEUDONYM).concat(cast(key, String))
    for place in places:
        text = text.concat("-").concat(cast(place, String))
    return text  # type: ignore[no-any-return]


OF_RECIPIENT = _pseudonym(Recipient.message_pk, Recipient.position + 1)
BLANK_EVENT = {"description": None, "tag": None, "payload": REDACTED, **BLANK_REPLY}


def redact_messages(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """With all that belongs to them."""
    due = lock_messages(session, keys, terms)
    _forget_keys(session, due)
    brought = StoredEvent.message_pk.in_(due) & (StoredEvent.payload != REDACTED)
    events = _update(session, StoredEvent, brought, recipient=_of_event(), **BLANK_EVENT)  # while numbers are known
    named = Recipient.message_pk.in_(due) & (Recipient.recipient != OF_RECIPIENT)
    recipients = _update(session, Recipient, named, recipient=OF_RECIPIENT, description=None)
    _update(session, Resolution, Resolution.message_pk.in_(due), reason="")
    blank = {"text": None, "media": "[]", "error_description": None, "error_fields": None, "redacted_at": terms.now}
    messages = _update(session, Message, Message.pk.in_(due), **blank)
    return Counter({"recipients": recipients, "events": events, Kind.MESSAGE: messages})


def _of_event() -> Any:
    """That of its recipient, or its own if the message has no such recipient; none if it names none."""
    same = (Recipient.message_pk == StoredEvent.message_pk) & (Recipient.recipient == StoredEvent.recipient)
    of_recipient = select(OF_RECIPIENT).where(same).scalar_subquery()
    return case((StoredEvent.recipient == "", ""), else_=func.coalesce(of_recipient, _pseudonym(StoredEvent.pk)))


def _forget_keys(session: Session, message_pks: Sequence[int]) -> None:
    """Those that have expired, and those of what was never sent and can no longer be; the others keep a file of
    messages from being sent a second time."""
    refused = select(Message.pk).where(Message.pk.in_(message_pks), Message.send_status == SendStatus.REFUSED)
    useless = IdempotencyKeyRow.expires_at.is_not(None) | IdempotencyKeyRow.message_pk.in_(refused)
    session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.message_pk.in_(message_pks), useless))


def redact_events(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Without a message."""
    due = lock_events(session, keys, terms)
    number = case((StoredEvent.recipient == "", ""), else_=_pseudonym(StoredEvent.pk))
    _update(session, StoredEvent, StoredEvent.pk.in_([each.pk for each in due]), recipient=number, **BLANK_EVENT)
    return count_events(due)


def redact_unreadable(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Their digest, too: a short text could be guessed from it."""
    due = UnreadableCallback.pk.in_(keys) & still_due(UnreadableCallback, terms)
    blank = {"payload": REDACTED, "sha256": _pseudonym(UnreadableCallback.pk)}
    return Counter({Kind.UNREADABLE: _update(session, UnreadableCallback, due, **blank)})


def _update(session: Session, table: Any, which: Any, **values: Any) -> int:
    return session.connection().execute(update(table).where(which).values(**values)).rowcount
