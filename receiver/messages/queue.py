"""The queue: the messages that are queued, claimed by workers in the order of urgency, then age.

A claim is a lease: ``claimable_at`` moves to its end, so that what an ended worker has claimed is claimed again. The
same value is the fence. Whoever has claimed a message may only change it while it still stands, so of two workers that
both believe to have it one has it. Every function but the last runs inside one write transaction of the caller.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import ColumnElement, Select, Update, bindparam, func, literal_column, select, tuple_, update
from sqlalchemy.orm import Session, selectinload

from receiver.core.messages import OutboundMessage, Refused
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.lookup import lapsed
from receiver.database.models import Message
from receiver.messages.outbox import NO_ERROR, Attempt, change, error_columns, outbound, refuse

LONGEST_WAIT = timedelta(minutes=15)
"""More than a lease, or the wait for another attempt (core.pace.backoff), ever takes."""

LONGEST_DENIED_WAIT = timedelta(minutes=75)
"""More than a message ever waits alone because of a 403 or 404 (core.pace.denied_wait)."""

Place = tuple[int, int]
"""A message's place in the queue: its urgency, then its key."""

MOST_AT_ONCE = 10_000
"""Messages that one statement changes, so that it ends in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A queued message that a worker may submit until somebody else claims it."""

    pk: int
    tag: str
    message: OutboundMessage
    attempt: int
    """How many requests to Bandwidth were begun so far."""
    failures: int
    """How many of them are known not to have sent it; those answered 429 are not counted."""
    until: datetime
    """The end of the lease."""
    place: Place
    denied_at: datetime | None = None
    """When it first met a 403 or 404 that seems to be about itself."""
    is_probe: bool = False
    """Whether it is tried to find out if Bandwidth takes the credentials again."""

    @property
    def still(self) -> ColumnElement[bool]:
        """Whether nobody has claimed, cancelled or sent it since."""
        queued = (Message.pk == self.pk) & (Message.send_status == SendStatus.QUEUED)
        return queued & (Message.claimable_at == self.until)

    @property
    def submitted(self) -> ColumnElement[bool]:
        """Whether it is submitting, by the attempt that follows the claim."""
        next_attempt = (Message.pk == self.pk) & (Message.attempt == self.attempt + 1)
        return next_attempt & (Message.send_status == SendStatus.SUBMITTING)


def claim(
    session: Session,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    closed: Select[str] | None = None,
    after: Place | None = None,
    from_end: bool = False,
    is_fresh: bool = False,
) -> list[Claimed]:
    """Claims the first messages of the queue, or the first after a place, or the last.

    Passes over those of the senders that ``closed`` finds, and what another worker is claiming at this moment; where
    ``is_fresh`` is demanded, also what was denied alone before.
    """
    # The plan is made once for all values, so what the index is made for, and how few rows are wanted, is written out.
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
            message=outbound(row),
            attempt=row.attempt,
            failures=row.failures,
            until=until,
            place=(row.urgency, row.pk),
            denied_at=row.denied_at,
        )
        for row in rows
    ]


def has_claimable(session: Session, *, now: datetime) -> bool:
    """Whether any message of the queue may be claimed. Reads."""
    first = select(Message.pk).where(Message.send_status == literal_column("'queued'"), Message.claimable_at <= now)
    # In the order of the queue's index, as a claim has it.
    return session.scalar(first.order_by(Message.urgency, Message.pk).limit(1)) is not None


def bring_forward(session: Session, *, now: datetime) -> int:
    """Makes claimable what a clock that is right would not keep for so long; returns how many messages that were.

    It was queued or claimed by a clock that was ahead, or that was set back since. Whoever has claimed it loses it.
    """
    queued = Message.send_status == literal_column("'queued'")
    waits = Message.claimable_at > now + LONGEST_WAIT
    waits &= Message.denied_at.is_(None) | (Message.claimable_at > now + LONGEST_DENIED_WAIT)
    kept = select(Message.pk).where(queued, waits)
    # In the order of the queue's index, or every message that there is might be looked at.
    first = kept.order_by(Message.urgency, Message.pk).limit(MOST_AT_ONCE)
    locked = first.with_for_update(skip_locked=True, key_share=True)
    return change(session, Message.pk.in_(locked), claimable_at=now)


