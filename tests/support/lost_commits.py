"""Commits whose result is lost: the connection breaks before the client hears whether the transaction is durable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from receiver.database.database import Database
from receiver.database.pipeline import Pipeline
from receiver.errors import StorageUnavailable

IS_SUBMITTING = "SELECT 1 FROM messages WHERE send_status = 'submitting'"
IS_QUEUED = "SELECT 1 FROM messages WHERE send_status = 'queued'"
HAS_RESULT = "SELECT 1 FROM messages WHERE send_status NOT IN ('submitting', 'queued')"


def found(database: Database, query: str) -> bool:
    with database.engine.connect() as connection:
        return connection.exec_driver_sql(query).first() is not None


@contextmanager
def losing_commit(database: Database, query: str, *, meanwhile: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Loses the result of the first commit from now on after which ``query`` finds a row, whoever makes it.

    ``meanwhile`` is called before the client learns of the loss.
    """
    lost: list[str] = []

    def commit(connection: Connection) -> None:
        is_write = connection.get_execution_options().get("writes")
        if is_write and not lost and connection.exec_driver_sql(query).first():
            lost.append("commit")
            driver: Any = connection.connection.driver_connection
            driver.commit()
            meanwhile()
            raise OperationalError("COMMIT", {}, Exception("the connection is lost"))

    run = Pipeline.run

    def run_and_lose(pipeline: Pipeline, *parameters: bytes) -> bytes:
        value = run(pipeline, *parameters)
        if not lost and found(database, query):
            lost.append("pipeline")
            meanwhile()
            raise StorageUnavailable(in_doubt=True)
        return value

    event.listen(database.engine, "commit", commit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "run", run_and_lose)
        yield
    event.remove(database.engine, "commit", commit)
    assert lost, "no commit had that result"
