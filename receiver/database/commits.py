"""Tells a commit that the standby has confirmed from one that only looks so.

PostgreSQL with synchronous replication answers COMMIT successfully when the wait for the standby was cancelled, with no
more than a warning: the transaction is there, and is gone if the primary is lost before the standby has it. A later
transaction that writes nothing does not wait at all. But PostgreSQL's log is one sequence, so a later commit that has
written something, and whose wait succeeded, proves every commit before it.
"""

import threading
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from receiver.errors import StorageUnavailable

UNCONFIRMED = "unconfirmed"
"""What marks a connection, in its ``info``: since its transaction began a wait for the standby was cancelled."""

_WAITS = "SyncRepWaitForLSN"
"""The function of PostgreSQL that waits, and warns when it gives up: SQLSTATE 01000, or 57P01 when the session ends
with it. The text of the warning is translated, and other warnings share the SQLSTATE."""


def hear_warnings(connection: Any, record: Any) -> None:
    """Lets a new connection of the driver be marked; for the pool's event ``connect``."""

    def hear(warning: Any) -> None:
        if warning.source_function == _WAITS:
            record.info[UNCONFIRMED] = True

    connection.add_notice_handler(hear)


def demand_confirmed(connection: Connection) -> None:
    """Raises StorageUnavailable if the commit that was made just now looks successful only."""
    if connection.info.pop(UNCONFIRMED, False):
        reason = "the wait for the standby was cancelled, so the standby has not confirmed the commit"
        raise StorageUnavailable("The standby has not confirmed that this is stored; try again.", reason=reason)


def write_anyway(session: Session) -> None:
    """Makes the commit of a transaction that has found everything done already wait for the standby, as if it had done
    it. SQLite has no standby."""
    _write(session.connection())


def _write(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # An entry in the log alone: it needs no row, no extension, and neither a role nor a wal_level of its own.
        connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'receiver', '')")


class Commits:
    """The commits of one Database. Safe to share between threads.

    After one that was not confirmed, or whose end nobody heard of, what is tried again may find nothing to do. So every
    transaction writes something from then on, until one of them is confirmed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doubted = 0
        """How many commits were not confirmed."""
        self._proved = 0
        """How many of those a later commit has proved."""

    def commit(self, connection: Connection) -> None:
        """Commits what the connection has written. Raises StorageUnavailable when that is not confirmed."""
        doubted = self._doubted  # what is doubted from here on may come later in the log than this commit
        in_doubt = doubted > self._proved
        if in_doubt:
            _write(connection)
        try:
            connection.commit()
            demand_confirmed(connection)
        except BaseException:
            with self._lock:
                self._doubted += 1
            raise
        if in_doubt:
            with self._lock:
                self._proved = max(self._proved, doubted)