def submit(session: Session, claimed: Claimed, attempt: Attempt) -> bool:
    """Makes a claimed message submitting; False if it is not claimed any longer."""
    values = NO_ERROR | attempt.columns() | {"attempt": claimed.attempt + 1}
    which = {"this_pk": claimed.pk, "this_lease": claimed.until}
    return bool(session.connection().execute(_submit(tuple(values)), values | which).rowcount)


@cache
def _submit(columns: Sequence[str]) -> Update:
    """Made once, because making it takes longer than its execution."""
    this = (Message.pk == bindparam("this_pk")) & (Message.claimable_at == bindparam("this_lease"))
    queued = Message.send_status == literal_column("'queued'")
    return update(Message).where(this, queued).values({name: bindparam(name) for name in columns})


def take_back(session: Session, claimed: Claimed, attempt: Attempt) -> None:
    """Undoes submit(), for whoever cannot tell whether it was committed; nothing must have been sent.

    Another worker may have claimed the message meanwhile and be sending it, as the same attempt by its number; only
    its time tells them apart.
    """
    own = claimed.submitted & (Message.submitted_at == attempt.at)
    change(session, own, send_status=SendStatus.QUEUED, claimable_at=attempt.at, updated_at=attempt.at)


def expire(session: Session, claimed: Claimed, *, now: datetime) -> bool:
    """Refuses a claimed message whose expiration has passed; False if it is not claimed any longer."""
    return refuse(session, claimed.pk, claimed.still, because=RefusedBecause.EXPIRED, now=now)


def give_back(session: Session, claimed: Iterable[Claimed], *, claimable_at: datetime) -> None:
    """Leaves messages to whoever claims them next, from that time on."""
    for each in sorted(claimed, key=lambda each: each.pk):  # the order in which events lock messages
        change(session, each.still, claimable_at=claimable_at)


def put_back(
    session: Session,
    claimed: Claimed,
    answer: Refused,
    *,
    failures: int,
    claimable_at: datetime,
    denied_at: datetime | None,
    now: datetime,
) -> bool:
    """Queues again what was submitted and is known not to have been sent; False if it is not submitting any longer."""
    return bool(
        change(
            session,
            claimed.submitted,
            **error_columns(answer),
            send_status=SendStatus.QUEUED,
            failures=failures,
            claimable_at=claimable_at,
            denied_at=denied_at,
            updated_at=now,
        )
    )


def cancel(session: Session, message_pk: int, *, now: datetime) -> bool:
    """Refuses a message that is still queued, whoever has claimed it; False if it is not queued."""
    queued = (Message.pk == message_pk) & (Message.send_status == SendStatus.QUEUED)
    return refuse(session, message_pk, queued, because=RefusedBecause.CANCELLED, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits, what nobody knows of, and what went out lately."""

    queued: int
    oldest_queued_at: datetime | None
    unknown: int
    units: int
    """Submitted since a given time: recipients x segments."""


def backlog(session: Session, *, now: datetime, since: datetime) -> Backlog:
    """Reads; ``since`` is from when on submitted units are counted."""
    is_queued = Message.send_status == SendStatus.QUEUED
    queued, oldest = session.execute(select(func.count(), func.min(Message.created_at)).where(is_queued)).one()
    unknown: Sequence[ColumnElement[bool]] = (Message.send_status == SendStatus.UNKNOWN, lapsed(now))
    counts = [session.scalar(select(func.count()).select_from(Message).where(each)) or 0 for each in unknown]
    # Whatever was submitted since then was changed since then, which an index knows.
    lately = (Message.updated_at >= since, Message.submitted_at >= since)
    units = session.scalar(select(func.coalesce(func.sum(Message.units), 0)).where(*lately))
    return Backlog(queued=queued, oldest_queued_at=oldest, unknown=sum(counts), units=int(units or 0))
