"""The stored state in a few figures, for `GET /queue`, Prometheus and the doctor.

Each figure is cheap to read however long the history is: it comes from an index, or from at most MOST rows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.bandwidth.client import BandwidthAccount
from receiver.core import times
from receiver.core.events import INBOUND_TYPES, Source
from receiver.core.send_status import SendStatus
from receiver.database.database import Database
from receiver.database.json_rows import is_one_of
from receiver.database.lookup import MOST, count, is_due, is_open, shows
from receiver.database.models import Message, Recipient, StoredEvent, UnreadableCallback
from receiver.errors import StorageUnavailable
from receiver.messages import credentials
from receiver.messages.pace import paused_until
from receiver.messages.queue import backlog
from receiver.metrics import Gauge
from receiver.settings import Settings

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
"""The span of the pace, and that of events that are wrong: Bandwidth sends an event again for a day."""

NEWEST_EVENTS = 1000
"""How many of the newest events are searched for the last one about our messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceReport:
    """The rates and pauses of sending; a unit is a recipient times a segment."""

    rate: float | None
    """Units per second, at most; None is no limit."""
    sender_rate: float | None
    """The same for each sender."""
    last_minute: float
    """Units per second that went out in the last minute."""
    paused_until: datetime | None
    """Until when a 429 from Bandwidth pauses all sending."""
    pause_seconds: float | None
    credentials_refused_since: datetime | None
    """Since when workers pause because Bandwidth refuses the credentials of these settings."""
    credentials_refused_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """The state of sending."""

    queued: int
    oldest_queued_at: datetime | None
    oldest_queued_seconds: float | None
    unknown: int
    """Messages that may or may not have been sent."""
    pace: PaceReport


def queue(database: Database, settings: Settings) -> QueueReport:
    """The state of sending. Raises StorageUnavailable."""
    with database.read() as session:
        return _queue(session, settings, now=times.now())


