"""The two ways to use the database, and their errors when it does not respond."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, text

from receiver.database import schema
from receiver.database.database import CONNECTIONS, Database, Session
from receiver.database.models import Recipient, StoredEvent
from receiver.errors import StorageUnavailable
from tests.support.builders import ALICE, NOON, make_event, store_message
from tests.support.locks import PATIENCE, locked, threads
from tests.support.log_lines import Lines
from tests.support.postgres import PostgresServer
from tests.support.stored import deliver, events, recording, submit

SECRET = "Lunch is at noon."  # the text of a message


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this test alone, which may be stopped."""
    with PostgresServer(fsync=False) as server:
        schema.upgrade(server.create_database("stopped"))
        yield server


@pytest.fixture
def stoppable(server: PostgresServer) -> Iterator[Database]:
    with Database(server.url("stopped")) as database:
        yield database


def try_both_ways(database: Database) -> None:
    with pytest.raises(StorageUnavailable):
        deliver(database, make_event())
    with pytest.raises(StorageUnavailable), database.read() as session:
        session.execute(text("SELECT 1"))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stopped_server_is_unavailable_and_the_next_call_after_its_start_succeeds(
    server: PostgresServer, stoppable: Database, mode: Any
) -> None:
    """After the restart every pooled connection is dead."""
    with ExitStack() as open_reads:
        for _ in range(5):
            open_reads.enter_context(stoppable.read()).execute(text("SELECT 1"))
    server.stop(mode)
    started = time.monotonic()
    try_both_ways(stoppable)
    assert time.monotonic() - started < 10

    server.start()

    for number in range(6):
        deliver(stoppable, make_event(message_id=f"{mode}-{number}"))
    assert len(events(stoppable, under=mode)) == 6


def test_a_restart_between_two_calls_is_not_noticed(server: PostgresServer, stoppable: Database) -> None:
    deliver(stoppable, make_event(message_id="restart-1"))

    server.restart("immediate")

    deliver(stoppable, make_event(message_id="restart-2"))
    assert [row.message_id for row in events(stoppable, under="restart")] == ["restart-1", "restart-2"]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_goes_away_during_a_write_stored_nothing(
    server: PostgresServer, stoppable: Database, mode: Any
) -> None:
    def work(session: Session) -> None:
        recording(make_event(message_id=f"during-{mode}"))(session)
        server.restart(mode)

    with pytest.raises(StorageUnavailable):
        stoppable.write(work)

    assert events(stoppable, under=f"during-{mode}") == []


def test_a_server_that_freezes_is_unavailable_within_ten_seconds(server: PostgresServer, stoppable: Database) -> None:
    """A network partition looks the same. Bandwidth waits ten seconds, and must get 503 by then."""
    deliver(stoppable, make_event(message_id="before"))
    with threads() as pool:
        server.pause()
        try:
            calls: list[Future[object]] = [
                pool.submit(deliver, stoppable, make_event(message_id="frozen")),
                pool.submit(events, stoppable),
            ]
            wait(calls, timeout=10)
            ended = [each.done() for each in calls]
        finally:
            server.resume()

    assert ended == [True, True]
    for each in calls:
        assert isinstance(each.exception(), StorageUnavailable)


def test_a_commit_that_fails_is_no_success(postgres: Database) -> None:
    """The session ends after its last statement, so that only the commit can notice."""

    def work(session: Session) -> None:
        recording(make_event())(session)
        own = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with postgres.read() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": own})

    with pytest.raises(StorageUnavailable):
        postgres.write(work)

    assert events(postgres) == []


def test_there_are_no_more_connections_than_that(database: Database) -> None:
    with ExitStack() as open_reads:
        for _ in range(CONNECTIONS):
            open_reads.enter_context(database.read()).execute(text("SELECT 1"))
        started = time.monotonic()
        try_both_ways(database)
        waited = time.monotonic() - started

    assert 3 < waited < 10  # two calls of two seconds each
    deliver(database, make_event())


def test_a_write_waits_five_seconds_for_a_lock(postgres: Database) -> None:
    """Bandwidth waits ten seconds in all."""
    store_message(postgres)
    url = postgres.engine.url.render_as_string(hide_password=False)
    with locked(url, "SELECT 1 FROM recipients FOR UPDATE"), pytest.raises(StorageUnavailable):
        deliver(postgres, make_event())

    assert events(postgres) == []
    deliver(postgres, make_event())


def test_a_server_that_was_read_only_for_a_while_is_written_to_again(postgres: Database) -> None:
    """Like a standby that becomes the primary, or a server whose disk was full."""
    name = postgres.engine.url.database
    settings = f'ALTER DATABASE "{name}"'
    with psycopg.connect(_libpq_url(postgres), autocommit=True) as owner:
        owner.execute(f"{settings} SET default_transaction_read_only = on".encode())
        postgres.engine.dispose()
        with pytest.raises(StorageUnavailable):
            deliver(postgres, make_event())
    with psycopg.connect(_libpq_url(postgres), autocommit=True) as owner:
        owner.execute(b"SET default_transaction_read_only = off")
        owner.execute(f"{settings} RESET default_transaction_read_only".encode())

    deliver(postgres, make_event())


