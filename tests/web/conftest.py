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
    """The application on an empty database, for what does not depend on the engine."""
    with Service(sqlite_url) as service:
        yield service


@pytest.fixture(scope="session")
def shared_service(sqlite_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One application for all tests that need no database of their own: what others stored does not disturb them."""
    path = tmp_path_factory.mktemp("shared") / "receiver.sqlite3"
    shutil.copyfile(sqlite_template, path)
    with Service(f"sqlite:///{path}", max_body_bytes=60_000) as service:
        yield service
