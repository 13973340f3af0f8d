"""The application's side: stores the messages that the events are about, and Bandwidth's responses, some late."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from receiver.core import times
from receiver.core.messages import Accepted
from receiver.database.database import Database, Session
from receiver.errors import StorageUnavailable
from receiver.messages.outbox import Attempt, add_submitting, record_result
from tests.soak.torture.stream import Sent
from tests.support.builders import make_message
from tests.support.processes import wait_for

TOGETHER = 100
"""The number of messages in one transaction."""


LONGEST_FAULT = 180.0
"""Seconds for which the database may be away; faults that take longer have been given up before."""


def store_messages(database: Database, messages: Sequence[Sent]) -> list[int]:
    """Stores the messages, most with Bandwidth's response already; returns their keys."""
    keys: list[int] = []
    for start in range(0, len(messages), TOGETHER):
        some = messages[start : start + TOGETHER]
        keys += database.write(lambda session, some=some: [_store(session, sent) for sent in some])
    return keys


def _store(session: Session, sent: Sent) -> int:
    now = times.whole_millisecond(times.now())
    attempt = Attempt(at=now, deadline=now + timedelta(seconds=60), overdue_at=now + timedelta(hours=27))
    pk = add_submitting(session, make_message(*sent.to), tag=sent.tag, attempt=attempt)
    if not sent.answered_at:
        record_result(session, pk, number=1, result=Accepted(message_id=sent.message_id), now=now)
    return pk


def record_late_answers(
    database: Database, messages: Sequence[Sent], keys: Sequence[int], stopping: threading.Event
) -> None:
    """Stores each late response when it is due, or as soon as the database is back; all at once when it is stopping."""
    begun = time.monotonic()
    for sent, pk in sorted(zip(messages, keys, strict=True), key=lambda pair: pair[0].answered_at):
        if sent.answered_at:
            stopping.wait(max(begun + sent.answered_at - time.monotonic(), 0))
            recorded = partial(is_recorded, database, sent, pk)
            wait_for(recorded, "an answer to be recorded", seconds=LONGEST_FAULT)


def is_recorded(database: Database, sent: Sent, pk: int) -> bool:
    answer = Accepted(message_id=sent.message_id)
    try:
        database.write(lambda session: record_result(session, pk, number=1, result=answer, now=times.now()))
    except StorageUnavailable:
        return False
    return True
