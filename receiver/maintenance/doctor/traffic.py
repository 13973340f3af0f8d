"""What went through: overdue and unknown messages, silence after sending, a queue that nobody works, a long pause, and
outcomes that an earlier release chose."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from receiver.bandwidth.client import BandwidthAccount
from receiver.core import times
from receiver.database.database import Database
from receiver.database.lookup import MOST
from receiver.events.replies import count_unread
from receiver.maintenance.doctor.findings import Finding, ok, skipped, warning, wrong
from receiver.messages import credentials
from receiver.messages.queue import backlog
from receiver.reports.figures import Figures, figures
from receiver.reports.overview import SAMPLE, QueueState, SenderTraffic, old_order, queue_state, sender_traffic
from receiver.settings import Settings

LATELY = timedelta(days=3)
"""How far back sending is looked at: over a weekend."""

QUEUED_AT_BANDWIDTH = timedelta(minutes=15)
"""How long Bandwidth's own queue may keep a message before the first event ("Rate limits")."""

UNWORKED = timedelta(minutes=3)
"""How long a message may wait without any sign of a worker; in an outage workers hold back for a minute."""

LONG_PAUSE = timedelta(minutes=5)


def examine(database: Database, settings: Settings) -> Iterator[Finding]:
    """All of it, as one moment shows it."""
    now = times.now()
    with database.read() as session:
        found = figures(session, now=now, overdue_after=settings.overdue_after)
        unknown = backlog(session, now=now, since=now).unknown
        senders = sender_traffic(session, since=now - LATELY, until=now - QUEUED_AT_BANDWIDTH)
        queue = queue_state(session, since=now - UNWORKED, now=now)
        in_old_order = old_order(session)
        unread = count_unread(session)
        refused_since = credentials.refused_since(session, BandwidthAccount.of(settings).fingerprint)
    yield from arriving(senders, found.last_event_at, now=now)
    yield from counted(found, unknown=unknown, unread=unread)
    yield worked(queue, now=now)
    yield paused(queue.paused_until, now=now)
    yield refused(refused_since, now=now)
    yield ordered(in_old_order)


def arriving(senders: Sequence[SenderTraffic], last_event_at: datetime | None, *, now: datetime) -> Iterator[Finding]:
    """Whether events come about what is sent. An application that is not linked to its number's location is answered
    202, and then nothing ever happens; replies come all the same."""
    silent = [each for each in senders if not each.heard_of]
    last = f"the last event came {_age(now - last_event_at)} ago" if last_event_at else "no event ever came"
    if not senders:
        span = f"between {_age(QUEUED_AT_BANDWIDTH)} and {_age(LATELY)} ago"
        yield skipped("events", f"none had to come, because nothing was accepted {span}; {last}")
    elif not silent:
        yield ok("events", f"they come about what every sender sends; {last}")
    for each in silent:
        number, span = f"...{each.sender[-4:]}", _age(now - each.since)
        yield wrong(
            "events",
            f"none came about what was accepted of sender {number} with application {each.application_id}"
            f" since {span} ago ({each.accepted}{' or more' if each.accepted == SAMPLE else ''} messages); {last}",
            "at Bandwidth, link that application to the location (SIP peer) of the number and set its callback URL;"
            " `receiver doctor --callback-url URL` checks that URL.",
        )


def counted(found: Figures, *, unknown: int, unread: int) -> Iterator[Finding]:
    """Whatever should be none."""
    yield _none_or(
        found.overdue,
        "overdue",
        "recipients whose outcome should be known by now",
        "run `receiver reconcile`; `receiver overdue` lists them.",
    )
    yield _none_or(
        unknown,
        "unknown",
        "messages of which nobody can say whether they were sent",
        "run `receiver reconcile`, then `receiver resolve` for what is left.",
    )
    yield _none_or(
        found.unlinked,
        "unlinked",
        "events of the last day that belong to no message of this database",
        "`receiver unlinked` lists them: does somebody else send with this application, or from another database?",
    )
    yield _none_or(
        found.unreadable,
        "unreadable",
        "elements of the last day that are no events",
        "`receiver unreadable` lists them: Bandwidth says something new, or it is not Bandwidth who says it.",
    )
    yield _none_or(
        unread,
        "replies",
        "replies stored by the previous version, whose text and STOP `support_inbound` does not show yet",
        "servers and workers of this version read them within minutes; start one if none runs.",
    )


def _none_or(count: int, check: str, what: str, remedy: str) -> Finding:
    if not count:
        return ok(check, f"{what}: none")
    return warning(check, f"{what}: {_many(count)}", remedy)


def _many(count: int) -> str:
    return f"{count} or more" if count == MOST else str(count)


def worked(queue: QueueState, *, now: datetime) -> Finding:
    """Whether workers send what is queued."""
    if not queue.queued or queue.waiting_since is None:
        return ok("queue", "messages that wait for a worker: none")
    many = f"messages that wait for a worker: {_many(queue.queued)}"
    waited = now - queue.waiting_since
    if waited > UNWORKED and not queue.is_worked and queue.paused_until is None:
        found = f"{many}, the first for {_age(waited)}; no worker has claimed any for {_age(UNWORKED)}"
        return wrong("queue", found, "start `receiver worker`; if one runs, its log says what holds it up.")
    return ok("queue", many)


def paused(until: datetime | None, *, now: datetime) -> Finding:
    """Whether Bandwidth's 429 holds up all sending."""
    if until is None:
        return ok("pause", "nothing holds up sending")
    found = f"Bandwidth's 429 holds up all sending for another {_age(until - now)}"
    if until - now <= LONG_PAUSE:
        return ok("pause", found)
    return warning("pause", found, "if Bandwidth takes messages again, `receiver resume` ends the pause.")


def refused(since: datetime | None, *, now: datetime) -> Finding:
    """Whether workers pause because Bandwidth refuses the credentials."""
    if since is None:
        return ok("credentials", "no worker is paused because of them")
    age = _age(max(now - since, timedelta(0)))
    found = f"Bandwidth has refused them for {age}; workers are paused, and no message is lost"
    remedy = "see `token` and `Bandwidth` below, correct the settings, and restart the workers."
    return wrong("credentials", found, remedy)


def ordered(in_old_order: int) -> Finding:
    """Whether `receiver recompute` is due, because an earlier release preferred another of a recipient's events."""
    what = "recipients whose events an earlier release compared, which may show a failure without its code"
    if not in_old_order:
        return ok("order", f"{what}: none among the oldest and the newest {MOST}")
    remedy = "once no server or worker of the earlier release runs any more, run `receiver recompute`."
    return warning("order", f"{what}: at least {in_old_order}", remedy)


def _age(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
