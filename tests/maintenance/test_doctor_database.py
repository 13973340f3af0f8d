"""The doctor's findings about the database, on both engines."""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from receiver.database.database import Database
from receiver.maintenance.doctor import database as checking
from receiver.maintenance.doctor.findings import Finding, Mark
from tests.support.postgres import Server
from tests.support.stored import change, unreadables


def examine(database: Database) -> dict[str, Finding]:
    return {each.check: each for each in [*checking.check_connection(database), *checking.check_writes(database)]}


def test_a_migrated_database_is_right(database: Database) -> None:
    found = examine(database)

    assert [each.mark for each in found.values()] == [Mark.OK] * 4
    assert any(name in found["database"].found for name in ("PostgreSQL 1", "SQLite 3."))


def test_an_empty_database_has_to_be_migrated(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        found = {each.check: each for each in checking.check_connection(database)}

    assert (found["database"].mark, found["schema"].mark) == (Mark.OK, Mark.WRONG)
    assert "receiver migrate" in found["schema"].remedy


def test_a_newer_database_is_a_warning(database: Database) -> None:
    change(database, "UPDATE alembic_version SET version_num = 'the-future'")

    found = examine(database)

    assert [found[check].mark for check in ("database", "schema", "writing")] == [Mark.OK, Mark.WARNING, Mark.OK]


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql+psycopg://app:hunter2@127.0.0.1:9/receiver", "that the database is running"),
        ("sqlite:////nowhere/x", "the permissions of the file"),
    ],
)
def test_a_database_that_does_not_answer_is_reported_without_its_password(url: str, remedy: str) -> None:
    with Database(url) as database:
        [found] = checking.check_connection(database)

    assert found.mark is Mark.WRONG
    assert "DATABASE_URL" in found.remedy
    assert remedy in found.remedy
    assert "hunter2" not in str(found)


@pytest.fixture
def standby(postgres_url: str, postgres_server: Server) -> Iterator[Database]:
    """A database whose sessions are all read-only, as those of a standby are."""
    name = make_url(postgres_url).database
    postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with Database(postgres_url) as database:
        yield database


@pytest.fixture
def reader(postgres_url: str, postgres_server: Server) -> Iterator[Database]:
    """A connection with a role that may only read."""
    url = make_url(postgres_url)
    name = url.database or ""
    postgres_server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data")
    try:
        with Database(url.set(username=name, password="reader").render_as_string(hide_password=False)) as database:
            yield database
    finally:
        postgres_server.execute(f"DROP ROLE {name}")


def test_a_standby_answers_but_takes_no_write(standby: Database) -> None:
    found = examine(standby)

    assert [found[check].mark for check in ("database", "schema", "writing")] == [Mark.OK, Mark.OK, Mark.WRONG]
    assert "read-only" in found["writing"].found
    assert "primary" in found["writing"].remedy


def test_a_role_that_may_only_read_takes_no_write(reader: Database) -> None:
    found = examine(reader)

    assert (found["database"].mark, found["writing"].mark) == (Mark.OK, Mark.WRONG)
    assert "permission denied" in found["writing"].found


def test_an_sqlite_file_that_may_only_be_read_takes_no_write(sqlite: Database) -> None:
    with sqlite.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    assert examine(sqlite)["writing"].mark is Mark.WRONG


def test_a_full_disk_takes_no_write(sqlite: Database) -> None:
    """For SQLite a full disk is a file that cannot grow, so every callback is answered 503."""
    with sqlite.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    found = examine(sqlite)["writing"]

    assert (found.mark, "full" in found.found) == (Mark.WRONG, True)


def test_what_is_written_on_trial_is_gone(database: Database) -> None:
    assert examine(database)["writing"].mark is Mark.OK
    assert unreadables(database) == []


@pytest.mark.parametrize(("major", "mark"), [(14, Mark.WRONG), (15, Mark.OK)])
def test_an_old_postgresql_is_wrong(major: int, mark: Mark) -> None:
    assert checking.check_version(checking.DatabaseProduct("PostgreSQL", major, f"{major}.2"), "database").mark is mark


@pytest.mark.parametrize(
    ("host", "tls", "mark"),
    [
        ("db.example.com", None, Mark.WARNING),
        ("10.0.0.5", None, Mark.WARNING),
        ("db.example.com", "TLSv1.3", Mark.OK),
        ("/var/run/postgresql", None, Mark.OK),
        ("127.0.0.1", None, Mark.OK),
        ("localhost", None, Mark.OK),
        ("::1", None, Mark.OK),
    ],
)
def test_a_connection_that_leaves_this_machine_had_better_be_encrypted(host: str, tls: str | None, mark: Mark) -> None:
    found = checking.check_encryption(checking.PostgresLink(host=host, sslmode="prefer", tls=tls))

    assert found.mark is mark
    assert f"host {host}, sslmode prefer, {'encrypted (TLSv1.3)' if tls else 'not encrypted'}" in found.found
    assert bool(found.remedy) == (mark is Mark.WARNING)
