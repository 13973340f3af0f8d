"""Commits whose result is lost: the transaction is durable, but its connection breaks before the client hears of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from receiver.database.database import Database

IS_SUBMITTING = "SELECT 1 FROM messages WHERE send_status = 'submitting'"
IS_QUEUED = "SELECT 1 FROM messages WHERE send_status = 'queued'"
HAS_RESULT = "SELECT 1 FROM messages WHERE send_status NOT IN ('submitting', 'queued')"


@contextmanager
def losing_commit(database: Database, query: str) -> Iterator[None]:
    """Lets the client lose the result of the first write from now on after which ``query`` finds a row."""
    lost: list[str] = []

    def commit(connection: Connection) -> None:
        is_write = connection.get_execution_options().get("writes")
        if is_write and not lost and connection.exec_driver_sql(query).first():
            lost.append("COMMIT")
            driver: Any = connection.connection.driver_connection
            driver.commit()
            raise OperationalError("COMMIT", {}, Exception("the connection is lost"))

    pipeline = psycopg.Connection.pipeline

    @contextmanager
    def losing(driver: psycopg.Connection[Any]) -> Iterator[Any]:
        with pipeline(driver) as entered:
            yield entered
        if not lost and driver.execute(query).fetchone():
            lost.append("pipeline")
            driver.close()
            raise psycopg.OperationalError("the connection is lost")

    event.listen(database.engine, "commit", commit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Connection, "pipeline", losing)
        yield
    event.remove(database.engine, "commit", commit)
    assert lost, "no write had that result"
