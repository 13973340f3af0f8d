"""Says in the log which events came again, and which say something else of a recipient whose outcome was known.

Both are rare, so what the lines tell is read only then, in the transaction that stored the events.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session, aliased

from receiver.core.events import Event
from receiver.core.numbers import identifier, shortened, without_numbers
from receiver.core.status import RecipientStatus, fold, is_failure, statement
from receiver.logs import get_logger
from receiver.storage.models import Message, StoredEvent
from receiver.storage.rows import parameter, rows_of

log = get_logger(__name__)

KNOWN = frozenset({RecipientStatus.DELIVERED, RecipientStatus.FAILED})
"""Outcomes that nothing should follow; unconfirmed is none."""


def remark(session: Session, stored: Iterable[Row[Any]], *, all_news: bool, now: datetime) -> None:
    """``stored`` are the rows of the events that came just now; ``all_news``: each of them that states anything changed
    its recipient. Of those that do, only a failure can contradict a known outcome."""
    suspects = [row.pk for row in stored if row.deliveries > 1 or not all_news or is_failure(row.type)]
    if not suspects:
        return
    connection = session.connection()
    found = connection.execute(_histories(connection.dialect.name), parameter({"pk": pk} for pk in sorted(suspects)))
    for _, history in groupby(found, key=lambda row: row.pk):
        _remark(list(history), now=now)


@cache
def _histories(dialect: str) -> Select[*tuple[Any, ...]]:
    """The events of those keys, each beside all events about its recipient, itself included."""
    given = rows_of(dialect, StoredEvent.pk)
    other = aliased(StoredEvent)
    same = (other.message_pk == StoredEvent.message_pk) & (other.recipient == StoredEvent.recipient)
    this = ("pk", "message_id", "recipient", "type", "error_code", "occurred_at", "first_received_at", "deliveries")
    return (
        select(
            *(getattr(StoredEvent, name) for name in this),
            *(getattr(other, name).label(f"other_{name}") for name in this),
            Message.tag,
        )
        .join(given, StoredEvent.pk == given.c.pk)
        .outerjoin(other, same)
        .outerjoin(Message, Message.pk == StoredEvent.message_pk)
        .order_by(StoredEvent.pk)
    )


def _remark(history: Sequence[Row[Any]], *, now: datetime) -> None:
    """One event's line, if it deserves one."""
    this = history[0]
    is_repeat = this.deliveries > 1
    before = {
        _event(row): row.other_first_received_at
        for row in history
        if row.other_pk is not None and (is_repeat or row.other_first_received_at < this.first_received_at)
    }
    outcome = fold(before)
    if is_repeat:
        _say("event repeated", this, outcome.status if before else None, delay=now - this.first_received_at)
    elif outcome.winner and outcome.status in KNOWN and outcome.status != statement(this.type, this.error_code):
        _say("event after the outcome", this, outcome.status, delay=now - before[outcome.winner])


def _event(row: Row[Any]) -> Event:
    return Event(
        type=row.other_type,
        message_id=row.other_message_id,
        recipient=row.other_recipient,
        error_code=row.other_error_code,
        occurred_at=row.other_occurred_at,
    )


def _say(line: str, this: Row[Any], old_status: RecipientStatus | None, *, delay: timedelta) -> None:
    log.info(
        line,
        tag=this.tag,
        message_id=identifier(this.message_id),
        type=without_numbers(this.type),
        error_code=this.error_code or None,
        recipient=shortened(this.recipient),
        old_status=old_status,
        new_status=statement(this.type, this.error_code),
        delay_seconds=round(delay.total_seconds(), 3),
        deliveries=this.deliveries,
    )
