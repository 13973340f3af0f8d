"""The queue: messages that workers claim in the order of urgency, then age.

A claim is a lease: ``claimable_at`` moves to its end, so that the claims of a worker that died lapse. The same value is
the fence: a worker may change a message only while its own claim stands, so of two workers that both believe they hold
a message only one does. Every function but the last runs inside one write transaction of the caller. Messages are
locked in the order of their keys, as events lock them; a claim, which has another order, passes over locked messages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import ColumnElement, Select, func, literal_column, select, tuple_
from sqlalchemy.orm import Session, selectinload

from receiver.core.messages import OutboundMessage, Refused
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database
from receiver.database.json_rows import in_texts
from receiver.database.lookup import lapsed
from receiver.database.models import Message
from receiver.messages.outbox import SQL, Attempt, Submitted, change, error_columns, refuse, run_pipeline, to_outbound

LONGEST_WAIT = timedelta(minutes=15)
"""Longer than any lease, and than any wait for another attempt (core.pace.backoff)."""

LONGEST_DENIED_WAIT = timedelta(minutes=75)
"""Longer than a message ever waits alone because of a 403 or 404 (core.pace.denied_wait)."""

QueuePlace = tuple[int, int]
"""A message's place in the queue: its urgency, then its key."""

MOST_AT_ONCE = 10_000
"""Messages that one statement changes at most, so that it ends in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A queued message that a worker may submit until another worker claims it."""

    pk: int
    tag: str
    message: OutboundMessage
    attempts: int
    """How many requests to Bandwidth were begun so far."""
    failures: int
    """How many of them are known not to have sent it; a 429 does not count."""
    until: datetime
    """The end of the lease."""
    place: QueuePlace
    denied_at: datetime | None = None
    """When it first met a 403 or 404 that seems to be about this message."""
    is_probe: bool = False
    """Whether it is sent to find out if Bandwidth takes the credentials again."""

    @property
    def still(self) -> ColumnElement[bool]:
        """The condition that the message was not claimed, cancelled or sent since."""
        queued = (Message.pk == self.pk) & (Message.send_status == SendStatus.QUEUED)
        return queued & (Message.claimable_at == self.until)

    @property
    def submitted(self) -> ColumnElement[bool]:
        """The condition that the message is submitting by the attempt that follows the claim."""
        next_attempt = (Message.pk == self.pk) & (Message.attempt == self.attempts + 1)
        return next_attempt & (Message.send_status == SendStatus.SUBMITTING)


def claim(
    session: Session,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    closed: Select[str] | None = None,
    after: QueuePlace | None = None,
    from_end: bool = False,
    is_fresh: bool = False,
) -> list[Claimed]:
    """Claims the first ``limit`` messages of the queue, those after a place, or the last ones.

    Passes over messages of the senders that ``closed`` finds, over those that another worker is claiming at this
    moment, and with ``is_fresh`` over those that were denied alone before.
    """
    # The plan is made once for all values, so the condition of the index and the limit are written out. The lock is not
    # a full FOR UPDATE, because an event may refer to the message meanwhile. SKIP LOCKED: nobody waits for a claim.
    first = (
        select(Message)
        .where(Message.send_status == literal_column("'queued'"), Message.claimable_at <= now)
        .order_by(Message.urgency, Message.pk)
        .limit(literal_column(str(limit)))
        .with_for_update(skip_locked=True, key_share=True)
        .options(selectinload(Message.recipients))
    )
    if closed is not None:
        first = first.where(Message.sender.not_in(closed))
    if is_fresh:
        first = first.where(Message.denied_at.is_(None))
    if from_end:
        first = first.order_by(None).order_by(Message.urgency.desc(), Message.pk.desc())
    if after is not None:
        first = first.where(tuple_(Message.urgency, Message.pk) > tuple_(*after))
    rows = session.scalars(first).all()
    until = now + lease
    if rows:
        change(session, Message.pk.in_([row.pk for row in rows]), claimable_at=until)
    return [
        Claimed(
            pk=row.pk,
            tag=row.tag,
            message=to_outbound(row),
            attempts=row.attempt,
            failures=row.failures,
            until=until,
            place=(row.urgency, row.pk),
            denied_at=row.denied_at,
        )
        for row in rows
    ]


def has_claimable(session: Session, *, now: datetime) -> bool:
    """Whether any message may be claimed. Reads."""
    first = select(Message.pk).where(Message.send_status == literal_column("'queued'"), Message.claimable_at <= now)
    # In the order of the queue's index, as in a claim.
    return session.scalar(first.order_by(Message.urgency, Message.pk).limit(1)) is not None


