"""Receives a callback: bytes to events, a transaction, and only then an answer."""

import logging
import time
from collections.abc import Iterator
from datetime import datetime

from receiver.bandwidth import callbacks
from receiver.bandwidth.callbacks import Element
from receiver.core import times
from receiver.storage.database import Database
from receiver.storage.recording import Fate, Tally, record

log = logging.getLogger(__name__)

PORTION = 2000
"""Elements per transaction. Every callback that was ever seen holds one; but if one held so many that their time ran
out, a portion that is stored is stored, and Bandwidth's next try finds duplicates."""


def receive(database: Database, body: bytes) -> Tally:
    """Stores every element of the callback and returns what became of them, after the commit.

    Raises NotJSON when the body has no elements at all, and StorageUnavailable when it was not stored: Bandwidth sends
    it again for 24 hours after any answer but 2xx, so nothing is lost by saying so.
    """
    started = time.monotonic()
    elements = callbacks.parse(body)
    tally = Tally.of([fate for portion in _portions(elements) for fate in _store(database, portion, now=times.now())])
    log.info(
        "callback: %d recorded, %d duplicates, %d unlinked, %d unreadable in %d ms",
        tally.recorded,
        tally.duplicates,
        tally.unlinked,
        tally.unreadable,
        (time.monotonic() - started) * 1000,
    )
    return tally


def _portions(elements: list[Element]) -> Iterator[list[Element]]:
    return (elements[start : start + PORTION] for start in range(0, len(elements), PORTION))


def _store(database: Database, elements: list[Element], *, now: datetime) -> list[Fate]:
    return database.write(lambda session: record(session, elements, now=now))
