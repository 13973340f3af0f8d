"""PostgreSQL behind a real PgBouncer in transaction mode, as Debian packages it: clients share sessions."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

import pytest
from sqlalchemy import text

from receiver.database import schema
from receiver.database.database import Database
from receiver.database.engine import AFTER
from receiver.errors import StorageUnavailable
from tests.database.test_migrations import VIEWS, fill, rows, views
from tests.support.builders import make_event
from tests.support.locks import locked
from tests.support.pgbouncer import pooling
from tests.support.postgres import PostgresServer, free_port
from tests.support.stored import deliver

CLIENTS, TIMES = 3, 4 * AFTER


@pytest.fixture
def pooled_url(postgres_url: str) -> Iterator[str]:
    with pooling(postgres_url, default_pool_size=2) as url:
        yield url


def statements_prepared(database: Database) -> int:
    """In one of the server's sessions, after everything was done often enough."""
    for number in range(TIMES):
        deliver(database, make_event(message_id=f"often-{number}"))
    with database.read() as session:
        return int(session.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one())


def test_without_a_pooler_statements_are_prepared(postgres: Database) -> None:
    assert statements_prepared(postgres) > 0


def test_behind_a_pooler_no_statement_is_prepared(pooled_url: str) -> None:
    with Database(pooled_url) as database:
        assert statements_prepared(database) == 0


def test_clients_that_share_sessions_do_not_meet_each_others_statements(pooled_url: str) -> None:
    """The driver numbers its statements, so each client has a first one, and they differ."""
    random = Random(20261126)
    with ExitStack() as stack:
        clients = [stack.enter_context(Database(pooled_url)) for _ in range(CLIENTS)]
        for number in range(CLIENTS * TIMES):
            deliver(random.choice(clients), make_event(message_id=f"shared-{number}"))
            with random.choice(clients).read() as session:
                assert session.execute(text("SELECT count(*) FROM events")).scalar_one() == number + 1


def test_migrations_go_through_a_pooler(pooled_url: str) -> None:
    fill(pooled_url)
    before = rows(pooled_url)

    schema.downgrade(pooled_url, "base")
    assert views(pooled_url) == {}
    schema.upgrade(pooled_url)

    assert rows(pooled_url) == before
    assert set(views(pooled_url)) == VIEWS


def test_a_lock_that_is_not_given_up_is_noticed_in_time_behind_a_pooler(postgres_url: str, pooled_url: str) -> None:
    with Database(pooled_url) as database:
        with locked(postgres_url, "LOCK TABLE events IN EXCLUSIVE MODE"):
            assert_refused_in_time(database)
        deliver(database, make_event())


def test_a_silent_server_is_noticed_in_time_behind_a_pooler_and_used_again_afterwards() -> None:
    """PgBouncer responds although PostgreSQL does not, so only the program's own deadline can end the wait."""
    with PostgresServer(fsync=False) as server:
        url = server.create_database("silent")
        schema.upgrade(url)
        with pooling(url, default_pool_size=2) as pooled, Database(pooled) as database:
            deliver(database, make_event())
            server.pause()
            try:
                for _ in range(2):  # the connection that was open, and a new one
                    assert_refused_in_time(database)
            finally:
                server.resume()
            deliver(database, make_event("failed"))


def test_a_pooler_that_was_restarted_is_not_noticed(postgres_url: str) -> None:
    port = free_port()
    with ExitStack() as stack:
        with pooling(postgres_url, port=port) as url:
            database = stack.enter_context(Database(url))
            deliver(database, make_event())
        with pooling(postgres_url, port=port):
            deliver(database, make_event("failed"))


def assert_refused_in_time(database: Database) -> None:
    """Bandwidth waits ten seconds for the response to a callback."""
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        deliver(database, make_event("sent"))
    assert time.monotonic() - began < 10
