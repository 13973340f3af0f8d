"""Counts the messages whose reference begins alike, and their recipients, by status.

Watches what becomes of all messages whose reference begins alike.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, column, func, or_, select, table
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.events import is_storable
from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus
from receiver.database.database import Database
from receiver.database.lookup import OPEN, lapsed
from receiver.database.models import Message, Recipient
from receiver.reports.lookup import begins_with


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of some messages."""

    messages: dict[SendStatus, int]
    """By the status that is shown; those that there are, in their order."""
    recipients: dict[RecipientStatus, int]
    overdue: int
    """Recipients."""

    @property
    def total(self) -> int:
        """Recipients."""
        return sum(self.recipients.values())

    @property
    def open(self) -> int:
        """Recipients without a final outcome."""
        return sum(count for status, count in self.recipients.items() if status in OPEN)


def summary(session: Session, prefix: str, *, now: datetime) -> Summary:
    """Of all messages whose reference begins with ``prefix``."""
    begins = begins_with(Message.reference, prefix)
    shown = case((lapsed(now), SendStatus.UNKNOWN), else_=Message.send_status).label("shown")
    messages = session.execute(select(shown, func.count()).where(begins).group_by(shown.name))
    sent = {status: count for status, count in messages}  # noqa: C416 - a Row is no tuple to the type checker
    recipients = session.execute(
        select(Recipient.status, func.count(), func.sum(case((overdue(now), 1), else_=0)))
        .join(Message, Message.pk == Recipient.message_pk)
        .where(begins)
        .group_by(Recipient.status)
    ).all()
    return _summed(sent, recipients)


def viewed_summary(session: Session, prefix: str) -> Summary:
    """The same from the support views, for a role that may read nothing else."""
    messages, recipients = (
        table(name, column("reference", String), *(column(each) for each in columns))
        for name, columns in (("support_messages", ["send_status"]), ("support_recipients", ["status", "overdue"]))
    )
    sent = session.execute(
        select(messages.c.send_status, func.count())
        .where(begins_with(messages.c.reference, prefix))
        .group_by(messages.c.send_status)
    )
    came = session.execute(
        select(recipients.c.status, func.count(), func.sum(case((recipients.c.overdue, 1), else_=0)))
        .where(begins_with(recipients.c.reference, prefix))
        .group_by(recipients.c.status)
    ).all()
    return _summed({status: count for status, count in sent}, came)  # noqa: C416 - as above


def _summed(sent: Mapping[Any, int], recipients: Sequence[Any]) -> Summary:
    counts = {status: count for status, count, _ in recipients}
    return Summary(
        messages={each: sent[each] for each in SendStatus if each in sent},
        recipients={each: counts[each] for each in RecipientStatus if each in counts},
        overdue=sum(overdue for _, _, overdue in recipients),
    )


def overdue(now: datetime) -> ColumnElement[bool]:
    """core.status.is_overdue() in SQL."""
    return and_(Recipient.status.in_(OPEN), is_due(now))


def is_due(now: datetime) -> ColumnElement[bool]:
    """Of a message: core.status.is_overdue() in SQL, but for what is asked of the recipient."""
    sent = or_(Message.send_status.in_((SendStatus.ACCEPTED, SendStatus.UNKNOWN)), lapsed(now))
    return and_(Message.overdue_at < now, sent)


__all__ = ["Summary", "watch"]

EVERY_SECONDS = 1

PAUSE = 9
"""Times as long as counting takes, which is most of a second for 100,000 messages: the database has others to serve."""


def watch(database: Database, prefix: str, *, seconds: float | None = None) -> Iterator[Summary]:
    """How it stands, every second or less often, until every outcome is there or overdue, or that many seconds are
    over: with 0 it says so once. Raises StorageUnavailable.
    """
    end = None if seconds is None else time.monotonic() + seconds
    if not is_storable(prefix):  # nor is any reference that begins with it
        yield Summary(messages={}, recipients={}, overdue=0)
        return
    while True:
        begun = time.monotonic()
        with database.read() as session:
            views_only = database.reads_views_only
            found = viewed_summary(session, prefix) if views_only else summary(session, prefix, now=times.now())
        took = time.monotonic() - begun
        yield found
        left = None if end is None else end - time.monotonic()
        if found.open == found.overdue or (left is not None and left <= 0):
            return
        pause = max(EVERY_SECONDS, PAUSE * took)
        time.sleep(pause if left is None else min(pause, left))
