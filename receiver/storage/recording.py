"""Stores what Bandwidth said: each event once, linked to its message, its statement merged into its recipient.

Everything here runs inside one write transaction of the caller. Rows are locked in one order everywhere: message ids,
events, messages, recipients, each sorted; so two transactions that meet wait for each other and never deadlock.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, or_
from sqlalchemy.orm import Session

from receiver.core.events import Event, Gathered, Identity, Unreadable, gather
from receiver.storage.database import chunks, insert_into
from receiver.storage.linking import LINKED_BY_MESSAGE_ID, LINKED_BY_TAG, bind, messages_tagged
from receiver.storage.merging import Linked, merge
from receiver.storage.models import StoredEvent, UnreadableCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the elements of a callback; recorded + duplicates + unreadable = elements."""

    recorded: int = 0
    duplicates: int = 0
    unlinked: int = 0
    """Of the recorded ones."""
    unreadable: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            recorded=self.recorded + other.recorded,
            duplicates=self.duplicates + other.duplicates,
            unlinked=self.unlinked + other.unlinked,
            unreadable=self.unreadable + other.unreadable,
        )


def record(
    session: Session, elements: Sequence[Event | Unreadable], *, now: datetime, source: str = "callback"
) -> Tally:
    """Stores every element of one or more callbacks, in any order, repeats included."""
    unreadable = Counter(element for element in elements if isinstance(element, Unreadable))
    by_identity = gather(element for element in elements if isinstance(element, Event))
    gathered = [by_identity[identity] for identity in sorted(by_identity)]
    tally = _record_events(session, gathered, now=now, source=source) if gathered else Tally()
    _record_unreadable(session, unreadable, now=now)
    return replace(tally, unreadable=unreadable.total())


def _record_events(session: Session, gathered: Sequence[Gathered], *, now: datetime, source: str) -> Tally:
    ours = messages_tagged(session, (tag for each in gathered for tag in each.tags))
    claims = {
        each.event.identity: next((ours[tag] for tag in each.tags if tag in ours), None)
        for each in gathered
        if not each.event.is_inbound
    }
    by_id = [(message_id, claim) for (message_id, *_), claim in claims.items()]
    binding = bind(session, by_id, answered=False, now=now)
    rows = [
        _event_row(each, claims.get(each.event.identity), binding.messages, now=now, source=source) for each in gathered
    ]
    stored = _upsert_events(session, rows)
    linked = [
        Linked(row.pk, row.message_pk, replace(each.event, occurred_at=row.occurred_at, description=row.description))
        for each in gathered
        if (row := stored[each.event.identity]).message_pk is not None
    ]
    merge(session, binding.waiting + linked, now=now)
    return _tally(gathered, stored)


def _tally(gathered: Sequence[Gathered], stored: Mapping[Identity, Row[Any]]) -> Tally:
    pairs = [(each, stored[each.event.identity]) for each in gathered]
    new = [each for each, row in pairs if row.deliveries == each.deliveries]
    unlinked = [each for each in new if stored[each.event.identity].message_pk is None and not each.event.is_inbound]
    elements = sum(each.deliveries for each in gathered)
    return Tally(recorded=len(new), duplicates=elements - len(new), unlinked=len(unlinked))


def _event_row(
    gathered: Gathered, claim: int | None, bound: dict[str, int], *, now: datetime, source: str
) -> dict[str, Any]:
    event = gathered.event
    # Rows are written in the order of locks; a microsecond apart, they can be read in the order of the callback.
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


def _upsert_events(session: Session, rows: list[dict[str, Any]]) -> dict[Identity, Row[Any]]:
    """A repeat counts, may tell an earlier time, and may link; everything else stays that of the first."""
    upsert = _event_upsert(session)
    return {
        (row.message_id, row.recipient, row.type, row.error_code): row
        for chunk in chunks(rows)
        for row in session.execute(upsert, chunk)
    }


def _event_upsert(session: Session) -> Any:
    insert = insert_into(session.connection(), StoredEvent)
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
    insert = insert_into(session.connection(), UnreadableCallback)
    upsert = insert.on_conflict_do_update(
        index_elements=[UnreadableCallback.sha256],
        set_={
            "deliveries": UnreadableCallback.deliveries + insert.excluded.deliveries,
            "last_received_at": insert.excluded.last_received_at,
        },
    )
    rows: list[dict[str, Any]] = [
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
    for chunk in chunks(sorted(rows, key=lambda row: row["sha256"])):
        session.execute(upsert, chunk)
