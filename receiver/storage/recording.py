"""Stores what Bandwidth said: each event once, linked to its message, its statement merged into its recipient.

Everything here runs inside one write transaction of the caller. Rows are locked in one order everywhere: message ids,
events, messages, recipients, each sorted; so two transactions that meet wait for each other and never deadlock. Every
statement takes all rows of its kind at once, so its cost is shared by whatever is stored together.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import cache
from typing import Any, Self

from sqlalchemy import ColumnElement, Row, case, func, or_
from sqlalchemy.orm import Session

from receiver.core.events import Event, Gathered, Identity, Unreadable, gather
from receiver.storage.linking import LINKED_BY_MESSAGE_ID, LINKED_BY_TAG, bind, look_up
from receiver.storage.merging import Linked, merge
from receiver.storage.models import StoredEvent, UnreadableCallback
from receiver.storage.rows import insert_rows, parameter


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
    session: Session, elements: Sequence[Event | Unreadable], *, now: datetime, source: str = "callback"
) -> list[Fate]:
    """Stores every element of one or more callbacks, in any order, repeats included; returns the fate of each."""
    unreadable = Counter(element for element in elements if isinstance(element, Unreadable))
    gathered = gather(element for element in elements if isinstance(element, Event))
    stored = _record_events(session, gathered, now=now, source=source) if gathered else {}
    if unreadable:
        _record_unreadable(session, unreadable, now=now)
    new = {identity: _fate(each, stored[identity]) for identity, each in gathered.items()}
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
    session: Session, gathered: Mapping[Identity, Gathered], *, now: datetime, source: str
) -> dict[Identity, Row[Any]]:
    in_order = [gathered[identity] for identity in sorted(gathered)]
    outbound = [each for each in in_order if not each.event.is_inbound]
    known = look_up(session, ((tag, each.event.message_id) for each in outbound for tag in each.tags or (None,)))
    tagged = {
        each.event.identity: next((known.tagged[tag] for tag in each.tags if tag in known.tagged), None)
        for each in outbound
    }
    claims = [(message_id, message_pk) for (message_id, *_), message_pk in tagged.items()]
    binding = bind(session, claims, known=known.bound, answered=False, now=now)
    rows = [
        _event_row(each, tagged.get(each.event.identity), binding.messages, now=now, source=source) for each in in_order
    ]
    stored = _upsert_events(session, rows)
    linked = [_linked(each.event, row) for each in in_order if (row := stored[each.event.identity]).message_pk]
    merge(session, binding.waiting + linked, accepted=known.accepted, now=now)
    return stored


def _linked(event: Event, row: Row[Any]) -> Linked:
    if event.occurred_at != row.occurred_at or event.description != row.description:
        event = replace(event, occurred_at=row.occurred_at, description=row.description)
    return Linked(row.pk, row.message_pk, event)


def _event_row(
    gathered: Gathered, claim: int | None, bound: Mapping[str, int], *, now: datetime, source: str
) -> dict[str, Any]:
    event = gathered.event
    # Rows are written in the order of locks; a microsecond apart, they can be read in the order of arrival.
    received_at = now + timedelta(microseconds=gathered.place)
    by_id = None if event.is_inbound else bound.get(event.message_id)
    return {
        "message_id": event.message_id,
        "recipient": event.recipient,
        "type": event.type,
        "error_code": event.error_code,
        "message_pk": claim or by_id,
        "linked_by": LINKED_BY_TAG if claim else LINKED_BY_MESSAGE_ID if by_id else None,
        "tag": event.tag,
        "description": event.description,
        "occurred_at": event.occurred_at,
        "first_received_at": received_at,
        "last_received_at": received_at,
        "deliveries": gathered.deliveries,
        "source": source,
        "payload": event.payload,
    }


def _upsert_events(session: Session, rows: Iterable[Mapping[str, Any]]) -> dict[Identity, Row[Any]]:
    connection = session.connection()
    stored = connection.execute(_event_upsert(connection.dialect.name), parameter(rows))
    return {(row.message_id, row.recipient, row.type, row.error_code): row for row in stored}


@cache
def _event_upsert(dialect: str) -> Any:
    """A repeat counts, may tell an earlier time, and may link; everything else stays that of the first."""
    insert = insert_rows(dialect, StoredEvent)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[StoredEvent.message_id, StoredEvent.recipient, StoredEvent.type, StoredEvent.error_code],
        set_={
            "deliveries": StoredEvent.deliveries + new.deliveries,
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
    )


def _pick(is_newer: ColumnElement[bool], new: Any, column: str) -> Any:
    return case((is_newer, new[column]), else_=getattr(StoredEvent, column))


def _record_unreadable(session: Session, unreadable: Counter[Unreadable], *, now: datetime) -> None:
    rows = [
        {
            "sha256": element.sha256,
            "reason": element.reason,
            "payload": element.payload,
            "first_received_at": now,
            "last_received_at": now,
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
