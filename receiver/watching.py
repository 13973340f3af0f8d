"""Watches what becomes of all messages whose reference begins alike."""

import time
from collections.abc import Iterator

from receiver.core import times
from receiver.core.events import is_storable
from receiver.database.database import Database
from receiver.storage.summary import Summary, summary, viewed_summary

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
