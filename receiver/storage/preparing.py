"""Prepares statements only where nobody stands between the program and PostgreSQL.

What is prepared belongs to a session of the server. A pooler such as PgBouncer hands sessions round, so the statement
of that name would be missing, or another client's.
"""

from typing import Any

from sqlalchemy import Connection

NEVER, AFTER = None, 5
"""From which use of a statement on the driver prepares it (psycopg, "Prepared statements")."""


def prepare_if_direct(connection: Connection) -> None:
    """Lets the driver prepare statements if its connection is the server's. Needs a transaction.

    A pooler does not know beforehand which session a client will get, so the process id that it tells the client is of
    its own making.
    """
    driver: Any = connection.connection.driver_connection
    its_server = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    driver.prepare_threshold = AFTER if its_server == driver.info.backend_pid else NEVER