def _libpq_url(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False).replace("+psycopg", "", 1)


def test_the_locks_of_a_transaction_that_falls_silent_are_given_back(postgres: Database) -> None:
    """Like the transaction of a frozen process, which cannot end it itself."""
    store_message(postgres)
    silent = postgres.engine.execution_options(writes=True).connect()
    try:
        silent.execute(text("SELECT 1 FROM recipients FOR UPDATE"))
        with pytest.raises(StorageUnavailable):
            deliver(postgres, make_event())
        deliver(postgres, make_event())  # it waits five seconds at most
    finally:
        silent.invalidate()
        silent.close()
    assert len(events(postgres)) == 1


def test_nothing_is_set_for_the_session(postgres: Database) -> None:
    """A pooler such as PgBouncer shares sessions between clients."""
    query = "SELECT name, setting FROM pg_settings WHERE source IN ('session', 'override') AND name NOT LIKE 'lc_%'"

    def session_settings() -> list[Any]:
        with closing(postgres.engine.raw_connection()) as pooled, closing(pooled.cursor()) as outside_transactions:
            outside_transactions.execute(query)
            return list(outside_transactions.fetchall())

    before = session_settings()

    limits = text("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
    assert tuple(postgres.write(lambda session: session.execute(limits).one())) == ("5s", "5s")

    with postgres.read() as session:
        assert tuple(session.execute(limits).one()) == ("5s", "5s")

    assert session_settings() == before
    assert not {"statement_timeout", "lock_timeout"} & {name for name, _ in before}


@pytest.mark.parametrize(
    "statement", ["DELETE FROM events", "CREATE TABLE t (i INTEGER)", "SELECT 1 FROM messages FOR UPDATE"]
)
def test_what_reads_cannot_write(postgres: Database, statement: str) -> None:
    with postgres.read() as session:
        assert session.execute(text("SHOW transaction_read_only")).scalar_one() == "on"
        assert session.execute(text("SHOW transaction_isolation")).scalar_one() == "repeatable read"
    with pytest.raises(StorageUnavailable), postgres.read() as session:
        session.execute(text(statement))

    deliver(postgres, make_event())  # the same pooled connection writes again
    settings = text("SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')")
    assert tuple(postgres.write(lambda session: session.execute(settings).one())) == ("off", "read committed")


def insert_recipient(session: Session, **changes: Any) -> None:
    row: dict[str, Any] = {"message_pk": 1, "recipient": ALICE, "position": 0, "status": "pending", "standing": b""}
    row |= {"invalid_recipient": False, "created_at": NOON, "updated_at": NOON, "description": SECRET}
    session.execute(insert(Recipient).values(row | changes))


FAILING: dict[str, Callable[[Session], object]] = {
    "a row twice": lambda session: insert_recipient(session),
    "a row without its message": lambda session: insert_recipient(session, message_pk=999),
    "a column without its value": lambda session: insert_recipient(session, recipient="+19195550199", status=None),
    "an ORM row without its value": lambda session: session.bulk_save_objects(
        [StoredEvent(recipient=ALICE, payload=SECRET)]
    ),
    "no SQL": lambda session: session.execute(text("SELEKT :a, :b"), {"a": ALICE, "b": SECRET}),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_statement_that_fails_shows_no_number_and_no_text(
    database: Database, name: str, caplog: pytest.LogCaptureFixture, logged: Lines
) -> None:
    caplog.set_level(logging.DEBUG)
    submit(database, ALICE)

    with pytest.raises(StorageUnavailable) as raised:
        database.write(FAILING[name])

    [line] = logged
    assert line["log_level"] == "error"
    for shown in (str(logged), caplog.text, str(raised.value), raised.value.reason):
        assert ALICE.lstrip("+") not in shown
        assert SECRET not in shown
    assert not any("\n" in str(value) for value in line.values())


def test_an_error_of_the_work_itself_passes_and_stores_nothing(database: Database) -> None:
    def work(session: Session) -> None:
        recording(make_event())(session)
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        database.write(work)

    assert events(database) == []


def test_what_the_work_returns_is_returned_after_the_commit(database: Database) -> None:
    tally = database.write(recording(make_event()))

    assert tally.recorded == 1
    with threads() as pool:
        assert len(pool.submit(events, database).result(PATIENCE)) == 1


def test_rows_can_be_read_after_their_session_ended(database: Database) -> None:
    submit(database, ALICE)
    deliver(database, make_event())

    [row] = events(database)

    assert row.recipient == ALICE
