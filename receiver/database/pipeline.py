"""Runs one statement in one round trip to PostgreSQL: its settings, the statement and the commit travel together.

A transaction of database.py makes a round trip for BEGIN, for each statement and for COMMIT, and SQLAlchemy's machinery
costs more than a short statement does. This uses libpq's pipeline mode through psycopg.pq
(postgresql.org/docs/current/libpq-pipeline-mode.html): everything up to a Sync is one transaction, which the Sync
commits, or rolls back if anything in it failed.
"""

import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from receiver.database.commits import UNCONFIRMED, unconfirmed
from receiver.database.database import Database
from receiver.database.engine import GIVE_UP_SECONDS, WRITE_SETTINGS

REFUSALS = ("0A", "22", "23", "26", "40", "42")
"""Classes of SQLSTATE with which a server refuses a statement and goes on (PostgreSQL, "Error Codes"): features, data,
constraints, missing prepared statements, conflicts with other transactions, names. Rows that are stored in another way
may pass. After any other error, such as a time-out, they would fail again."""

DIRECT, NAMES = "direct", "names"
"""Keys in a connection's ``info``: whether no pooler stands between it and the server, and the names of the statements
that are prepared, by their SQL."""

_SETTINGS = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in WRITE_SETTINGS.items())
_SETTINGS_SQL = f"SELECT pg_backend_pid(), {_SETTINGS}".encode()
"""Settings local to the transaction, because a pooler shares sessions between clients; and which process runs it."""


class StatementRefused(Exception):
    """PostgreSQL refused the statement, and nothing was stored."""


@dataclass(slots=True)
class Pipeline:
    """One statement of PostgreSQL, which must write whenever it returns anything but null.

    Its connection comes from the pool of a Database, so it is made and counted like all others. With ``keeps`` it is
    kept between runs, because taking it from the pool costs as much as all the rest of a run; then only one thread at a
    time may use it. After a failure it is not used again.
    """

    database: Database
    sql: str
    """Its parameters are $1 and so on."""
    keeps: bool = field(default=True, kw_only=True)
    _kept: PoolProxiedConnection | None = field(default=None, init=False)

    def run(self, *parameters: bytes) -> bytes:
        """Runs the statement in a transaction of its own; returns the only value of its result once that is durable.

        An empty value stands for null. Raises StatementRefused if nothing was stored and another way of storing it may
        succeed. Raises StorageUnavailable within 10 seconds if nothing was stored or, ``in_doubt``, if that is not
        known.
        """
        until = time.monotonic() + GIVE_UP_SECONDS
        try:
            connection = self._connect()
        except (SQLAlchemyError, psycopg.Error) as error:
            raise self.database.unavailable(error) from error
        try:
            value = _exchange(connection, self.sql.encode(), parameters, until=until)
        except StatementRefused:
            connection.invalidate()
            raise
        except psycopg.Error as error:
            connection.invalidate()
            failure = self.database.unavailable(error)
            failure.in_doubt = True
            raise failure from error
        is_unconfirmed, outage = UNCONFIRMED in connection.info, self.database.outage
        if self.keeps:
            self._kept = connection
        else:
            connection.close()
        if is_unconfirmed:
            failure = unconfirmed()
            outage.note_failure(type(failure).__name__, failure.reason)
            raise failure
        if outage.began is not None:
            outage.note_success()
        return value

    def _connect(self) -> PoolProxiedConnection:
        """A connection that the server has not ended while it was idle: the kept one, or one from the pool."""
        connection, self._kept = self._kept, None
        while True:
            connection = connection or self.database.engine.raw_connection()
            connection.info.pop(UNCONFIRMED, None)
            readable = select.poll()
            driver: Any = connection.driver_connection
            readable.register(driver.fileno(), select.POLLIN)
            if not readable.poll(0):
                return connection
            connection.invalidate()  # what arrives on an idle connection is its end
            connection = None

    def release(self) -> None:
        """Gives the connection back to its pool, for transactions of other kinds."""
        connection, self._kept = self._kept, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _exchange(connection: PoolProxiedConnection, sql: bytes, parameters: Sequence[bytes], *, until: float) -> bytes:
    """Sends everything, and returns the statement's value once the server has committed.

    Raises StatementRefused, or psycopg.Error for every other error.
    """
    driver: Any = connection.driver_connection
    pgconn: PGconn = driver.pgconn
    info = connection.info
    pgconn.enter_pipeline_mode()
    if not info.get(DIRECT):
        pgconn.send_query_params(_SETTINGS_SQL, None)
        pgconn.send_query_params(sql, parameters)
    else:
        names: dict[bytes, bytes] = info.setdefault(NAMES, {})
        for each in (_SETTINGS_SQL, sql):
            if each not in names:
                names[each] = b"receiver_%d" % len(names)
                pgconn.send_prepare(names[each], each)
        pgconn.send_query_prepared(names[_SETTINGS_SQL], None)
        pgconn.send_query_prepared(names[sql], parameters)
    pgconn.pipeline_sync()
    pid, value = _values(pgconn, until)
    pgconn.exit_pipeline_mode()
    # A pooler cannot know in advance which session a client will get, so the process id that it reports is another.
    info[DIRECT] = int(pid) == pgconn.backend_pid
    return value


def _values(pgconn: PGconn, until: float) -> list[bytes]:
    """The first value of each result that has rows, once the server has committed."""
    values: list[bytes] = []
    is_sent, waiting = False, select.poll()
    while True:
        is_sent = is_sent or not pgconn.flush()  # it writes without blocking
        while is_sent and not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:  # the end of a statement's results
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return values
            if result.status == ExecStatus.TUPLES_OK:
                values.append(result.get_value(0, 0) or b"")
            elif result.status != ExecStatus.COMMAND_OK:
                raise _error(result)
        # The server may have to be read from before it reads on.
        waiting.register(pgconn.socket, select.POLLIN if is_sent else select.POLLIN | select.POLLOUT)
        if not waiting.poll(max(0, until - time.monotonic()) * 1000):
            raise psycopg.OperationalError("the server does not respond")
        pgconn.consume_input()


def _error(result: PGresult) -> Exception:
    sqlstate = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
    if sqlstate[:2] in REFUSALS:
        return StatementRefused(sqlstate)
    # Only its first sentence: in further ones PostgreSQL quotes values of the row, such as telephone numbers.
    sentence = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or result.error_message.partition(b"\n")[0]
    return psycopg.OperationalError(sentence.decode("utf-8", "replace"))
