"""Measures a claim at the head of a short queue, and of a long queue in a database with a long history."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

import psycopg
from sqlalchemy import update

from receiver.core import times
from receiver.database.database import Database
from receiver.database.models import Message
from receiver.messages import queue

CLAIMS, BATCH, LEASE = 500, 8, timedelta(seconds=30)

COLUMNS = (
    "tag, application_id, sender, text, media, urgency, units, receipts, send_status, attempt, failures, claimable_at,"
    " created_at, updated_at"
)
VALUES = (
    "lpad(n::text, 26, '0'), 'app', '+19195550100', 'Lunch', '[]', 1, 3, false, '{status}', 1, 0,"
    " now() - interval '1 minute', now() - interval '1 hour', now()"
)
RECIPIENTS = """
INSERT INTO recipients (message_pk, recipient, position, status, standing, invalid_recipient, created_at, updated_at)
SELECT pk, '+1919555010' || p, p, 'pending', '', false, created_at, updated_at
FROM messages, generate_series(0, 2) p WHERE send_status = 'queued'
"""


@dataclass(frozen=True)
class Claims:
    """The median milliseconds of the first and of the last tenth of many claims."""

    sent: int
    queued: int
    first: float
    last: float


def fill(url: str, *, sent: int, queued: int) -> None:
    """Fills an empty, migrated PostgreSQL with old messages and, behind them, the queue."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        for status, first, last in (("accepted", 1, sent), ("queued", sent + 1, sent + queued)):
            values = VALUES.format(status=status)
            insert = f"INSERT INTO messages ({COLUMNS}) SELECT {values} FROM generate_series({first}, {last}) n"
            connection.execute(insert.encode())
        connection.execute(RECIPIENTS.encode())
        connection.execute("VACUUM (ANALYZE)")


def claims(database: Database, *, sent: int, queued: int, advance: Callable[[], object]) -> Claims:
    """Claims, and marks the claimed messages as sent after each claim; nothing is vacuumed meanwhile."""
    taken = []
    for _ in range(CLAIMS):
        started = time.perf_counter()
        claimed = database.write(lambda session: queue.claim(session, now=times.now(), lease=LEASE, limit=BATCH))
        taken.append((time.perf_counter() - started) * 1000)
        if len(claimed) != BATCH:
            raise AssertionError(f"{len(claimed)} messages were claimed instead of {BATCH}")
        send = update(Message).where(Message.pk.in_([each.pk for each in claimed])).values(send_status="accepted")
        database.write(lambda session, send=send: session.execute(send))
        advance()
    tenth = CLAIMS // 10
    return Claims(sent, queued, median(taken[:tenth]), median(taken[-tenth:]))
