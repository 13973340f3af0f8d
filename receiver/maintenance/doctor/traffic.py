"""Traffic: silence after sending, overdue and unknown messages, events that fit nothing, a queue without a worker, a
long pause, refused credentials, and outcomes that an earlier release chose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    union,
)
from sqlalchemy.orm import Session

from receiver.bandwidth.client import BandwidthAccount
from receiver.core import times
from receiver.core.events import Source
from receiver.core.send_status import SendStatus
from receiver.core.status import UNKNOWN_TIME, WITH_CODE, WITHOUT_CODE, RecipientStatus
from receiver.database.database import Database
from receiver.database.lookup import MOST, count
from receiver.database.models import LaneRow, Message, Recipient, StoredEvent
from receiver.events.replies import count_unparsed
from receiver.maintenance.doctor.findings import Finding, ok, skipped, warning, wrong
from receiver.messages import credentials
from receiver.messages.pace import paused_until
from receiver.messages.queue import backlog
from receiver.reports.messages import shows_status
from receiver.reports.overview import Figures, figures
from receiver.settings import Settings

LATELY = timedelta(days=3)
"""How far back sending is examined: over a weekend."""

QUEUED_AT_BANDWIDTH = timedelta(minutes=15)
"""How long Bandwidth's own queue may keep a message before its first event ("Rate limits")."""

SAMPLE = 1_000
"""How many of the newest accepted messages are examined."""

UNWORKED = timedelta(minutes=3)
"""How long a message may wait without any sign of a worker; in an outage workers back off for a minute."""

LONG_PAUSE = timedelta(minutes=5)


