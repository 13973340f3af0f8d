"""Fresh databases on both engines."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest

from receiver.database.models import METADATA, ErrorCodeRow, ErrorRangeRow
from tests.support.postgres import MEMORY_FOLDER, Server, memory_has_room

ENGINES = ["sqlite", "postgresql"]

MOST_DELETED = 2_000
"""How many rows are deleted from a database before a new one replaces it, because deleted rows change query plans."""

SHIPPED = {ErrorCodeRow.__tablename__, ErrorRangeRow.__tablename__, "alembic_version"}
"""The tables that the migrations fill."""

EMPTIED = [table.name for table in reversed(METADATA.sorted_tables) if table.name not in SHIPPED]

FIRST_OBJECT = 16_384
"""Below this number are the objects that every database has (PostgreSQL's FirstNormalObjectId)."""

CATALOGS = {
    "pg_attrdef": "adrelid",
    "pg_attribute": "attrelid",
    "pg_class": "oid",
    "pg_constraint": "conrelid",
    "pg_index": "indexrelid",
    "pg_namespace": "16384",
    "pg_proc": "oid",
    "pg_rewrite": "ev_class",
    "pg_statistic": "starelid",
    "pg_trigger": "tgrelid",
    "pg_type": "oid",
}
"""Where a database says what is in it, and by which column its own objects are found."""

UNCHANGED = {f"{table} WHERE {column} >= {FIRST_OBJECT}" for table, column in CATALOGS.items()} | SHIPPED

STATE = f"""
SELECT (SELECT (datallowconn, datconnlimit, datistemplate, datacl, count(setconfig))::text
        FROM pg_database d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid
        WHERE datname = current_database() GROUP BY d.oid),
       (SELECT sum(reltuples) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
       {", ".join(f"(SELECT (count(*), max(xmin::text::bigint))::text FROM {rows})" for rows in sorted(UNCHANGED))}
"""
"""What differs as soon as anything but the rows of the other tables was changed: a schema, a grant, a setting."""

EMPTY = f"""
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
{"".join(f"DELETE FROM {table};" for table in EMPTIED)}
SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"""


class SqliteDatabases:
    """A database is a file; one that was checkpointed can simply be copied."""

    @contextlib.contextmanager
    def new(self, folder: Path, template: str | None) -> Iterator[str]:
        path = folder / "receiver.sqlite3"
        if template is None:
            path.touch()
        else:
            shutil.copyfile(template, path)
        yield f"sqlite:///{path}"


@dataclass
class Copy:
    """A copy of a template, for one test at a time."""

    name: str
    connection: psycopg.Connection[tuple[Any, ...]]
    state: list[tuple[Any, ...]] = field(init=False)
    deleted: int = 0

    def __post_init__(self) -> None:
        self.state = self.read_state()

    def read_state(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(STATE.encode(), prepare=True).fetchall()

    def empty(self) -> bool:
        """Deletes all rows; returns whether another test may use this copy."""
        try:
            cursor = self.connection.execute(EMPTY.encode())
            while cursor.nextset():
                if cursor.description is None:
                    self.deleted += cursor.rowcount
            return self.read_state() == self.state and self.deleted < MOST_DELETED
        except psycopg.Error:
            return False


@dataclass
class PostgresqlDatabases:
    """Creates databases. Copies of the template are emptied and used again, which is five times as fast."""

    server: Server
    prefix: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    spare: list[Copy] = field(default_factory=list)

    @contextlib.contextmanager
    def new(self, folder: Path, template: str | None) -> Iterator[str]:
        if template is None:
            name = self._create("template1")
            try:
                yield self.server.url(name)
            finally:
                self.server.drop_database(name)
            return
        copy = self.spare.pop() if self.spare else self._copy(template)
        try:
            yield self.server.url(copy.name)
        finally:
            if copy.empty():
                self.spare.append(copy)
            else:
                self._drop(copy)

    def close(self) -> None:
        while self.spare:
            self._drop(self.spare.pop())

    def _create(self, template: str) -> str:
        name = f"{self.prefix}_{next(self.numbers)}"
        self.server.create_database(name, template)
        return name

    def _copy(self, template: str) -> Copy:
        name = self._create(template)
        return Copy(name, self.server.connect(name))

    def _drop(self, copy: Copy) -> None:
        copy.connection.close()
        self.server.drop_database(copy.name)


@contextlib.contextmanager
def fresh_database(request: pytest.FixtureRequest, *, migrated: bool) -> Iterator[str]:
    """A database of the engine that the fixture's parameter names; the other engine is not touched."""
    databases = request.getfixturevalue(f"{request.param}_databases")
    template = request.getfixturevalue(f"{request.param}_template") if migrated else None
    memory = MEMORY_FOLDER if memory_has_room() else None  # where a commit does not wait for a disk
    with TemporaryDirectory(prefix="test-", dir=memory) as folder, databases.new(Path(folder), template) as url:
        yield url
