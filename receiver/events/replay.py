"""Replay: unreadable elements are parsed again, after a release whose parser understands more.

Redacted elements are gone, so they are not parsed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.bandwidth.callbacks import Element, parse_kept
from receiver.core import times
from receiver.core.events import Event, Identity
from receiver.database.database import Database
from receiver.database.models import REDACTED, UnreadableCallback
from receiver.errors import NotJSON
from receiver.events.store import Received, Tally, record

NOT_REDACTED = UnreadableCallback.payload != REDACTED

ROWS_PER_STEP = 100
"""Rows per transaction: short enough not to hold up receiving."""


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """What one transaction of a replay did."""

    rows: int
    last_sha256: str
    stored: Tally
    """What became of the elements that had been unreadable, each counted as often as it came."""


def count_unreadable(database: Database) -> int:
    """Counts the unreadable elements that a replay would parse."""
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(UnreadableCallback).where(NOT_REDACTED)) or 0


def replay(database: Database) -> Iterator[ReplayStep]:
    """Reads all unreadable elements again, a step for each transaction.

    What is an event now is recorded like one that came in a callback, and no longer kept as unreadable, in one
    transaction: killed and run again, beside another or beside callbacks, none counts twice.
    """
    after = ""
    while step := database.write(partial(replay_step, after=after)):
        yield step
        after = step.last_sha256


def replay_step(session: Session, *, after: str) -> ReplayStep | None:
    """Does the work of one transaction, on rows with a higher SHA-256 than ``after``; None if there are none."""
    rows = _lock_unreadable(session, after)
    elements: list[Element] = []
    received: dict[Identity, Received] = {}
    for row in rows:
        found = _read_again(row)
        if not found:
            continue
        session.delete(row)
        elements += found * row.deliveries
        for element in found:
            if isinstance(element, Event):
                first, last = received.get(element.identity, (row.first_received_at, row.last_received_at))
                earliest, latest = min(first, row.first_received_at), max(last, row.last_received_at)
                received[element.identity] = Received(earliest, latest)
    session.flush()
    result = record(session, elements, now=times.now(), received=received)
    return ReplayStep(len(rows), rows[-1].sha256, result.tally) if rows else None


def _lock_unreadable(session: Session, after: str) -> Sequence[UnreadableCallback]:
    """The next rows by SHA-256, which is the order of their locks; waits for transactions that hold some of them."""
    return session.scalars(
        select(UnreadableCallback)
        .where(UnreadableCallback.sha256 > after, NOT_REDACTED)
        .order_by(UnreadableCallback.sha256)
        .limit(ROWS_PER_STEP)
        .with_for_update()
    ).all()


def _read_again(row: UnreadableCallback) -> list[Element]:
    """Returns the elements that the row turns out to be; if it is still unreadable, none, and updates its reason."""
    try:
        found = parse_kept(row.payload, whole_body=row.whole_body)
    except NotJSON as error:
        row.reason = str(error)
        return []
    for element in found:
        # A body that can be taken apart now is replaced by its elements, also by those that are unreadable themselves.
        if isinstance(element, Event) or (row.whole_body and not element.whole_body):
            return found
        row.reason = element.reason
    return []
