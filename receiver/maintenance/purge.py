"""What is old enough to be purged, a page at a time; and the locks on it, in the order in which all rows are locked.

A message is as old as its last request to Bandwidth, or as itself if there was none; what belongs to it goes with it.
An event without a message, and an unreadable element, are as old as their last delivery.

Purges what is old: removes it, or blanks what may be personal in it.

In transactions so short, with pauses between them, that receiving does not wait. Whatever ends a purge, what is left is
found by the next one.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from receiver.core import times
from receiver.database.database import Database
from receiver.maintenance import purge_rows
from receiver.maintenance.purge_rows import SOURCES, Kind, Page, Terms, belongings

YOUNGEST = timedelta(days=14)
"""So long Bandwidth keeps its own record, which `receiver reconcile` may still ask. An Idempotency-Key stands for seven
days, and Bandwidth delivers an event again for one."""

OLDEST = timedelta(days=36500)

BUSY_SECONDS = 0.1
"""How long a transaction is meant to take; the pause after it is as long, so that others have half of the time."""

MOST_AT_ONCE = 500

Change = Callable[[Session, Sequence[int], Terms], Counter[str]]

REMOVE: dict[Kind, Change] = {
    Kind.MESSAGE: purge_rows.remove_messages,
    Kind.UNLINKED: purge_rows.remove_events,
    Kind.INBOUND: purge_rows.remove_events,
    Kind.UNREADABLE: purge_rows.remove_unreadable,
}
REDACT: dict[Kind, Change] = {
    Kind.MESSAGE: purge_rows.redact_messages,
    Kind.UNLINKED: purge_rows.redact_events,
    Kind.INBOUND: purge_rows.redact_events,
    Kind.UNREADABLE: purge_rows.redact_unreadable,
}


@dataclass(slots=True)
class Survey:
    """What a purge would do."""

    counts: Counter[str] = field(default_factory=Counter)
    """Of each kind, and of the recipients and events of the messages; ``open``: messages without a final outcome."""
    span: dict[Kind, tuple[datetime, datetime]] = field(default_factory=dict)
    """Of each kind the oldest and the newest."""
    staying: int = 0
    """Messages created early enough that are not old all the same: queued, or sent later."""


def terms(older_than: timedelta, *, redact: bool) -> Terms:
    """What is older than that by now."""
    now = times.now()
    return Terms(before=now - older_than, redact=redact, now=now)


def survey(database: Database, wanted: Terms) -> Iterator[Survey]:
    """Looks at everything that is old enough; yields the survey so far, at last the whole. Changes nothing."""
    found = Survey()
    for page in _pages(database, wanted):
        found.staying += page.staying
        for each in page.due:
            first, _ = found.span.setdefault(each.kind, (each.at, each.at))
            found.span[each.kind] = first, each.at
        found.counts.update(each.kind for each in page.due)
        if messages := [each.key for each in page.due if each.kind is Kind.MESSAGE]:
            with database.read() as session:
                found.counts.update(belongings(session, messages))
        yield found


def purge(database: Database, wanted: Terms) -> Iterator[Counter[str]]:
    """Purges it; yields how many rows of each kind every transaction purged."""
    changes, size = (REDACT if wanted.redact else REMOVE), 20
    for page in _pages(database, wanted):
        left = page.due
        while left:
            batch, left = left[:size], left[size:]
            began = time.monotonic()
            yield database.write(partial(_change, changes[batch[0].kind], [each.key for each in batch], wanted))
            took = time.monotonic() - began
            size = max(1, min(MOST_AT_ONCE, int(size * min(2, BUSY_SECONDS / took))))
            time.sleep(took)


def _change(change: Change, keys: Sequence[int], wanted: Terms, session: Session) -> Counter[str]:
    return change(session, keys, wanted)


def _pages(database: Database, wanted: Terms) -> Iterator[Page]:
    for source in SOURCES:
        last, more = None, True
        while more:
            with database.read() as session:
                page = source(session, wanted, last)
            yield page
            last, more = page.last, page.last is not None
