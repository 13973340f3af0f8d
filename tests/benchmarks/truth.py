"""Compares stored events with the acknowledged ones, and what recipients show with the fold of their events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from receiver.core.events import Event
from receiver.core.status import NO_STANDING, standing
from tests.benchmarks.workload import Identity, Store
from tests.support import oracle


def problem(store: Store, answered: Iterable[Identity]) -> str | None:
    """Returns a sentence about the first thing that is wrong in the database, or None.

    ``answered`` are the events of the requests that got a 2xx. A receiver written by hand keeps neither the number of
    deliveries nor the statement of highest standing, so of its tables only the stored events are compared.
    """
    acknowledged = Counter(answered)
    if store.plain:
        stored = store.rows("SELECT message_id, recipient, type, error_code, 1 FROM events")
        return _miscounted(Counter(set(acknowledged)), stored)
    events = store.rows("SELECT message_id, recipient, type, error_code, deliveries FROM events")
    return _miscounted(acknowledged, events) or _misjudged(store)


def _miscounted(acknowledged: Counter[Identity], stored: Iterable[tuple[Any, ...]]) -> str | None:
    """Says which events were acknowledged more often than they were stored or counted, or are stored twice."""
    deliveries: dict[Identity, int] = {}
    for *identity, number in stored:
        key: Identity = tuple(identity)  # type: ignore[assignment]
        if key in deliveries:
            return f"an event is stored more than once: {key}"
        deliveries[key] = number
    lost = [each for each, times in acknowledged.items() if deliveries.get(each, 0) < times]
    return (
        f"{len(lost)} events were answered 2xx and are not stored or counted, for instance {lost[0]}" if lost else None
    )


RECIPIENTS = "SELECT message_pk, recipient, status, standing, event_pk, error_code, invalid_recipient FROM recipients"
EVENTS = "SELECT message_pk, recipient, pk, type, message_id, error_code, occurred_at FROM events"


def _misjudged(store: Store) -> str | None:
    """Says which recipient does not show the fold of the stored events about it, by the rules of tests/support."""
    pks: dict[tuple[Any, ...], dict[Event, int]] = {}
    for message_pk, recipient, pk, kind, message_id, code, occurred_at in store.rows(EVENTS):
        event = Event(
            type=kind,
            message_id=message_id,
            recipient=recipient,
            error_code=code,
            occurred_at=_instant(occurred_at),
            payload="",
        )
        pks.setdefault((message_pk, recipient), {})[event] = pk
    for message_pk, recipient, *shown in store.rows(RECIPIENTS):
        expected = _fold(pks.get((message_pk, recipient), {}))
        if tuple(shown) != expected:
            return f"{recipient} of message {message_pk} shows {tuple(shown)}; its events say {expected}"
    return None


def _fold(pks: Mapping[Event, int]) -> tuple[Any, ...]:
    """Returns the columns of a recipient with these events: the last five of RECIPIENTS."""
    winner = oracle.winner(pks)
    return (
        oracle.status(pks),
        standing(winner) if winner else NO_STANDING,
        pks[winner] if winner else None,
        (winner.error_code or None) if winner else None,
        oracle.invalid_recipient(pks),
    )


def _instant(value: Any) -> datetime | None:
    """Returns an instant from either database; SQLite keeps it as text, in UTC."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value
