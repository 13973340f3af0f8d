"""Puts a restored backup right before anything works on it: what it takes for unsent becomes unknown.

A backup says of a message that it is queued; meanwhile it may have been sent. What may have been sent is never sent
again, so each is what it would be if its request had been begun after the backup and nobody had stored the answer.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial

from receiver.core import times
from receiver.database.database import Database
from receiver.messages.outbox import Attempt
from receiver.storage import restored

BATCH = 500
"""Messages per transaction."""


def unsent(database: Database) -> Sequence[int]:
    """The keys of the messages that the database takes for unsent, or for worth sending again."""
    with database.read() as session:
        return restored.unsent_keys(session)


def make_unknown(database: Database, message_pks: Sequence[int], *, overdue_after: timedelta) -> Iterator[int]:
    """Makes them unknown; yields how many each transaction did. Can be stopped and begun again."""
    now = times.now()
    with database.read() as session:
        since = restored.newest(session) or now
    attempt = Attempt(at=since, deadline=now, overdue_at=now + overdue_after)
    for start in range(0, len(message_pks), BATCH):
        batch = message_pks[start : start + BATCH]
        database.write(partial(restored.mark_unknown, message_pks=batch, attempt=attempt, now=now))
        yield len(batch)
