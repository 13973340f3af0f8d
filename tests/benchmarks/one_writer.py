"""The limit of SQLite itself: one Python writer with one transaction per event, on the service's own tables."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing

INSERT = """
INSERT INTO events (message_id, recipient, type, error_code, message_pk, linked_by, tag, occurred_at,
    first_received_at, last_received_at, deliveries, source, payload)
SELECT :message_id, :recipient, :type, :code, pk, 'tag', :tag, :time, :time, :time, 1, 'callback', :payload
FROM messages WHERE tag = :tag
ON CONFLICT DO UPDATE SET deliveries = deliveries + 1 RETURNING message_pk
"""
UPDATE = "UPDATE recipients SET status = :type, updated_at = :time WHERE message_pk = :pk AND recipient = :recipient"


def rate(path: str, events: Iterable[dict[str, object]], *, warm_up: float, seconds: float) -> float:
    """The events per second that one thread stores without HTTP, after the warm-up."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        rows = iter(events)
        _store(connection, rows, warm_up)
        begun = time.perf_counter()
        return _store(connection, rows, seconds) / (time.perf_counter() - begun)


def _store(connection: sqlite3.Connection, rows: Iterator[dict[str, object]], seconds: float) -> int:
    end, stored = time.perf_counter() + seconds, 0
    while time.perf_counter() < end and (row := next(rows, None)):
        connection.execute("BEGIN IMMEDIATE")
        (pk,) = connection.execute(INSERT, row).fetchone()
        connection.execute(UPDATE, row | {"pk": pk})
        connection.execute("COMMIT")
        stored += 1
    return stored
