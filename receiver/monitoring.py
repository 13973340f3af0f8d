"""How sending is going: what waits, what nobody knows of, and how quickly messages go out."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.core import times
from receiver.core.pace import Rates
from receiver.storage.database import Database
from receiver.storage.pacing import paused_until
from receiver.storage.queue import backlog

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceReport:
    """How quickly messages go out; a unit is a recipient times a segment."""

    rate: float | None
    """Units per second, at most; None is no limit."""
    sender_rate: float | None
    """The same, of each sender."""
    last_minute: float
    """Units per second that went out in the last minute."""
    paused_until: datetime | None
    """Until when Bandwidth's 429 holds everything up."""
    pause_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """How sending is going."""

    queued: int
    oldest_queued_at: datetime | None
    oldest_queued_seconds: float | None
    unknown: int
    """Messages of which nobody can say whether they were sent."""
    pace: PaceReport


def queue(database: Database, rates: Rates) -> QueueReport:
    """How sending is going."""
    now = times.now()
    with database.read() as session:
        found = backlog(session, now=now, since=now - MINUTE)
        until = paused_until(session)
    return QueueReport(
        queued=found.queued,
        oldest_queued_at=found.oldest_queued_at,
        oldest_queued_seconds=_seconds(now - found.oldest_queued_at) if found.oldest_queued_at else None,
        unknown=found.unknown,
        pace=PaceReport(
            rate=rates.account,
            sender_rate=rates.sender,
            last_minute=found.units / MINUTE.total_seconds(),
            paused_until=until,
            pause_seconds=_seconds(until - now) if until else None,
        ),
    )


def _seconds(span: timedelta) -> float:
    return max(0.0, span.total_seconds())
