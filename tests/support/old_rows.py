"""Stores messages and events of a given age, purges them, and reads back whole tables."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select, text

from receiver.core import times
from receiver.core.events import Event, Unreadable
from receiver.core.messages import Accepted
from receiver.database.database import Database, Session
from receiver.database.models import METADATA, IdempotencyKeyRow, Resolution
from receiver.maintenance import purge as purging
from receiver.maintenance import recompute
from tests.benchmarks.history import History, Rows
from tests.support.stored import answer, deliver, submit

DAY = timedelta(days=1)
QUARTER = 90 * DAY

PORTION = 500
"""Messages per transaction."""

Tables = dict[str, dict[tuple[Any, ...], dict[str, Any]]]
"""The columns of every row, by table and by a key that no purge changes."""

LASTING = {"recipients": ("message_pk", "position")}
"""The keys of tables whose primary key is blanked by a purge."""


def store_old_message(
    database: Database, *to: str, days: float, message_id: str | None = None, **changes: Any
) -> tuple[str, int]:
    """Stores a message that was accepted that many days ago; returns its tag and key."""
    created_at = times.now() - timedelta(days=days)
    tag, pk = submit(database, *to, created_at=created_at, **changes)
    answer(database, pk, Accepted(message_id=message_id or f"id-of-{pk}", segment_count=1), now=created_at)
    return tag, pk


def store_old_events(database: Database, *elements: Event | Unreadable, days: float) -> None:
    """Stores events that were received that many days ago."""
    deliver(database, *elements, now=times.now() - timedelta(days=days))


def with_belongings(database: Database, pk: int, *, expires: bool = True) -> None:
    """Gives the message a resolution and an Idempotency-Key."""
    now = times.now()
    decided = {"send_status": "accepted", "reason": "Alice has it.", "resolved_by": "jane", "resolved_at": now}
    key = {"api_key": "app", "key": f"once-{pk}", "sha256": "0" * 64, "expires_at": now - DAY if expires else None}
    database.write(lambda session: session.execute(insert(Resolution), decided | {"message_pk": pk}))
    database.write(lambda session: session.execute(insert(IdempotencyKeyRow), key | {"message_pk": pk}))


def store_history(database: Database, history: History) -> None:
    """Stores months of traffic, PORTION messages in a transaction."""

    def store(session: Session, portion: Rows) -> None:
        for table, found in portion.items():
            if found:
                session.execute(insert(METADATA.tables[table]), found)

    def count_on(session: Session) -> None:
        for table in ("messages", "events"):
            highest = f"SELECT setval(pg_get_serial_sequence('{table}', 'pk'), max(pk)) FROM {table}"
            session.execute(text(highest))

    for start in range(0, history.messages, PORTION):
        portion = history.rows(range(start, min(start + PORTION, history.messages)))
        database.write(lambda session, portion=portion: store(session, portion))
    if database.engine.dialect.name == "postgresql":
        database.write(count_on)


def purge(database: Database, *, redact: bool = False, older_than: timedelta = QUARTER) -> dict[str, int]:
    """Purges and returns how many rows of each kind were purged, without zeros."""
    wanted = purging.make_terms(older_than, redact=redact)
    counts = sum(purging.purge(database, wanted), start=purging.Counter[str]())
    return dict(+counts)


def survey(database: Database, *, redact: bool = False) -> purging.Survey:
    *_, whole = purging.survey(database, purging.make_terms(QUARTER, redact=redact))
    return whole


def tables(database: Database) -> Tables:
    with database.read() as session:
        return {
            table.name: {
                tuple(row[name] for name in LASTING.get(table.name, table.primary_key.columns.keys())): dict(row)
                for row in session.execute(select(table)).mappings()
            }
            for table in METADATA.sorted_tables
        }


def rows(found: Tables, *but: str) -> Mapping[str, int]:
    """How many rows each table has, except the tables in ``but``, empty ones and those of error codes."""
    return {
        name: len(each) for name, each in found.items() if each and name not in (*but, "error_codes", "error_ranges")
    }


def is_its_fold(database: Database) -> bool:
    """Whether every outcome is what `receiver recompute --check` computes from the events."""
    return not [each for batch in recompute.recompute(database, check=True) for each in batch.differences]
