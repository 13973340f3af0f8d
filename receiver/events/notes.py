"""What the events of a transaction are to their recipients, as it sees them: for those who watch.

Says in the log which events came again, and which say something else of a recipient whose outcome was known.

Of events that are durable: what a transaction found that is undone, or tried again, did not happen.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import Row

from receiver.core.events import Event
from receiver.core.numbers import identifier, shortened, without_numbers
from receiver.core.status import (
    TERMINAL,
    Disposition,
    RecipientStatus,
    disposition,
    says_invalid_recipient,
    standing,
    statement,
    status_of,
)
from receiver.log import contain_errors, get_logger


class Recorded(NamedTuple):
    """An event that came just now."""

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
    """What a recipient shows; without a standing, the message has no such recipient."""

    standing: bytes | None
    is_invalid: bool
    since: datetime | None

    @property
    def status(self) -> RecipientStatus | None:
        return None if self.standing is None else status_of(self.standing)

    def after(self, event: Event, *, now: datetime) -> Self:
        if self.standing is None:
            return self
        is_invalid = self.is_invalid or says_invalid_recipient(event.type, event.error_code)
        best = max(self.standing, standing(event))
        return self._replace(standing=best, is_invalid=is_invalid, since=self.since if best == self.standing else now)


Stored = tuple[Event, Row[Any], bool]
"""An event as it is stored, its row as upserting returns it, and whether it is new."""


def judge(stored: Sequence[Stored], *, now: datetime) -> list[Recorded]:
    """What each of these is, in the order of arrival, once all of them are merged."""
    shown: dict[tuple[int | None, str], _Shown] = {}
    before = []
    for event, row, _ in stored:
        key = (row.message_pk, event.recipient)
        before.append(shown.get(key) or _Shown(row.standing_before, bool(row.was_invalid), row.changed_before))
        shown[key] = before[-1].after(event, now=now)
    return [
        _recorded(each, before=its, after=shown[each[1].message_pk, each[0].recipient], now=now)
        for each, its in zip(stored, before, strict=True)
    ]


def _recorded(stored: Stored, *, before: _Shown, after: _Shown, now: datetime) -> Recorded:
    event, row, is_new = stored
    wins = standing(event) == after.standing
    found = disposition(
        event_type=event.type,
        linked=row.message_pk is not None,
        is_winner=wins,
        recipient=after.status,
        invalid_recipient=after.is_invalid,
    )
    first = None if row.standing_before is None else status_of(row.standing_before)
    is_first_outcome = wins and after.status in TERMINAL and first not in TERMINAL
    reveals = (first, after.status) == (RecipientStatus.DELIVERED, RecipientStatus.FAILED) and after.is_invalid and wins
    came_again = row.deliveries > 1
    return Recorded(
        event=event,
        is_new=is_new,
        deliveries=row.deliveries,
        tag=None if row.message_pk is None else row.bound_tag,
        disposition=found,
        lag=_seconds(event.occurred_at, now),
        outcome_after=_seconds(row.submitted_at, now) if is_first_outcome else None,
        is_known_false=reveals or found is Disposition.EXTRANEOUS,
        old_status=(after if came_again else before).status,
        delay=_seconds(row.first_received_at if came_again else before.since, now),
    )


def _seconds(since: datetime | None, now: datetime) -> float | None:
    """Clocks differ: what is to come by ours was just now."""
    return None if since is None else max(0.0, (now - since).total_seconds())


log = get_logger(__name__)

KNOWN = frozenset({RecipientStatus.DELIVERED, RecipientStatus.FAILED})
"""Outcomes that nothing should follow; unconfirmed is none."""


@contain_errors(log)
def remark(recorded: Iterable[Recorded]) -> None:
    """A line for each event that deserves one."""
    for each in recorded:
        new_status = statement(each.event.type, each.event.error_code)
        if each.deliveries > 1:
            _say("event repeated", each, new_status)
        elif each.old_status in KNOWN and new_status not in (None, each.old_status):
            _say("event after the outcome", each, new_status)


def _say(line: str, this: Recorded, new_status: RecipientStatus | None) -> None:
    log.info(
        line,
        tag=this.tag,
        message_id=identifier(this.event.message_id),
        type=without_numbers(this.event.type),
        error_code=this.event.error_code or None,
        recipient=shortened(this.event.recipient),
        old_status=this.old_status,
        new_status=new_status,
        delay_seconds=None if this.delay is None else round(this.delay, 3),
        deliveries=this.deliveries,
    )
