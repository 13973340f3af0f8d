"""What the events that a transaction stores are to their recipients, as it sees them: for those who watch."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row

from receiver.core.events import Event
from receiver.core.status import (
    NO_STANDING,
    TERMINAL,
    Disposition,
    RecipientStatus,
    disposition,
    says_invalid_recipient,
    standing,
    status_of,
)


class Recorded(NamedTuple):
    """A new event."""

    type: str
    disposition: Disposition
    """As of now; later events may change it."""
    lag: float | None
    """Seconds from its time to its receipt; None if that cannot be read."""
    outcome_after: float | None
    """Seconds since the message's last request, if its recipient has the first final status by it."""
    is_known_false: bool
    """Whether it is extraneous, or makes the delivered that its recipient showed extraneous."""


def judge(new: Iterable[tuple[Event, Row[Any]]], *, now: datetime) -> list[Recorded]:
    """What each of the new events is, once all of them are merged; each with its row as upserting returns it."""
    best: dict[tuple[int | None, str], bytes] = {}
    invalid = set()
    said = [(event, row, (row.message_pk, event.recipient), standing(event)) for event, row in new]
    for event, row, key, own in said:
        best[key] = max(best.get(key, row.standing_before or NO_STANDING), own)
        if row.was_invalid or says_invalid_recipient(event.type, event.error_code):
            invalid.add(key)
    return [_recorded(event, row, best[key], own == best[key], key in invalid, now) for event, row, key, own in said]


def _recorded(event: Event, row: Row[Any], best: bytes, wins: bool, invalid: bool, now: datetime) -> Recorded:
    before = None if row.standing_before is None else status_of(row.standing_before)
    after = None if before is None else status_of(best)
    found = disposition(
        event_type=event.type,
        linked=row.message_pk is not None,
        is_winner=wins,
        recipient=after,
        invalid_recipient=invalid,
    )
    is_first = wins and after in TERMINAL and before not in TERMINAL
    reveals = wins and invalid and before is RecipientStatus.DELIVERED and after is RecipientStatus.FAILED
    return Recorded(
        event.type,
        found,
        _seconds(event.occurred_at, now),
        _seconds(row.submitted_at, now) if is_first else None,
        reveals or found is Disposition.EXTRANEOUS,
    )


def _seconds(since: datetime | None, now: datetime) -> float | None:
    """Clocks differ: what is to come by ours was just now."""
    return None if since is None else max(0.0, (now - since).total_seconds())
