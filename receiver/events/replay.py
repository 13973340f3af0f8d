"""Reads again what was unreadable, after a release whose parser understands more.

What could not be read, to be read again; what was redacted is no longer there to read.

Everything here runs inside one write transaction of the caller.
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

_READABLE_AGAIN = UnreadableCallback.payload != REDACTED


def count_unreadable(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(UnreadableCallback).where(_READABLE_AGAIN)) or 0


def lock_unreadable(session: Session, after: str, *, limit: int) -> Sequence[UnreadableCallback]:
    """The next ones by SHA-256, which is the order of their locks; who locks them in between is waited for."""
    return session.scalars(
        select(UnreadableCallback)
        .where(UnreadableCallback.sha256 > after, _READABLE_AGAIN)
        .order_by(UnreadableCallback.sha256)
        .limit(limit)
        .with_for_update()
    ).all()


BATCH = 100
"""Rows per transaction: short enough not to hold up receiving."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did."""

    rows: int
    last_sha256: str
    stored: Tally
    """What became of the elements that had been unreadable, each counted as often as it came."""


def kept(database: Database) -> int:
    """How many there are to read."""
    with database.read() as session:
        return count_unreadable(session)


def replay(database: Database) -> Iterator[Batch]:
    """Reads all of them. What is an event now is recorded like one that came in a callback, and no longer kept as
    unreadable, in one transaction: killed and run again, beside another or beside callbacks, none counts twice."""
    after = ""
    while batch := database.write(partial(replay_batch, after=after)):
        yield batch
        after = batch.last_sha256


def replay_batch(session: Session, *, after: str) -> Batch | None:
    """The work of one transaction, on those with a higher SHA-256 than ``after``; None when there are none."""
    rows = lock_unreadable(session, after, limit=BATCH)
    elements: list[Element] = []
    received: dict[Identity, Received] = {}
    for row in rows:
        if found := _read_again(row):
            session.delete(row)
            elements += found * row.deliveries
            _note_times(received, found, row)
    session.flush()
    fates = record(session, elements, now=times.now(), received=received)
    return Batch(len(rows), rows[-1].sha256, Tally.of(fates)) if rows else None


def _read_again(row: UnreadableCallback) -> list[Element]:
    """What the row turns out to be; nothing if it is still unreadable, and then it says why it is so now."""
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


def _note_times(received: dict[Identity, Received], found: Sequence[Element], row: UnreadableCallback) -> None:
    for element in found:
        if isinstance(element, Event):
            first, last = received.get(element.identity, (row.first_received_at, row.last_received_at))
            received[element.identity] = Received(min(first, row.first_received_at), max(last, row.last_received_at))
