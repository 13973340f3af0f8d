"""Notes: what each event changes for its recipient at the moment it is stored, for the log and for metrics.

Notes are published only about durable events: a transaction that is rolled back or retried leaves none.
"""

from collections import Counter
from datetime import datetime
from typing import NamedTuple

from receiver import metrics
from receiver.core.events import Event
from receiver.core.status import (
    TERMINAL,
    Disposition,
    RecipientStatus,
    disposition,
    says_invalid_recipient,
    statement,
    status_of,
)
from receiver.events.store import DUPLICATE, LEFT, UNREADABLE, Arrival, StoreResult
from receiver.log import contain_errors, get_logger, identifier, shortened, without_numbers

log = get_logger(__name__)

CERTAIN = frozenset({RecipientStatus.DELIVERED, RecipientStatus.FAILED})
"""Outcomes that no other should follow; unconfirmed is none."""


class Note(NamedTuple):
    """What the log and the metrics need to know about an event that has just come."""

    event: Event
    """As it is stored."""
    is_new: bool
    deliveries: int
    tag: str | None
    """That of its message."""
    disposition: Disposition
    """As of now; later events may change it."""
    lag: float | None
    """Seconds from its time to its receipt; None if that cannot be read."""
    outcome_after: float | None
    """Seconds since the message's last request, if its recipient has the first final status by it."""
    is_known_false: bool
    """Whether it is extraneous, or makes the delivered that its recipient showed extraneous."""
    old_status: RecipientStatus | None
    """What its recipient showed before it, or shows now if it came again; None if the message has no such recipient."""
    delay: float | None
    """Seconds since its recipient changed before it, or since it came first if it came again."""


class _Shown(NamedTuple):
    """What a recipient shows; its standing is None if the message has no such recipient."""

    standing: bytes | None
    is_invalid: bool
    since: datetime | None


@contain_errors(log)
def publish(result: StoreResult, *, seconds: float) -> None:
    """Counts what a transaction of callbacks stored that is durable, and took ``seconds``.

    Logs each event that came again, or that contradicts an outcome that was certain.
    """
    if not result.arrivals and LEFT in result.tallies:  # nothing was stored
        return
    notes = notes_of(result)
    new = [note for note in notes if note.is_new]
    metrics.count_stored(
        metrics.Stored(
            elements=len(result.tallies) - result.tallies.count(LEFT),
            duplicates=result.tallies.count(DUPLICATE),
            unreadable=result.tallies.count(UNREADABLE),
            events=Counter((note.event.type, note.disposition) for note in new),
            extraneous=sum(note.is_known_false for note in new),
            lags=[note.lag for note in new if note.lag is not None],
            outcome_lags=[note.outcome_after for note in new if note.outcome_after is not None],
            seconds=seconds,
        )
    )
    for note in notes:
        if note.deliveries == 1 and note.old_status not in CERTAIN:
            continue
        new_status = statement(note.event.type, note.event.error_code)
        if note.deliveries > 1:
            _log("event repeated", note, new_status)
        elif new_status not in (None, note.old_status):
            _log("late event", note, new_status)


def notes_of(result: StoreResult) -> list[Note]:
    """A note on each event, in the order of arrival, once all of them are merged."""
    shown: dict[tuple[int | None, str], _Shown] = {}
    before = []
    for event, standing, _, row in result.arrivals:
        key = (row.message_pk, event.recipient)
        old = shown.get(key) or _Shown(row.standing, bool(row.invalid_recipient), row.updated_at)
        before.append(old)
        shown[key] = old
        if old.standing is not None:
            is_invalid = old.is_invalid or says_invalid_recipient(event.type, event.error_code)
            wins = standing > old.standing
            shown[key] = _Shown(
                standing if wins else old.standing, is_invalid, result.received_at if wins else old.since
            )
    return [
        _note(each, before=its, after=shown[each.row.message_pk, each.event.recipient], now=result.received_at)
        for each, its in zip(result.arrivals, before, strict=True)
    ]


def _note(arrival: Arrival, *, before: _Shown, after: _Shown, now: datetime) -> Note:
    event, standing, is_new, row = arrival
    came_again = row.deliveries > 1
    first, old, new = (
        None if each is None else status_of(each) for each in (row.standing, before.standing, after.standing)
    )
    wins = standing == after.standing
    found = disposition(
        event_type=event.type,
        linked=row.message_pk is not None,
        is_winner=wins,
        recipient=new,
        invalid_recipient=after.is_invalid,
    )
    is_first_outcome = wins and new in TERMINAL and first not in TERMINAL
    reveals = wins and after.is_invalid and (first, new) == (RecipientStatus.DELIVERED, RecipientStatus.FAILED)
    return Note(
        event=event,
        is_new=is_new,
        deliveries=row.deliveries,
        tag=None if row.message_pk is None else row.bound_tag,
        disposition=found,
        lag=_seconds(event.occurred_at, now),
        outcome_after=_seconds(row.submitted_at, now) if is_first_outcome else None,
        is_known_false=reveals or found is Disposition.EXTRANEOUS,
        old_status=new if came_again else old,
        delay=_seconds(row.first_received_at if came_again else before.since, now),
    )


def _seconds(since: datetime | None, now: datetime) -> float | None:
    """The seconds from ``since`` to ``now``; 0 if ``since`` is later, because clocks differ."""
    return None if since is None else max(0.0, (now - since).total_seconds())


def _log(line: str, note: Note, new_status: RecipientStatus | None) -> None:
    log.info(
        line,
        tag=note.tag,
        message_id=identifier(note.event.message_id),
        type=without_numbers(note.event.type),
        error_code=note.event.error_code or None,
        recipient=shortened(note.event.recipient),
        old_status=note.old_status,
        new_status=new_status,
        delay_seconds=None if note.delay is None else round(note.delay, 3),
        deliveries=note.deliveries,
    )
