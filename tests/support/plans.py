"""Reads the query plans of the database."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event, text

from receiver.database.database import Database, Session


def plans(database: Database, ask: Callable[[Session], object]) -> list[str]:
    """The plan of each statement that ``ask`` executes.

    PostgreSQL analyzes its tables first, as autovacuum does; SQLite has nothing like that, so its plan must be good
    without.
    """
    if database.engine.dialect.name != "sqlite":
        database.write(lambda session: session.execute(text("ANALYZE")))
    statements: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if not statement.startswith("BEGIN"):  # of a session that ``ask`` opens
            statements.append((statement, values))

    with database.read() as session:
        event.listen(database.engine, "before_cursor_execute", remember)
        ask(session)
        event.remove(database.engine, "before_cursor_execute", remember)
        connection = session.connection()
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        return [str(connection.exec_driver_sql(explain + each, values).all()) for each, values in statements]