def check_traffic(database: Database, settings: Settings) -> Iterator[Finding]:
    """All findings about one state of the database."""
    now = times.now()
    with database.read() as session:
        found = figures(session, now=now, overdue_after=settings.overdue_after)
        unknown = backlog(session, now=now, since=now).unknown
        senders = read_sender_traffic(session, since=now - LATELY, until=now - QUEUED_AT_BANDWIDTH)
        queue = read_queue_state(session, since=now - UNWORKED, now=now)
        in_old_order = count_old_order(session)
        unparsed = count_unparsed(session)
        refused_since = credentials.refused_since(session, BandwidthAccount.of(settings).fingerprint)
    yield from check_arrival(senders, found.last_event_at, now=now)
    yield from check_counts(found, unknown=unknown, unparsed=unparsed)
    yield _check_workers(queue, now=now)
    yield _check_pause(queue.paused_until, now=now)
    yield _check_credentials(refused_since, now=now)
    yield _check_order(in_old_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderTraffic:
    """The newest accepted messages of a sender with an application."""

    sender: str
    application_id: str
    accepted: int
    with_events: int
    """How many of them have an event that came by callback."""
    since: datetime
    """When the first of them was submitted."""


def read_sender_traffic(session: Session, *, since: datetime, until: datetime) -> list[SenderTraffic]:
    """Counts the messages created after ``since`` and submitted before ``until``, by sender and application."""
    has_event = exists().where(StoredEvent.message_pk == Message.pk, StoredEvent.source == Source.CALLBACK)
    sample = (
        select(
            Message.sender,
            Message.application_id,
            Message.submitted_at,
            case((has_event, 1), else_=0).label("has_event"),
        )
        .where(Message.send_status == SendStatus.ACCEPTED, Message.created_at >= since, Message.submitted_at <= until)
        .order_by(Message.created_at.desc())
        .limit(SAMPLE)
        .subquery()
    )
    groups = select(
        sample.c.sender,
        sample.c.application_id,
        func.count().label("accepted"),
        func.sum(sample.c.has_event).label("with_events"),
        func.min(sample.c.submitted_at).label("since"),
    ).group_by(sample.c.sender, sample.c.application_id)
    return [SenderTraffic(**row) for row in session.execute(groups).mappings()]


def check_arrival(
    senders: Sequence[SenderTraffic], last_event_at: datetime | None, *, now: datetime
) -> Iterator[Finding]:
    """Checks whether events arrive for each sender.

    If an application is not linked to its number's location, Bandwidth answers 202 and no event ever follows; replies
    arrive all the same.
    """
    silent = [each for each in senders if not each.with_events]
    last = f"the last event arrived {_age(now - last_event_at)} ago" if last_event_at else "no event has ever arrived"
    if not senders:
        span = f"between {_age(QUEUED_AT_BANDWIDTH)} and {_age(LATELY)} ago"
        yield skipped("events", f"none were due, because nothing was accepted {span}; {last}")
    elif not silent:
        yield ok("events", f"they arrive for every sender; {last}")
    for each in silent:
        number, span = f"...{each.sender[-4:]}", _age(now - each.since)
        count = f"{each.accepted} or more" if each.accepted == SAMPLE else f"{each.accepted}"
        yield wrong(
            "events",
            f"none arrived for messages accepted from sender {number} with application {each.application_id}"
            f" in the last {span} ({count} message{'' if each.accepted == 1 else 's'}); {last}",
            "at Bandwidth, link that application to the location (SIP peer) of the number and set its callback URL;"
            " `receiver doctor --callback-url URL` checks that URL.",
        )


def check_counts(found: Figures, *, unknown: int, unparsed: int) -> Iterator[Finding]:
    """Returns a finding for each count that should be zero."""
    yield _report_count(
        found.overdue,
        "overdue",
        "recipients whose outcome should be known by now",
        "run `receiver reconcile`; `receiver overdue` lists them.",
    )
    yield _report_count(
        unknown,
        "unknown",
        "messages that may or may not have been sent",
        "run `receiver reconcile`, then `receiver resolve` for those that stay unknown.",
    )
    yield _report_count(
        found.unlinked,
        "unlinked",
        "events of the last day that match no message in this database",
        "`receiver unlinked` lists them; another program or database may send with this application.",
    )
    yield _report_count(
        found.unreadable,
        "unreadable",
        "callback elements of the last day that are not events",
        "`receiver unreadable` lists them; either Bandwidth sends something new, or someone else posts callbacks.",
    )
    yield _report_count(
        unparsed,
        "replies",
        "replies stored by the previous version, whose text and opt-outs `support_inbound` does not show yet",
        "servers and workers of this version read them within minutes; start one if none is running.",
    )


def _report_count(number: int, check: str, what: str, remedy: str) -> Finding:
    return warning(check, f"{what}: {_at_least(number)}", remedy) if number else ok(check, f"{what}: none")


def _at_least(number: int) -> str:
    """The number in words; counting stops at MOST."""
    return f"{number} or more" if number == MOST else str(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The messages that wait for a worker, and whether a worker is running."""

    queued: int
    """Messages, up to MOST."""
    waiting_since: datetime | None
    """Since when the first of them could have been claimed."""
    is_worked: bool
    """Whether a worker has claimed or sent anything since a given time, or waits for its turn."""
    paused_until: datetime | None


def read_queue_state(session: Session, *, since: datetime, now: datetime) -> QueueState:
    """``since`` is from when on a worker's claims and sends count."""
    queued = Message.send_status == literal_column("'queued'")  # in the words of the index
    # A message sent at once has the same time twice; one that waited was sent by a worker.
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


def _check_workers(queue: QueueState, *, now: datetime) -> Finding:
    """Checks whether workers send what is queued."""
    if not queue.queued or queue.waiting_since is None:
        return ok("queue", "messages waiting for a worker: none")
    many = f"messages waiting for a worker: {_at_least(queue.queued)}"
    waited = now - queue.waiting_since
    if waited > UNWORKED and not queue.is_worked and queue.paused_until is None:
        found = f"{many}, the first for {_age(waited)}; no worker has claimed any for {_age(UNWORKED)}"
        return wrong("queue", found, "start `receiver worker`; if one is running, its log shows what delays it.")
    return ok("queue", many)


def _check_pause(until: datetime | None, *, now: datetime) -> Finding:
    """Checks whether a 429 from Bandwidth pauses all sending."""
    if until is None:
        return ok("pause", "sending is not paused")
    found = f"a 429 from Bandwidth pauses all sending for another {_age(until - now)}"
    if until - now <= LONG_PAUSE:
        return ok("pause", found)
    return warning("pause", found, "if Bandwidth accepts messages again, `receiver resume` ends the pause.")


def _check_credentials(since: datetime | None, *, now: datetime) -> Finding:
    """Checks whether workers pause because Bandwidth refuses the credentials."""
    if since is None:
        return ok("credentials", "no worker is paused because of them")
    age = _age(max(now - since, timedelta(0)))
    found = f"Bandwidth has refused them for {age}; workers are paused, and no message is lost"
    remedy = "see `token` and `Bandwidth` below, correct the settings, and restart the workers."
    return wrong("credentials", found, remedy)


def count_old_order(session: Session) -> int:
    """Counts recipients with a standing in the order of earlier releases, among the oldest and the newest MOST of all
    recipients and of the failed ones.

    `receiver recompute` goes from the oldest to the newest. Recipients that it has not reached yet, or that an earlier
    release wrote behind it, are found at these ends.
    """
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
    """core.status.has_old_order() in SQL."""
    second, time, tenth = (
        func.substr(standing, start, length, type_=LargeBinary) for start, length in ((2, 1), (2, 8), (10, 1))
    )
    return or_(second.not_in((b"", WITH_CODE, WITHOUT_CODE)), and_(time == UNKNOWN_TIME, tenth != WITHOUT_CODE))


def _check_order(in_old_order: int) -> Finding:
    """Checks whether `receiver recompute` is due, because an earlier release ranked events differently."""
    what = "recipients ranked by an earlier release, which may show a failure without its code"
    if not in_old_order:
        return ok("order", f"{what}: none among the oldest and the newest {MOST}")
    remedy = "once no server or worker of the earlier release is running, run `receiver recompute`."
    return warning("order", f"{what}: at least {in_old_order}", remedy)


def _age(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
