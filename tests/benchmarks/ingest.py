"""Measures how fast events are stored, in one process without HTTP, so that only the tables' length differs."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence

from sqlalchemy import select

from receiver.core import times
from receiver.core.events import Event
from receiver.core.messages import Accepted
from receiver.database.database import Database, Session
from receiver.database.models import Message, MessageId, Recipient
from receiver.messages.outbox import record_result
from tests.benchmarks.history import History, make_event, message_id, number_at
from tests.support.stored import deliver, submitting

BATCH, BATCHES = 64, 30
EVENTS = BATCH * BATCHES

Make = Callable[[Database, History], list[Event]]

_started = times.now()
_serial = itertools.count()
_chance = random.Random(2)


def recent(database: Database, history: History) -> list[Event]:
    """Realistic events: two for each recipient of messages just sent, since Bandwidth stops after a day."""
    sent = [database.write(lambda session: _send(session, history.different_numbers)) for _ in range(EVENTS // 6)]
    return [
        _news(kind, tag, one_id, number)
        for kind in ("sending", "delivered")
        for tag, one_id, to in sent
        for number in to
    ]


def _send(session: Session, different_numbers: int) -> tuple[str, str, list[str]]:
    to = [number_at(place) for place in _chance.sample(range(different_numbers), 3)]
    tag, pk = submitting(session, *to)
    one_id = message_id(times.now(), _chance)
    record_result(session, pk, number=1, result=Accepted(message_id=one_id), now=times.now())
    return tag, one_id, to


def scattered(database: Database, history: History) -> list[Event]:
    """The worst case: one event for each of many recipients anywhere in history, each changing an outcome."""
    pks = [_chance.randint(1, history.messages) for _ in range(EVENTS)]
    query = (
        select(Message.pk, Message.tag, MessageId.message_id, Recipient.recipient)
        .join(MessageId, MessageId.message_pk == Message.pk)
        .join(Recipient, Recipient.message_pk == Message.pk)
        .where(Message.pk.in_(pks))
    )
    with database.read() as session:
        rows = {row.pk: row for row in session.execute(query)}
    return [_news("failed", rows[pk].tag, rows[pk].message_id, rows[pk].recipient) for pk in pks if pk in rows]


def _news(kind: str, tag: str, one_id: str, number: str) -> Event:
    """An event that outranks all earlier ones: the later it is made, the earlier its time."""
    serial = next(_serial)
    code = 10_000 + serial % 80_000 if kind == "failed" else 0
    return make_event((kind, code, -serial), message_id=one_id, recipient=number, tag=tag, after=_started)


def events_per_second(database: Database, events: Sequence[Event]) -> float:
    """Stores the events in batches, each in a transaction of its own."""
    started = time.perf_counter()
    for start in range(0, len(events), BATCH):
        deliver(database, *events[start : start + BATCH])
    return len(events) / (time.perf_counter() - started)
