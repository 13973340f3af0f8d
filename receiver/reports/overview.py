"""What a check of an installation asks the database, beside the figures that monitoring has too.

How it stands: what waits, what nobody knows of, how quickly messages go out, what is overdue or wrong.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    union,
)
from sqlalchemy.orm import Session

from receiver.bandwidth.client import Account
from receiver.core import times
from receiver.core.send_status import SendStatus
from receiver.core.status import UNKNOWN_TIME, WITH_CODE, WITHOUT_CODE, RecipientStatus
from receiver.database.database import Database
from receiver.database.lookup import MOST, count
from receiver.database.models import LaneRow, Message, Recipient, StoredEvent, UnreadableCallback
from receiver.errors import StorageUnavailable
from receiver.events.store import CALLBACK
from receiver.messages.credentials import refused_since as refused
from receiver.messages.pace import paused_until
from receiver.messages.queue import backlog
from receiver.metrics import Values
from receiver.reports.figures import figures
from receiver.reports.lookup import shows_status
from receiver.settings import Settings

SAMPLE = 1_000
"""How many of the newest accepted messages are looked at."""

TRIAL = 2**16
"""Bytes that are written on trial: more than a full disk has left in the files that are there."""


@dataclass(frozen=True, slots=True)
class Server:
    """The database's product and version."""

    name: str
    major: int
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def server(session: Session) -> Server:
    """Which database answers."""
    dialect = session.connection().dialect
    name = "PostgreSQL" if dialect.name == "postgresql" else "SQLite"
    version = dialect.server_version_info or (0,)
    return Server(name, major=int(version[0]), version=".".join(map(str, version)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How this process reaches PostgreSQL, or the pooler before it."""

    host: str
    """The folder of the socket if it is on this machine."""
    sslmode: str
    tls: str | None
    """The version that the connection is encrypted with; None if it is not encrypted."""

    @property
    def is_local(self) -> bool:
        return self.host.startswith(("/", "@")) or self.host == "localhost" or self.host.startswith(("127.", "::1"))

    def __str__(self) -> str:
        return f"host {self.host}, sslmode {self.sslmode}, {f'encrypted ({self.tls})' if self.tls else 'not encrypted'}"


def link(session: Session) -> Link:
    """Of an open connection to PostgreSQL."""
    driver: Any = session.connection().connection.driver_connection
    options = {each.keyword.decode(): (each.val or b"").decode() for each in driver.pgconn.info}
    tls = (session.scalar(_TLS) or "TLS") if driver.pgconn.ssl_in_use else None  # of a pooler it is not the server's
    return Link(host=driver.info.host, sslmode=options["sslmode"], tls=tls)


_TLS = text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


def try_write(session: Session) -> None:
    """Stores an element of a callback and removes it at once, so that nobody ever sees it: that needs everything that
    a write needs, also space on the disk."""
    row = {"sha256": secrets.token_hex(32), "reason": "", "payload": secrets.token_hex(TRIAL // 2), "whole_body": False}
    received = dict.fromkeys(("first_received_at", "last_received_at"), times.now())
    stored = insert(UnreadableCallback).values(**row, **received, deliveries=1).returning(UnreadableCallback.pk)
    key = session.execute(stored).scalar_one()
    session.execute(delete(UnreadableCallback).where(UnreadableCallback.pk == key))


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderTraffic:
    """The newest accepted messages of a sender with an application, and how many of them an event came about."""

    sender: str
    application_id: str
    accepted: int
    heard_of: int
    since: datetime
    """When the first of them was submitted."""


def sender_traffic(session: Session, *, since: datetime, until: datetime) -> list[SenderTraffic]:
    """Of messages created since then and submitted before ``until``."""
    heard = exists().where(StoredEvent.message_pk == Message.pk, StoredEvent.source == CALLBACK)
    sample = (
        select(Message.sender, Message.application_id, Message.submitted_at, case((heard, 1), else_=0).label("heard"))
        .where(Message.send_status == SendStatus.ACCEPTED, Message.created_at >= since, Message.submitted_at <= until)
        .order_by(Message.created_at.desc())
        .limit(SAMPLE)
        .subquery()
    )
    groups = select(
        sample.c.sender,
        sample.c.application_id,
        func.count().label("accepted"),
        func.sum(sample.c.heard).label("heard_of"),
        func.min(sample.c.submitted_at).label("since"),
    ).group_by(sample.c.sender, sample.c.application_id)
    return [SenderTraffic(**row) for row in session.execute(groups).mappings()]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """What waits for a worker, and whether one is there."""

    queued: int
    """At most MOST."""
    waiting_since: datetime | None
    """Since when the first of them could have been claimed."""
    is_worked: bool
    """Whether a worker has claimed or sent anything since a given time, or waits for its turn."""
    paused_until: datetime | None


def queue_state(session: Session, *, since: datetime, now: datetime) -> QueueState:
    queued = Message.send_status == literal_column("'queued'")  # in words of the index of those
    # What was sent at once has the same time twice; what waited was sent by a worker.
    worked = (Message.updated_at >= since, Message.submitted_at >= since, Message.submitted_at > Message.created_at)
    signs = [
        select(Message.pk).where(queued, Message.claimable_at > now, Message.denied_at.is_(None)),
        select(Message.pk).where(*worked),
        select(LaneRow.sender).where(LaneRow.next_at > now),
    ]
    return QueueState(
        queued=count(session, select(Message.pk).where(queued)),
        waiting_since=session.scalar(select(func.min(Message.claimable_at)).where(queued)),
        is_worked=any(session.execute(sign.limit(1)).first() is not None for sign in signs),
        paused_until=paused_until(session),
    )


def old_order(session: Session) -> int:
    """How many recipients have a standing in the order of earlier releases, among the oldest and the newest MOST of all
    and of those that failed. `receiver recompute` goes from the oldest to the newest, so what it has not reached, or an
    earlier release wrote behind it, is found at these ends."""
    ends = [
        select(Recipient.message_pk, Recipient.recipient, Recipient.standing)
        .where(*among)
        .order_by(order)
        .limit(MOST)
        .subquery()
        for among in ((), (shows_status(Recipient, RecipientStatus.FAILED),))
        for order in (Recipient.created_at, Recipient.created_at.desc())
    ]
    found = [select(end.c.message_pk, end.c.recipient).where(_has_old_order(end.c.standing)) for end in ends]
    return session.scalar(select(func.count()).select_from(union(*found).subquery())) or 0


def _has_old_order(standing: ColumnElement[bytes]) -> ColumnElement[bool]:
    """What the core's has_old_order() says."""

    def part(start: int, length: int) -> ColumnElement[bytes]:
        return func.substr(standing, start, length, type_=LargeBinary)

    return or_(
        part(2, 1).not_in((b"", WITH_CODE, WITHOUT_CODE)),
        and_(part(2, 8) == UNKNOWN_TIME, part(10, 1) != WITHOUT_CODE),
    )


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
