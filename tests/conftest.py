"""The fixtures that all tests share: databases on both engines, log lines, scripted servers; Hypothesis's settings.

A test that requests `database_url` runs twice, as `[sqlite]` and as `[postgresql]`; `-k postgresql` selects one of the
two. Migrations build one database of each engine, and each test gets a copy; on PostgreSQL one that another test used,
emptied, unless that test changed more than its rows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from structlog.testing import LogCapture

from receiver.database.database import Database
from tests.support.databases import ENGINES, PostgresqlDatabases, SqliteDatabases, fresh_database
from tests.support.log_lines import Lines
from tests.support.postgres import ExistingServer, PostgresServer, Server
from tests.support.scripted_server import CERTIFICATE, KEY, Script, ScriptedServer, Serve

settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True, max_examples=100)
settings.load_profile("ci")

signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""Under nohup SIGHUP is ignored, and every process that the tests start would inherit that."""


@pytest.fixture
def logged() -> Iterator[Lines]:
    """The fields of every line that is logged from now on, of any level."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts scripted servers; ``tls=True`` starts one with a certificate that nothing trusts by default."""
    (tmp_path / "server.pem").write_text(KEY + CERTIFICATE)
    servers: list[ScriptedServer] = []

    def start(script: Script, *, tls: bool = False, accepting: bool = True) -> ScriptedServer:
        servers.append(ScriptedServer(script, tls=tmp_path / "server.pem" if tls else None, accepting=accepting))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty, migrated database, on each engine."""
    with fresh_database(request, migrated=True) as url:
        yield url


@pytest.fixture(params=ENGINES)
def empty_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without tables, on each engine, for the tests of migrations."""
    with fresh_database(request, migrated=False) as url:
        yield url


@pytest.fixture(params=["postgresql"])
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty, migrated database on PostgreSQL alone."""
    with fresh_database(request, migrated=True) as url:
        yield url


@pytest.fixture(params=["sqlite"])
def sqlite_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty, migrated database on SQLite alone."""
    with fresh_database(request, migrated=True) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open Database on each engine."""
    with Database(database_url) as database:
        yield database


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    with Database(postgres_url) as database:
        yield database


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    with Database(sqlite_url) as database:
        yield database


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The server that all tests of one pytest worker share, started for the first that needs a database.

    `TEST_DATABASE_URL` names an existing server instead; its role must be allowed to create databases. A test that
    stops or pauses a server starts a `PostgresServer` of its own.
    """
    existing = os.environ.get("TEST_DATABASE_URL")
    if existing:
        yield ExistingServer(existing)
        return
    with PostgresServer(fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_databases() -> SqliteDatabases:
    return SqliteDatabases()


@pytest.fixture(scope="session")
def postgresql_databases(postgres_server: Server, worker_id: str, testrun_uid: str) -> Iterator[PostgresqlDatabases]:
    """Creates databases. On an existing server their names carry the test run's identifier, to share the server."""
    own = isinstance(postgres_server, PostgresServer)
    prefix = f"test_{worker_id}" if own else f"test_{testrun_uid[:8]}_{worker_id}"
    with contextlib.closing(PostgresqlDatabases(postgres_server, prefix)) as databases:
        yield databases


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> str:
    from receiver.database.schema import upgrade

    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    upgrade(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return str(path)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_databases: PostgresqlDatabases) -> Iterator[str]:
    """A migrated database that allows no connections, because a template in use cannot be copied."""
    from receiver.database.schema import upgrade

    server, name = postgresql_databases.server, f"{postgresql_databases.prefix}_template"
    url = server.create_database(name)
    try:
        upgrade(url)
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        yield name
    finally:
        server.drop_database(name)
