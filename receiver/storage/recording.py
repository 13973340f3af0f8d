"""Stores what Bandwidth said: each event once, linked to its message, its statement merged into its recipient.

Everything here runs inside one write transaction of the caller. Rows are locked in one order everywhere: unreadable
elements, message ids, events, messages, recipients, each sorted; so two transactions that meet wait for each other and
never deadlock. (Events that waited for their message id are changed by whoever holds the lock on that id.) A statement
takes all rows of its kind at once, so its cost is shared by whatever is stored together.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from functools import cache
from typing import Any, Self

from sqlalchemy import Row
from sqlalchemy.orm import Session

from receiver.core.events import Event, Gathered, Identity, Unreadable, gather
from receiver.database.json_rows import insert_rows, instant, parameter
from receiver.database.models import UnreadableCallback
from receiver.storage.linking import bind, messages_tagged, report_clash
from receiver.storage.merging import Linked, merge
from receiver.storage.recorded import Recorded, judge
from receiver.storage.upserting import Received, row_of, times_of, upsert_events

CALLBACK = "callback"
"""The source of an event that Bandwidth sent by itself."""


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
    source: str = CALLBACK,
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
