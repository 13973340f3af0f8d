"""All messages whose references begin with a prefix: their outcomes, and their progress, counted once or watched."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import String, case, column, func, select, table
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.events import is_storable
from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus
from receiver.database.database import Database
from receiver.database.lookup import OPEN, is_overdue, lapsed
from receiver.database.models import Message, Recipient
from receiver.messages.outbox import MessageReport
from receiver.reports import support
from receiver.reports.messages import begins_with

PAGE_SIZE = 500
"""Messages that one query of ``results`` reads."""

EVERY_SECONDS = 1

PAUSE = 9
"""The pause between two counts, as a multiple of how long a count takes (most of a second for 100,000 messages), so
that the database can serve others."""


def results(database: Database, prefix: str) -> Iterator[MessageReport]:
    """Yields every message whose reference begins with ``prefix``, by reference, then tag."""
    after = None
    while is_storable(prefix):  # no stored reference begins with anything else
        page = support.messages_by_reference(database, prefix, after=after, limit=PAGE_SIZE)
        yield from page
        if len(page) < PAGE_SIZE:
            return
        after = (page[-1].reference or "", page[-1].tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The statuses of some messages and of their recipients."""

    messages: dict[SendStatus, int]
    """By the shown status; only those that occur, in their order."""
    recipients: dict[RecipientStatus, int]
    overdue: int
    """Recipients."""

    @property
    def total(self) -> int:
        """The number of recipients."""
        return sum(self.recipients.values())

    @property
    def open(self) -> int:
        """The number of recipients without a final outcome."""
        return sum(count for status, count in self.recipients.items() if status in OPEN)


def watch(database: Database, prefix: str, *, seconds: float | None = None) -> Iterator[Summary]:
    """Yields a summary of all messages whose reference begins with ``prefix``, every second or less often.

    Ends when every outcome is final or overdue, or after so many seconds; with 0 after the first. Raises
    StorageUnavailable.
    """
    end = None if seconds is None else time.monotonic() + seconds
    if not is_storable(prefix):  # no stored reference begins with it
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


def summary(session: Session, prefix: str, *, now: datetime) -> Summary:
    """Counts statuses in the tables."""
    begins = begins_with(Message.reference, prefix)
    shown = case((lapsed(now), SendStatus.UNKNOWN), else_=Message.send_status).label("shown")
    messages = session.execute(select(shown, func.count()).where(begins).group_by(shown.name))
    recipients = session.execute(
        select(Recipient.status, func.count(), func.sum(case((is_overdue(now), 1), else_=0)))
        .join(Message, Message.pk == Recipient.message_pk)
        .where(begins)
        .group_by(Recipient.status)
    )
    return _summed({status: count for status, count in messages}, recipients.all())  # noqa: C416 - Row is no tuple


def viewed_summary(session: Session, prefix: str) -> Summary:
    """Counts statuses in the support views, for a role that may read nothing else."""
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
    )
    return _summed({status: count for status, count in sent}, came.all())  # noqa: C416 - as above


def _summed(messages: Mapping[Any, int], recipients: Sequence[Any]) -> Summary:
    counts = {status: count for status, count, _ in recipients}
    return Summary(
        messages={each: messages[each] for each in SendStatus if each in messages},
        recipients={each: counts[each] for each in RecipientStatus if each in counts},
        overdue=sum(overdue for _, _, overdue in recipients),
    )
