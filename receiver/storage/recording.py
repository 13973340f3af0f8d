"""Stores what Bandwidth said: each event once, linked to its message, its statement merged into its recipient.

Everything here runs inside one write transaction of the caller. Rows are locked in one order everywhere: message ids,
events, messages, recipients, each sorted; so two transactions that meet wait for each other and never deadlock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Row, case, or_
from sqlalchemy.orm import Session

from receiver.core.events import Delivered, Event, Unreadable, gather
from receiver.storage.database import insert_into
from receiver.storage.linking import LINKED_BY_MESSAGE_ID, LINKED_BY_TAG, bind, check_claims, messages_tagged
from receiver.storage.merging import Linked, merge
from receiver.storage.models import StoredEvent, UnreadableCallback

CHUNK = 500
"""Events per statement: a body may hold 100,000 of them, a statement at most 32,766 parameters (SQLite, "Limits")."""


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
    unreadable = [element for element in elements if isinstance(element, Unreadable)]
    events = gather(element for element in elements if isinstance(element, Event))
    in_order = iter(sorted(events.values(), key=lambda delivered: delivered.event.identity))
    tally = Tally(unreadable=len(unreadable))
    while chunk := list(islice(in_order, CHUNK)):
        tally += _record_events(session, chunk, now=now, source=source)
    for element in sorted(unreadable, key=lambda element: element.sha256):
        _record_unreadable(session, element, now=now)
    return tally


def _record_events(session: Session, chunk: Sequence[Delivered], *, now: datetime, source: str) -> Tally:
    ours = messages_tagged(session, (tag for delivered in chunk for tag in delivered.tags))
    outbound = [delivered for delivered in chunk if not delivered.event.is_inbound]
    claims = {
        delivered.event.identity: next((ours[tag] for tag in delivered.tags if tag in ours), None)
        for delivered in outbound
    }
    wanted: dict[str, int | None] = {}
    for (message_id, *_), message_pk in claims.items():
        wanted[message_id] = wanted.get(message_id) or message_pk
    bound = bind(session, wanted, answered=False, now=now)
    check_claims(((message_id, claim) for (message_id, *_), claim in claims.items()), bound)
    rows = [_event_row(each, claims.get(each.event.identity), bound, now=now, source=source) for each in chunk]
    stored = {
        (row.message_id, row.recipient, row.type, row.error_code): row
        for row in session.execute(_upsert_event(session), rows)
    }
    merge(
        session,
        [
            Linked(
                row.pk, row.message_pk, replace(each.event, occurred_at=row.occurred_at, description=row.description)
            )
            for each in chunk
            if (row := stored[each.event.identity]).message_pk is not None
        ],
        now=now,
    )
    return sum((_tally(each, stored[each.event.identity]) for each in chunk), Tally())


def _tally(delivered: Delivered, stored: Row[Any]) -> Tally:
    is_new = stored.deliveries == delivered.deliveries
    is_unlinked = stored.message_pk is None and not delivered.event.is_inbound
    return Tally(recorded=int(is_new), duplicates=delivered.deliveries - is_new, unlinked=int(is_new and is_unlinked))


def _event_row(
    delivered: Delivered, claim: int | None, bound: dict[str, int], *, now: datetime, source: str
) -> dict[str, Any]:
    event = delivered.event
    # Rows are written in the order of locks; a microsecond apart, they can be read in the order of the callback.
    received_at = now + timedelta(microseconds=delivered.place)
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
        "deliveries": delivered.deliveries,
        "source": source,
        "payload": event.payload,
    }


def _upsert_event(session: Session) -> Any:
    """A repeat counts, may tell an earlier time, and may link; everything else stays that of the first."""
    insert = insert_into(session, StoredEvent)
    new = insert.excluded
    was_linked = StoredEvent.message_pk.is_not(None)
    return insert.on_conflict_do_update(
        index_elements=[StoredEvent.message_id, StoredEvent.recipient, StoredEvent.type, StoredEvent.error_code],
        set_={
            "deliveries": StoredEvent.deliveries + new.deliveries,
            "last_received_at": _pick(new.last_received_at > StoredEvent.last_received_at, new, "last_received_at"),
            "occurred_at": _pick(
                or_(StoredEvent.occurred_at.is_(None), new.occurred_at < StoredEvent.occurred_at), new, "occurred_at"
            ),
            "message_pk": _pick(~was_linked, new, "message_pk"),
            "linked_by": _pick(~was_linked, new, "linked_by"),
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


def _record_unreadable(session: Session, element: Unreadable, *, now: datetime) -> None:
    insert = insert_into(session, UnreadableCallback)
    session.execute(
        insert.on_conflict_do_update(
            index_elements=[UnreadableCallback.sha256],
            set_={
                "deliveries": UnreadableCallback.deliveries + 1,
                "last_received_at": insert.excluded.last_received_at,
            },
        ),
        {
            "sha256": element.sha256,
            "reason": element.reason,
            "payload": element.payload,
            "first_received_at": now,
            "last_received_at": now,
            "deliveries": 1,
        },
    )
