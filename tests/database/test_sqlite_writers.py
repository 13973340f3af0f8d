"""SQLite has one writer at a time: the others wait for their turn, at most five seconds."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import text

from receiver.database import schema
from receiver.database.database import Database, Session
from receiver.database.engine import BUSY_SECONDS
from receiver.errors import StorageUnavailable
from tests.support.builders import ALICE, make_event, store_message
from tests.support.locks import PATIENCE, Held, threads
from tests.support.log_lines import Lines
from tests.support.stored import deliver, events, recording, submit


@contextmanager
def writing_elsewhere(sqlite: Database) -> Iterator[sqlite3.Connection]:
    """Another process's transaction, as far as SQLite can tell; rolled back at the end."""
    path = sqlite.engine.url.database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


@pytest.mark.parametrize("pragma", [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 2)], ids=str)
def test_every_connection_is_durable_and_keeps_foreign_keys(sqlite: Database, pragma: tuple[str, object]) -> None:
    name, value = pragma

    with sqlite.read() as one, sqlite.read() as other:
        for session in (one, other):
            assert session.execute(text(f"PRAGMA {name}")).scalar_one() == value
    assert sqlite.write(lambda session: session.execute(text(f"PRAGMA {name}")).scalar_one()) == value


def test_a_write_waits_for_another_process_s(sqlite: Database) -> None:
    with threads() as pool, writing_elsewhere(sqlite) as other:
        waiting = pool.submit(lambda: deliver(sqlite, make_event()))
        time.sleep(0.2)  # no event tells that a connection waits in SQLite's busy loop
        assert not waiting.done()
        other.execute("ROLLBACK")
        waiting.result(PATIENCE)

    assert len(events(sqlite)) == 1


def test_who_waited_too_long_is_refused(sqlite: Database, logged: Lines) -> None:
    """A write fails after five of the ten seconds that Bandwidth waits; a migration fails with one sentence."""
    started = time.monotonic()
    with writing_elsewhere(sqlite), threads() as pool:
        write = pool.submit(lambda: deliver(sqlite, make_event()))
        migration = pool.submit(lambda: schema.upgrade(str(sqlite.engine.url)))
        with pytest.raises(StorageUnavailable):
            write.result(PATIENCE)
        with pytest.raises(StorageUnavailable, match=r"^The SQLite file \S+ cannot be migrated: database is locked$"):
            migration.result(PATIENCE)

    assert time.monotonic() - started >= BUSY_SECONDS * 0.9
    assert [line["reason"] for line in logged] == ["database is locked"]
    assert ALICE not in str(logged)
    deliver(sqlite, make_event())
    assert len(events(sqlite)) == 1


def test_reading_waits_for_no_writer(sqlite: Database) -> None:
    store_message(sqlite)
    deliver(sqlite, make_event())
    with writing_elsewhere(sqlite) as other:
        other.execute("DELETE FROM events")
        assert len(events(sqlite)) == 1


def test_threads_write_one_after_the_other(sqlite: Database) -> None:
    """Each thread waits for its turn, and not in SQLite's busy loop, which is not fair."""
    held = Held(recording(make_event()))
    second_began = threading.Event()

    def second(session: object) -> None:
        second_began.set()

    with threads() as pool:
        first = pool.submit(lambda: sqlite.write(held))
        held.wait()
        waiting = pool.submit(lambda: sqlite.write(second))
        assert not second_began.wait(0.2)
        held.release()
        for each in (first, waiting):
            each.result(PATIENCE)

    assert second_began.is_set()


def test_a_transaction_that_fails_leaves_nothing_and_gives_its_turn_back(sqlite: Database) -> None:
    def fails(session: Session) -> None:
        recording(make_event())(session)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            sqlite.write(fails)

    assert events(sqlite) == []
    submit(sqlite)
