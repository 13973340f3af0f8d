"""The application on a database, as a caller sees it."""

import shutil
from collections.abc import Iterator

import pytest

from tests.support.service import Service


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    """The application on an empty database, on each engine."""
    with Service(database_url) as service:
        yield service


@pytest.fixture
def sqlite_service(sqlite_url: str) -> Iterator[Service]:
    """The application on an empty SQLite database, for behaviour that does not depend on the engine."""
    with Service(sqlite_url) as service:
        yield service


@pytest.fixture(scope="session")
def shared_service(sqlite_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One application for all tests that are not disturbed by rows that other tests stored."""
    path = tmp_path_factory.mktemp("shared") / "receiver.sqlite3"
    shutil.copyfile(sqlite_template, path)
    with Service(f"sqlite:///{path}", max_body_bytes=60_000) as service:
        yield service
