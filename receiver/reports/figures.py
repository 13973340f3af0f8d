"""How it stands, in a few figures that are cheap to read however long the history is: each by an index, or of no more
rows than MOST. Every function reads."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES
from receiver.core.send_status import SendStatus
from receiver.database.json_rows import is_one_of
from receiver.database.lookup import MOST, count, is_open, shows
from receiver.database.models import Message, Recipient, StoredEvent, UnreadableCallback
from receiver.events.store import CALLBACK
from receiver.reports.progress import is_due

NEWEST = 1000
"""Events among which the last about our messages is looked for."""

DAY = timedelta(days=1)
"""What is told of events that are wrong: Bandwidth sends again for as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How it stands."""

    submitting: int
    overdue: int
    """Recipients, up to MOST."""
    oldest_overdue_at: datetime | None
    unlinked: int
    """Events of the last day, of the newest MOST that have no message."""
    unreadable: int
    """Elements that first came in the last day, up to MOST."""
    last_accepted_at: datetime | None
    """When the newest of the accepted messages was created."""
    last_event_at: datetime | None
    """When the newest event came by callback that is not inbound. If the newest NEWEST events are all others, when the
    first of those came: no earlier one is later than that."""


def figures(session: Session, *, now: datetime, overdue_after: timedelta) -> Figures:
    """``overdue_after`` is the present setting: no message that was asked for later than that ago is overdue."""
    overdue, oldest = _overdue(session, now=now, since=now - overdue_after)
    return Figures(
        submitting=count(session, select(Message.pk).where(shows(SendStatus.SUBMITTING, now=now))),
        overdue=overdue,
        oldest_overdue_at=oldest,
        unlinked=_unlinked(session, since=now - DAY),
        unreadable=count(
            session, select(UnreadableCallback.pk).where(UnreadableCallback.first_received_at >= now - DAY)
        ),
        last_accepted_at=session.scalar(
            select(func.max(Message.created_at)).where(Message.send_status == SendStatus.ACCEPTED)
        ),
        last_event_at=_last_event_at(session),
    )


def _overdue(session: Session, *, now: datetime, since: datetime) -> tuple[int, datetime | None]:
    """How many, the oldest first, by the index of what has no final outcome; and since when the first of them is."""
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
    newest = session.execute(select(*columns).order_by(StoredEvent.first_received_at.desc()).limit(NEWEST)).all()
    ours = (row.first_received_at for row in newest if row.source == CALLBACK and row.type not in INBOUND_TYPES)
    return next(ours, newest[-1].first_received_at if len(newest) == NEWEST else None)
