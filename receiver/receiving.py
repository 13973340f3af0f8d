"""Receives a callback: bytes to events, one transaction, and only then an answer."""

import logging
import time

from receiver.bandwidth import callbacks
from receiver.core import times
from receiver.storage.database import Database
from receiver.storage.recording import Tally, record

log = logging.getLogger(__name__)


def receive(database: Database, body: bytes) -> Tally:
    """Stores every element of the callback and returns what became of them, after the commit.

    Raises NotJSON when the body has no elements at all, and StorageUnavailable when it was not stored: Bandwidth sends
    it again for 24 hours after any answer but 2xx, so nothing is lost by saying so.
    """
    started = time.monotonic()
    elements = callbacks.parse(body)
    now = times.now()
    tally = database.write(lambda session: record(session, elements, now=now))
    log.info(
        "callback: %d recorded, %d duplicates, %d unlinked, %d unreadable in %d ms",
        tally.recorded,
        tally.duplicates,
        tally.unlinked,
        tally.unreadable,
        (time.monotonic() - started) * 1000,
    )
    return tally
