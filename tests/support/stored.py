"""Writes what a test starts from, and reads back what is stored."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select, text

from receiver.core import times
from receiver.core.events import Event, Identity, Unreadable
from receiver.core.messages import Accepted, SendResult
from receiver.core.tags import new_tag
from receiver.database.database import Database, Session
from receiver.database.models import Message, MessageId, Recipient, StoredEvent, UnreadableCallback
from receiver.database.pipeline import Pipeline, StatementRefused
from receiver.events.store import LEFT, STORE_PLAIN, Tally, record, store_plain
from receiver.messages.outbox import Attempt, add_submitting, record_result
from tests.support.builders import make_message

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def recording(*elements: Event | Unreadable, now: datetime | None = None) -> Callable[[Session], Tally]:
    """The work of a write transaction that stores these elements."""
    return lambda session: record(session, elements, now=now or times.now()).tally


def answering(
    message_pk: int, answer: SendResult, *, attempt: int = 1, now: datetime | None = None
) -> Callable[[Session], None]:
    """The work of a write transaction that stores Bandwidth's answer."""
    return lambda session: record_result(session, message_pk, number=attempt, result=answer, now=now or times.now())


def deliver(database: Database, *elements: Event | Unreadable, now: datetime | None = None) -> Tally:
    """Stores these elements as the committer does: on PostgreSQL first what is plain, then the others."""
    now, tally = now or times.now(), Tally()
    if database.engine.dialect.name == "postgresql":
        pipeline = Pipeline(database, STORE_PLAIN)
        try:
            result = store_plain(pipeline, elements, now=now)
        except StatementRefused:
            return database.write(recording(*elements, now=now))
        finally:
            pipeline.release()
        elements = tuple(each for each, its in zip(elements, result.tallies, strict=True) if its is LEFT)
        tally = result.tally
    return tally + database.write(recording(*elements, now=now)) if elements or tally == Tally() else tally


def answer(
    database: Database, message_pk: int, said: SendResult, *, attempt: int = 1, now: datetime | None = None
) -> None:
    database.write(answering(message_pk, said, attempt=attempt, now=now))


def accepted(database: Database, message_pk: int, message_id: str | None) -> None:
    answer(database, message_pk, Accepted(message_id=message_id))


def submitting(
    session: Session,
    *to: str,
    created_at: datetime | None = None,
    deadline_in: timedelta = MINUTE,
    overdue_in: timedelta = 27 * HOUR,
    **changes: Any,
) -> tuple[str, int]:
    """A message that no answer came for yet; its tag and key. The two spans count from now."""
    now = times.now()
    created_at = times.whole_millisecond(created_at or now)
    tag = new_tag(created_at)
    attempt = Attempt(at=created_at, deadline=now + deadline_in, overdue_at=now + overdue_in)
    pk = add_submitting(session, make_message(*to, **changes), tag=tag, attempt=attempt)
    return tag, pk


def submit(database: Database, *to: str, **changes: Any) -> tuple[str, int]:
    return database.write(lambda session: submitting(session, *to, **changes))


def messages(database: Database) -> dict[str, Message]:
    """By tag."""
    with database.read() as session:
        return {row.tag: row for row in session.scalars(select(Message))}


def recipients(database: Database, message_pk: int) -> dict[str, Recipient]:
    """By number."""
    with database.read() as session:
        rows = session.scalars(select(Recipient).where(Recipient.message_pk == message_pk).order_by(Recipient.position))
        return {row.recipient: row for row in rows}


def store_in_old_order(database: Database) -> None:
    """Makes every recipient's standing that of an earlier release, which had no byte after the rank."""

    def work(session: Session) -> None:
        for row in session.scalars(select(Recipient)):
            row.standing = row.standing[:1] + row.standing[2:]

    database.write(work)


def statuses(database: Database, message_pk: int) -> dict[str, str]:
    return {number: row.status for number, row in recipients(database, message_pk).items()}


def message_ids(database: Database) -> dict[str, int | None]:
    """The message each message id stands for."""
    with database.read() as session:
        return {row.message_id: row.message_pk for row in session.scalars(select(MessageId))}


def events(database: Database, *, under: str = "") -> list[StoredEvent]:
    """First received first; those whose message id starts with ``under``."""
    query = select(StoredEvent).where(StoredEvent.message_id.startswith(under, autoescape=True))
    with database.read() as session:
        return list(session.scalars(query.order_by(StoredEvent.first_received_at, StoredEvent.pk)))


def identity(row: StoredEvent) -> Identity:
    return (row.message_id, row.recipient, row.type, row.error_code)


def the_event(database: Database) -> StoredEvent:
    [event] = events(database)
    return event


def links(database: Database) -> list[tuple[int | None, str | None]]:
    """The message and the link of every event, first received first."""
    return [(row.message_pk, row.linked_by) for row in events(database)]


def unreadables(database: Database) -> list[UnreadableCallback]:
    with database.read() as session:
        return list(session.scalars(select(UnreadableCallback).order_by(UnreadableCallback.pk)))


def change(database: Database, statement: str, **parameters: Any) -> None:
    """Changes rows behind the program's back."""
    database.write(lambda session: session.execute(text(statement), parameters))


FLAGS = {"sent_twice", "complete", "invalid_recipient", "overdue", "billable", "remove_number", "opt_out", "opt_in"}


def view(database: Database, name: str, *, order: str = "", **where: Any) -> list[dict[str, Any]]:
    """The rows of a support view as Python values, which SQLite does not give by itself."""
    condition = " AND ".join(f"{column} = :{column}" for column in where)
    query = f"SELECT * FROM {name}" + (f" WHERE {condition}" if where else "") + (f" ORDER BY {order}" if order else "")
    flags = FLAGS - ({"overdue"} if name == "support_messages" else set())  # there it is a count
    with database.read() as session:
        rows = session.execute(text(query), where).mappings().all()
    return [{column: _value(column, value, flags) for column, value in row.items()} for row in rows]


def columns(row: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _value(column: str, value: Any, flags: set[str]) -> Any:
    if value is None:
        return None
    if column in flags:
        return bool(value)
    if isinstance(value, str) and (column.endswith("_at") or column == "expiration"):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(value, str) and column == "day":
        return date.fromisoformat(value)
    return value
