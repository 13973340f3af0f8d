"""A statement that travels together with its settings and its commit, and what may go wrong on the way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from receiver.database.database import Database
from receiver.errors import StorageRefused, StorageUnavailable
from tests.support.lost_commits import losing_commit
from tests.support.pgbouncer import pooling
from tests.support.processes import wait_for

INSERT = (
    "INSERT INTO lanes (sender, next_at) SELECT sender, now() FROM jsonb_to_recordset(CAST($1 AS jsonb))"
    " AS given (sender varchar(64)) RETURNING sender, current_setting('lock_timeout') AS lock_timeout"
)
LANE = [{"sender": "+19195551234"}]


def lane(number: int) -> list[dict[str, str]]:
    return [{"sender": f"+1919555{number}"}]


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of somebody else to the same database."""
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as admin:
        yield admin


def run(database: Database, sql: str) -> Any:
    return database.write(lambda session: session.execute(text(sql)).scalar())


def lanes(database: Database) -> int:
    return int(run(database, "SELECT count(*) FROM lanes"))


def end_sessions(admin: psycopg.Connection[Any]) -> None:
    """Ends the sessions of all others, and returns once they have gone. In a transaction it would wait for ever."""
    others = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    others += " AND datname = current_database()"
    admin.execute(f"SELECT pg_terminate_backend(pid) {others}")
    wait_for(lambda: admin.execute(f"SELECT count(*) {others}").fetchone() == (0,), "the end of the sessions")


def test_its_rows_are_returned_once_they_are_stored(postgres: Database, admin: psycopg.Connection[Any]) -> None:
    [row] = postgres.write_at_once(INSERT, LANE)

    assert (row.sender, row.lock_timeout) == ("+19195551234", "5s")
    assert admin.execute("SELECT count(*) FROM lanes").fetchone() == (1,)


def test_what_the_database_refuses_stores_nothing_and_spoils_no_connection(postgres: Database) -> None:
    postgres.write_at_once(INSERT, LANE)
    for _ in range(3):
        with pytest.raises(StorageRefused) as raised:
            postgres.write_at_once(INSERT, LANE)

    assert not raised.value.in_doubt
    assert lanes(postgres) == 1
    assert postgres.write_at_once(INSERT, lane(9999))


def test_a_session_that_ended_while_it_was_idle_loses_nothing(
    postgres: Database, admin: psycopg.Connection[Any]
) -> None:
    postgres.write_at_once(INSERT, [])
    end_sessions(admin)

    assert postgres.write_at_once(INSERT, LANE)


def test_a_session_that_ends_before_the_commit_stores_nothing(
    postgres: Database, admin: psycopg.Connection[Any]
) -> None:
    postgres.write_at_once(INSERT, [])
    admin.execute("BEGIN")
    admin.execute("LOCK TABLE lanes")
    with ThreadPoolExecutor(1) as thread:
        inserting = thread.submit(postgres.write_at_once, INSERT, LANE)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_for(lambda: admin.execute(waiting).fetchone() == (1,), "the statement to wait for the lock")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        with pytest.raises(StorageUnavailable) as raised:
            inserting.result(10)
    admin.execute("COMMIT")

    assert raised.value.in_doubt
    assert lanes(postgres) == 0


def test_a_session_that_ends_after_the_commit_is_in_doubt(postgres: Database) -> None:
    with (
        losing_commit(postgres, "SELECT 1 FROM lanes"),
        pytest.raises(StorageUnavailable) as raised,
    ):
        postgres.write_at_once(INSERT, LANE)

    assert raised.value.in_doubt
    assert lanes(postgres) == 1


def test_a_database_that_is_not_there_leaves_no_doubt(postgres_url: str) -> None:
    with Database(postgres_url.replace("127.0.0.1", "127.0.0.2")) as away, pytest.raises(StorageUnavailable) as raised:
        away.write_at_once(INSERT, LANE)

    assert not raised.value.in_doubt


def test_a_statement_that_somebody_discarded_is_prepared_again(postgres: Database) -> None:
    postgres.write_at_once(INSERT, [])
    names = "SELECT string_agg(quote_ident(name), ',') FROM pg_prepared_statements WHERE statement LIKE 'INSERT%'"
    name = run(postgres, names)
    postgres.write(lambda session: session.execute(text(f"DEALLOCATE {name}")))

    assert postgres.write_at_once(INSERT, LANE)
    assert lanes(postgres) == 1


def test_a_result_that_a_migration_changes_is_read_again(postgres: Database, admin: psycopg.Connection[Any]) -> None:
    returning = INSERT.partition(" RETURNING")[0] + " RETURNING lanes.*"
    postgres.write_at_once(returning, [])
    admin.execute("ALTER TABLE lanes ADD COLUMN later integer")

    [row] = postgres.write_at_once(returning, LANE)
    assert row.later is None


def test_a_statement_goes_through_a_pooler(postgres_url: str) -> None:
    with pooling(postgres_url, default_pool_size=1) as url, Database(url) as one, Database(url) as other:
        for number in range(12):
            database, next_one = (one, other) if number % 2 else (other, one)
            assert database.write_at_once(INSERT, lane(1000 + number))
            assert not next_one.write_at_once(INSERT, [])

        assert run(one, "SELECT count(*) FROM pg_prepared_statements") == 0
        assert lanes(other) == 12
