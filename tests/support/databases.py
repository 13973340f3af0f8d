"""Fresh databases on both engines."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.postgres import Server

ENGINES = ["sqlite", "postgresql"]


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
class PostgresqlDatabases:
    server: Server
    prefix: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextlib.contextmanager
    def new(self, folder: Path, template: str | None) -> Iterator[str]:
        name = f"{self.prefix}_{next(self.numbers)}"
        url = self.server.create_database(name, template or "template1")
        try:
            yield url
        finally:
            self.server.drop_database(name)


@contextlib.contextmanager
def fresh_database(request: pytest.FixtureRequest, *, migrated: bool) -> Iterator[str]:
    """A database of the engine that the fixture's parameter names; the other engine is not touched."""
    databases = request.getfixturevalue(f"{request.param}_databases")
    template = request.getfixturevalue(f"{request.param}_template") if migrated else None
    with databases.new(request.getfixturevalue("tmp_path"), template) as url:
        yield url