def _queue(session: Session, settings: Settings, *, now: datetime) -> QueueReport:
    found, rates = backlog(session, now=now, since=now - MINUTE), settings.rates
    until = paused_until(session)
    refused_since = credentials.refused_since(session, BandwidthAccount.of(settings).fingerprint)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of messages and events that need attention, and of the last signs of life."""

    submitting: int
    overdue: int
    """Recipients, up to MOST."""
    oldest_overdue_at: datetime | None
    """Since when the first of them is overdue."""
    unlinked: int
    """Events of the last day without a message, among the newest MOST of them."""
    unreadable: int
    """Elements that first came in the last day, up to MOST."""
    last_accepted_at: datetime | None
    """When the newest accepted message was created."""
    last_event_at: datetime | None
    """When the newest event about messages came by callback. If the newest NEWEST_EVENTS are all others, when the first
    of those came: no earlier event came later."""


def figures(session: Session, *, now: datetime, overdue_after: timedelta) -> Figures:
    """Reads the figures. ``overdue_after`` is the present setting: no message younger than that is overdue."""
    overdue, oldest = _overdue(session, now=now, since=now - overdue_after)
    first_received_at = UnreadableCallback.first_received_at
    return Figures(
        submitting=count(session, select(Message.pk).where(shows(SendStatus.SUBMITTING, now=now))),
        overdue=overdue,
        oldest_overdue_at=oldest,
        unlinked=_unlinked(session, since=now - DAY),
        unreadable=count(session, select(UnreadableCallback.pk).where(first_received_at >= now - DAY)),
        last_accepted_at=session.scalar(
            select(func.max(Message.created_at)).where(Message.send_status == SendStatus.ACCEPTED)
        ),
        last_event_at=_last_event_at(session),
    )


def _overdue(session: Session, *, now: datetime, since: datetime) -> tuple[int, datetime | None]:
    """Returns the number of overdue recipients, and since when the first is. Reads the index of open recipients."""
    late = (
        select(Message.overdue_at.label("at"))
        .join(Recipient, Recipient.message_pk == Message.pk)
        .where(is_open(Recipient), Recipient.created_at < since, is_due(now))
        .order_by(Recipient.created_at)
        .limit(MOST)
        .subquery()
    )
    row = session.execute(select(func.count().label("number"), func.min(late.c.at).label("first"))).one()
    return row.number, row.first


def _unlinked(session: Session, *, since: datetime) -> int:
    newest = (
        select(StoredEvent.type.label("type"))
        .where(StoredEvent.linked_by.is_(None), StoredEvent.first_received_at >= since)
        .order_by(StoredEvent.first_received_at.desc())
        .limit(MOST)
        .subquery()
    )
    outbound = ~is_one_of(newest.c.type, INBOUND_TYPES)
    return session.scalar(select(func.count()).select_from(newest).where(outbound)) or 0


def _last_event_at(session: Session) -> datetime | None:
    columns = (StoredEvent.first_received_at, StoredEvent.source, StoredEvent.type)
    newest = session.execute(select(*columns).order_by(StoredEvent.first_received_at.desc()).limit(NEWEST_EVENTS)).all()
    for row in newest:
        if row.source == Source.CALLBACK and row.type not in INBOUND_TYPES:
            return row.first_received_at  # type: ignore[no-any-return]
    return newest[-1].first_received_at if len(newest) == NEWEST_EVENTS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """The state from which the gauges get their values."""

    queue: QueueReport
    figures: Figures
    now: datetime


DATABASE_UP = "receiver_database_up"

GAUGES: Mapping[str, tuple[str, Callable[[_State], float | Mapping[str, float] | None]]] = {
    DATABASE_UP: ("Whether the database responded; if not, no other metric is read from it.", lambda _: 1),
    "receiver_messages": (
        "Unfinished messages by send status: queued, submitting, unknown.",
        lambda state: {
            SendStatus.QUEUED: state.queue.queued,
            SendStatus.SUBMITTING: state.figures.submitting,
            SendStatus.UNKNOWN: state.queue.unknown,
        },
    ),
    "receiver_oldest_queued_seconds": (
        "Age of the oldest queued message.",
        lambda state: state.queue.oldest_queued_seconds or 0,
    ),
    "receiver_pace_units_per_second": (
        "Recipients x segments per second that went to Bandwidth in the last minute.",
        lambda state: state.queue.pace.last_minute,
    ),
    "receiver_rate_units_per_second": ("BANDWIDTH_RATE.", lambda state: state.queue.pace.rate),
    "receiver_pause_seconds": (
        "How much longer a 429 from Bandwidth pauses all sending.",
        lambda state: state.queue.pace.pause_seconds or 0,
    ),
    "receiver_credentials_refused_seconds": (
        "How long workers have paused because Bandwidth refuses the credentials.",
        lambda state: state.queue.pace.credentials_refused_seconds or 0,
    ),
    "receiver_overdue_recipients": (
        "Recipients whose outcome should be known by now; counted up to 10,000.",
        lambda state: state.figures.overdue,
    ),
    "receiver_oldest_overdue_seconds": (
        "How long the outcome of the first overdue recipient has been overdue.",
        lambda state: _seconds(state.now - (state.figures.oldest_overdue_at or state.now)),
    ),
    "receiver_recent_unlinked_events": (
        "Events of the last 24 hours that match no message; of the newest 10,000.",
        lambda state: state.figures.unlinked,
    ),
    "receiver_recent_unreadable_elements": (
        "Elements of the last 24 hours that are not events; up to 10,000.",
        lambda state: state.figures.unreadable,
    ),
    "receiver_last_accepted_timestamp_seconds": (
        "When the newest accepted message was created; 0: never.",
        lambda state: _timestamp(state.figures.last_accepted_at),
    ),
    "receiver_last_event_timestamp_seconds": (
        "When the last event about messages came by callback; 0: never.",
        lambda state: _timestamp(state.figures.last_event_at),
    ),
}
"""By name: the meaning of each gauge, and its value; None if there is none."""


def gauges(database: Database, settings: Settings) -> Iterator[Gauge]:
    """The gauges for Prometheus; only DATABASE_UP if the database does not respond."""
    now = times.now()
    try:
        with database.read() as session:
            state = _State(
                queue=_queue(session, settings, now=now),
                figures=figures(session, now=now, overdue_after=settings.overdue_after),
                now=now,
            )
    except StorageUnavailable:
        yield Gauge(DATABASE_UP, GAUGES[DATABASE_UP][0], 0)
        return
    for name, (meaning, read) in GAUGES.items():
        if (value := read(state)) is not None:
            yield Gauge(name, meaning, value)


def _seconds(span: timedelta) -> float:
    return max(0.0, span.total_seconds())


def _timestamp(instant: datetime | None) -> float:
    return instant.timestamp() if instant else 0