def fix_future_claims(session: Session, *, now: datetime) -> int:
    """Makes claimable the messages that no correct clock would keep for so long; returns how many.

    They were queued or claimed by a clock that was ahead, or was set back since. A worker that claimed one loses it.
    """
    queued = Message.send_status == literal_column("'queued'")
    waits = Message.claimable_at > now + LONGEST_WAIT
    waits &= Message.denied_at.is_(None) | (Message.claimable_at > now + LONGEST_DENIED_WAIT)
    kept = select(Message.pk).where(queued, waits)
    # In the order of the queue's index, or every message might be read.
    first = kept.order_by(Message.urgency, Message.pk).limit(MOST_AT_ONCE)
    locked = first.with_for_update(skip_locked=True, key_share=True)
    return change(session, Message.pk.in_(locked), claimable_at=now)


def submit(session: Session, claimed: Claimed, attempt: Attempt) -> bool:
    """Makes a claimed message submitting; returns False if the claim no longer stands."""
    row = in_texts(attempt.columns() | {"pk": claimed.pk, "until": claimed.until})
    return bool(SQL.run(session, "submit claimed message", [row]).all())


def submit_by_pipeline(database: Database, claimed: Claimed, attempt: Attempt, *, credentials: str) -> Submitted | None:
    """Makes a claimed message submitting and commits, in one round trip to PostgreSQL.

    Returns None, and stores nothing, on SQLite, during a pause, while Bandwidth refuses the credentials with that
    fingerprint, or if the claim no longer stands. Raises StorageUnavailable.
    """
    if database.is_sqlite:
        return None
    row = attempt.columns() | {"pk": claimed.pk, "until": claimed.until, "credentials": credentials}
    submitted = run_pipeline(database, "submit claimed message by pipeline", row)
    return msgspec.json.decode(submitted, type=Submitted) if submitted else None


def undo_submit(session: Session, claimed: Claimed, attempt: Attempt) -> None:
    """Queues again a message that submit() may or may not have changed; nothing must have been sent.

    Another worker may have claimed the message meanwhile and be sending it, by an attempt of the same number; only its
    time tells them apart.
    """
    own = claimed.submitted & (Message.submitted_at == attempt.at)
    change(session, own, send_status=SendStatus.QUEUED, claimable_at=attempt.at, updated_at=attempt.at)


def expire(session: Session, claimed: Claimed, *, now: datetime) -> bool:
    """Refuses a claimed message whose expiration has passed; returns False if the claim no longer stands."""
    return refuse(session, claimed.pk, claimed.still, because=RefusedBecause.EXPIRED, now=now)


def release_claims(session: Session, claimed: Iterable[Claimed], *, claimable_at: datetime) -> None:
    """Lets other workers claim these messages from that time on."""
    for each in sorted(claimed, key=lambda each: each.pk):  # the order in which events lock messages
        change(session, each.still, claimable_at=claimable_at)


def requeue_after_failure(
    session: Session,
    claimed: Claimed,
    refused: Refused,
    *,
    failures: int,
    claimable_at: datetime,
    denied_at: datetime | None,
    now: datetime,
) -> bool:
    """Queues again a submitted message that is known not to have been sent; returns False if it is not submitting."""
    return bool(
        change(
            session,
            claimed.submitted,
            **error_columns(refused),
            send_status=SendStatus.QUEUED,
            failures=failures,
            claimable_at=claimable_at,
            denied_at=denied_at,
            updated_at=now,
        )
    )


def cancel(session: Session, message_pk: int, *, now: datetime) -> bool:
    """Refuses a message that is still queued, claimed or not; returns False if it is not queued."""
    queued = (Message.pk == message_pk) & (Message.send_status == SendStatus.QUEUED)
    return refuse(session, message_pk, queued, because=RefusedBecause.CANCELLED, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The amounts of queued, unknown and recently sent messages."""

    queued: int
    oldest_queued_at: datetime | None
    unknown: int
    units: int
    """Recipients x segments submitted since a given time."""


def backlog(session: Session, *, now: datetime, since: datetime) -> Backlog:
    """Returns the backlog; ``units`` are those submitted since ``since``. Reads."""
    is_queued = Message.send_status == SendStatus.QUEUED
    queued, oldest = session.execute(select(func.count(), func.min(Message.created_at)).where(is_queued)).one()
    unknown: Sequence[ColumnElement[bool]] = (Message.send_status == SendStatus.UNKNOWN, lapsed(now))
    counts = [session.scalar(select(func.count()).select_from(Message).where(each)) or 0 for each in unknown]
    # A message that was submitted since then was changed since then, which an index serves.
    lately = (Message.updated_at >= since, Message.submitted_at >= since)
    units = session.scalar(select(func.coalesce(func.sum(Message.units), 0)).where(*lately))
    return Backlog(queued=queued, oldest_queued_at=oldest, unknown=sum(counts), units=int(units or 0))
