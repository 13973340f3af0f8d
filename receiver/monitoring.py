"""How it stands: what waits, what nobody knows of, how quickly messages go out, what is overdue or wrong."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.bandwidth.client import Account
from receiver.core import times
from receiver.core.send_status import SendStatus
from receiver.database.database import Database, Session
from receiver.errors import StorageUnavailable
from receiver.exposition import Values
from receiver.messages.credentials import refused_since as refused
from receiver.messages.pace import paused_until
from receiver.messages.queue import backlog
from receiver.settings import Settings
from receiver.storage.figures import figures

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
    credentials_refused_since: datetime | None
    """Since when workers pause because Bandwidth refuses the credentials that they hold, or this service."""
    credentials_refused_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """How sending is going."""

    queued: int
    oldest_queued_at: datetime | None
    oldest_queued_seconds: float | None
    unknown: int
    """Messages of which nobody can say whether they were sent."""
    pace: PaceReport


def queue(database: Database, settings: Settings) -> QueueReport:
    """How sending is going."""
    with database.read() as session:
        return _queue(session, settings, now=times.now())


def gauges(database: Database, settings: Settings) -> Values:
    """What Prometheus is told of the stored state; if the database does not answer, nothing but that."""
    now = times.now()
    try:
        with database.read() as session:
            sending = _queue(session, settings, now=now)
            found = figures(session, now=now, overdue_after=settings.overdue_after)
    except StorageUnavailable:
        return {"receiver_database_up": 0}
    rate = sending.pace.rate
    return {
        "receiver_database_up": 1,
        "receiver_messages": {
            SendStatus.QUEUED: sending.queued,
            SendStatus.SUBMITTING: found.submitting,
            SendStatus.UNKNOWN: sending.unknown,
        },
        "receiver_oldest_queued_seconds": sending.oldest_queued_seconds or 0,
        "receiver_pace_units_per_second": sending.pace.last_minute,
        **({} if rate is None else {"receiver_rate_units_per_second": rate}),
        "receiver_pause_seconds": sending.pace.pause_seconds or 0,
        "receiver_credentials_refused_seconds": sending.pace.credentials_refused_seconds or 0,
        "receiver_overdue_recipients": found.overdue,
        "receiver_oldest_overdue_seconds": _seconds(now - (found.oldest_overdue_at or now)),
        "receiver_recent_unlinked_events": found.unlinked,
        "receiver_recent_unreadable_elements": found.unreadable,
        "receiver_last_accepted_timestamp_seconds": _timestamp(found.last_accepted_at),
        "receiver_last_event_timestamp_seconds": _timestamp(found.last_event_at),
    }


def _queue(session: Session, settings: Settings, *, now: datetime) -> QueueReport:
    found, rates = backlog(session, now=now, since=now - MINUTE), settings.rates
    until, refused_since = paused_until(session), refused(session, Account.of(settings).fingerprint)
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
            credentials_refused_since=refused_since,
            credentials_refused_seconds=_seconds(now - refused_since) if refused_since else None,
        ),
    )


def _seconds(span: timedelta) -> float:
    return max(0.0, span.total_seconds())


def _timestamp(instant: datetime | None) -> float:
    return instant.timestamp() if instant else 0
