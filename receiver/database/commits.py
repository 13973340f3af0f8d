"""Distinguishes commits that the standby has confirmed from those that only look successful.

PostgreSQL with synchronous replication reports success for COMMIT even when the wait for the standby was cancelled; it
only sends a warning. The transaction is on the primary, and is lost if the primary is lost before the standby has it. A
later transaction that writes nothing does not wait at all. But PostgreSQL's log is one sequence, so a later commit that
wrote something, and whose wait succeeded, proves every commit before it.
"""

import threading
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from receiver.errors import StorageUnavailable

UNCONFIRMED = "unconfirmed"
"""The mark in a connection's ``info``: since its transaction began, a wait for the standby was cancelled."""

_WAIT_FUNCTION = "SyncRepWaitForLSN"
"""The function of PostgreSQL that waits for the standby and warns when it gives up, with SQLSTATE 01000, or 57P01 when
the session ends with it. The warning's text is translated, and other warnings share the SQLSTATE."""


def mark_unconfirmed(connection: Any, record: Any) -> None:
    """Marks a new connection of the driver whenever a wait for the standby is cancelled; for the pool's ``connect``."""

    def handle_notice(notice: Any) -> None:
        if notice.source_function == _WAIT_FUNCTION:
            record.info[UNCONFIRMED] = True

    connection.add_notice_handler(handle_notice)


def demand_confirmed(connection: Connection) -> None:
    """Raises StorageUnavailable if the standby has not confirmed the commit made just now."""
    if connection.info.pop(UNCONFIRMED, False):
        raise unconfirmed()


def unconfirmed() -> StorageUnavailable:
    """The exception to raise about a commit that the standby has not confirmed."""
    reason = "the wait for the standby was cancelled, so the standby has not confirmed the commit"
    message = "The standby has not confirmed that this is stored; try again."
    return StorageUnavailable(message, reason=reason, in_doubt=True)


def write_anyway(session: Session) -> None:
    """Lets the commit of a transaction that had nothing to change wait for the standby as if it had changed something.

    SQLite has no standby, so nothing is written there.
    """
    _write(session.connection())


def _write(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Only an entry in the log: it needs no row, no extension, no privilege and no particular wal_level.
        connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'receiver', '')")


class Commits:
    """The commits of one Database. Safe to share between threads.

    After a commit that was not confirmed, or whose result was lost, a retry may find nothing left to do. So from then
    on every transaction writes something, until one of them is confirmed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doubted = 0
        """How many commits were not confirmed."""
        self._proved = 0
        """How many of those a later commit has proved."""

    def commit(self, connection: Connection) -> None:
        """Commits the connection's transaction. Raises StorageUnavailable if the standby does not confirm it."""
        doubted = self._doubted  # a commit that is doubted from here on may come later in the log than this one
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
