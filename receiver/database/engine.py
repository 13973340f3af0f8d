"""Engines for PostgreSQL and SQLite: how their connections and transactions begin, and how a silent server is left.

Nothing is read or opened at import.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError

from receiver.database.commits import UNCONFIRMED, mark_unconfirmed
from receiver.errors import StorageUnavailable

BUSY_SECONDS = 5
"""How long a statement may take, its wait for locks included; Bandwidth allows a callback 10 s in all."""

POOL_SECONDS = 2
"""How long to wait for a free connection."""

GIVE_UP_SECONDS = 7
"""After how long a transaction is cut off if the server is silent; together with POOL_SECONDS less than 10."""

NEVER, AFTER = None, 5
"""After how many uses of a statement the driver prepares it (psycopg, "Prepared statements")."""


def is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def where(url: str) -> str:
    """Names the database of a URL for messages: its kind, and its file or its name and host; never a secret."""
    parts = make_url(url)
    if is_sqlite(url):
        return f"SQLite file {Path(parts.database or '').absolute()}"
    hosts = parts.normalized_query.get("host") or (parts.host or os.environ.get("PGHOST") or "the local socket",)
    name = parts.database or os.environ.get("PGDATABASE") or parts.username or ""
    port = f":{parts.port}" if parts.port else ""
    return " ".join(filter(None, ("PostgreSQL database", name, "at", ", ".join(hosts) + port)))


def make_engine(url: str, **options: Any) -> Engine:
    """An engine for either database. Its errors hide parameters, which hold telephone numbers and texts."""
    if is_sqlite(url):
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS}, **options)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "checkout", _check_file)
        return engine
    # Neither the environment nor the role may change the encoding: text is UTF-8 even in a database in SQL_ASCII.
    arguments = {"connect_timeout": 3, "prepare_threshold": NEVER, "client_encoding": "UTF8"}
    engine = create_engine(url, hide_parameters=True, connect_args=arguments, **options)
    event.listen(engine, "connect", mark_unconfirmed)
    return engine


def make_pooled_engine(url: str, *, connections: int) -> Engine:
    """An engine with at most so many connections, which neither waits for ever nor creates an SQLite file."""
    engine = make_engine(url, pool_size=connections, max_overflow=0, pool_timeout=POOL_SECONDS)
    if is_sqlite(url):
        event.listen(engine, "do_connect", _open_only)
    else:
        event.listen(engine, "connect", _configure_postgres)
        event.listen(engine, "begin", _begin_postgres)
    return engine


def _configure_postgres(connection: Any, record: Any) -> None:
    connection.autocommit = True  # the driver must not begin transactions of its own
    record.info["is_new"] = True


def _begin_postgres(connection: Connection) -> None:
    """Begins a transaction with its settings, in one round trip to the server.

    The settings are local to the transaction, because a pooler such as PgBouncer shares sessions between clients.
    """
    connection.info.pop(UNCONFIRMED, None)
    writes = connection.get_execution_options().get("writes", False)
    begin = _BEGIN_WRITING if writes else _BEGIN_READING
    connection.exec_driver_sql(begin, execution_options={"no_parameters": True})
    if connection.info.pop("is_new", False):
        _prepare_if_direct(connection)


_SETTINGS = {
    "statement_timeout": f"{BUSY_SECONDS}s",
    "lock_timeout": f"{BUSY_SECONDS}s",
    # A process that is frozen, or whose host is gone, releases its locks.
    "idle_in_transaction_session_timeout": f"{GIVE_UP_SECONDS}s",
    # A few rows are looked up among very many, by their index.
    "random_page_cost": "1.1",
}
# The same writes run again and again, so they are planned once. A read is planned for its values, because a status may
# be that of nearly all recipients or of none.
WRITE_SETTINGS = _SETTINGS | {"plan_cache_mode": "force_generic_plan"}
_READ_SETTINGS = _SETTINGS | {"plan_cache_mode": "force_custom_plan"}

_BEGIN_WRITING = "; ".join(["BEGIN", *(f"SET LOCAL {n} = '{value}'" for n, value in WRITE_SETTINGS.items())])
_BEGIN_READING = "; ".join(
    [
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        *(f"SET LOCAL {n} = '{value}'" for n, value in _READ_SETTINGS.items()),
    ]
)


def _prepare_if_direct(connection: Connection) -> None:
    """Lets the driver prepare statements if no pooler stands between it and the server. Needs a transaction.

    A prepared statement belongs to a session of the server. A pooler such as PgBouncer shares sessions between clients,
    so a statement of that name would be missing, or another client's. A pooler cannot know in advance which session a
    client will get, so the process id that it reports to the client is not the server's.
    """
    driver: Any = connection.connection.driver_connection
    server_pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    driver.prepare_threshold = AFTER if server_pid == driver.info.backend_pid else NEVER


def _open_only(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
    """Opens an existing SQLite file only; raises StorageUnavailable if there is none.

    Only a migration creates a file. If a file was moved away for a while and a new one took its place, SQLite would
    discard the log beside it, and with it events that were answered 200.
    """
    path = Path(arguments[0])
    if path.parent.exists() and not path.exists():
        reason = "there is no such file; run `receiver migrate`, or restore it"
        raise StorageUnavailable(f"The database does not exist: {reason}.", reason=reason)
    arguments[0] = f"file:{quote(arguments[0])}?mode=rw"
    options["uri"] = True


def _configure_sqlite(connection: Any, record: Any) -> None:
    record.info["path"] = connection.execute("PRAGMA database_list").fetchone()[2]
    record.info["file"] = _file_at(record.info["path"])
    connection.isolation_level = None  # the driver must not begin transactions of its own
    connection.create_function("unhex", 1, _unhex, deterministic=True)  # built in only since SQLite 3.41
    # Some builds of SQLite disable secure_delete; with it, purged data is overwritten and not only unlinked.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _unhex(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)


def _begin_sqlite(connection: Connection) -> None:
    # A write transaction that begins as a reader cannot wait for its turn: SQLite refuses to upgrade it.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _check_file(_connection: Any, record: Any, _proxy: object) -> None:
    """Discards a connection whose file was deleted or replaced by a restored backup: its writes would be lost."""
    if record.info["file"] != _file_at(record.info["path"]):
        raise DisconnectionError("The database file was replaced.")


def _file_at(path: str) -> tuple[int, int] | None:
    """The device and inode of a file; None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _HasSocket(Protocol):
    """A driver's connection that has a socket."""

    def fileno(self) -> int: ...


class Watchdog:
    """Gives each connection in use a deadline, at which its socket is shut down and the driver gets an error.

    A server that is frozen (SIGSTOP, a stalled virtual machine or disk) still acknowledges packets, so neither TCP
    keepalives nor ``tcp_user_timeout`` notice it; its own time-outs do not run; and the driver waits for ever. One
    thread watches any number of connections; the first of them starts it.
    """

    def __init__(self) -> None:
        self._watched: dict[object, tuple[float, _HasSocket]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = float("inf")
        """When the thread wakes next; to wake it for every transaction would cost more than the transaction."""

    @contextmanager
    def watching(self, connection: _HasSocket, *, until: float) -> Iterator[None]:
        """Shuts the connection down if this block still runs at ``until``, in seconds of time.monotonic().

        The block must end before the connection returns to its pool, from which another thread may take it.
        """
        watch = object()
        with self._changed:
            self._watched[watch] = (until, connection)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            if until < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._watched[watch]

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for watch, (until, connection) in list(self._watched.items()):
                    if until <= now:
                        _shut_down(connection)
                        self._watched[watch] = (float("inf"), connection)
                self._wakes_at = min((until for until, _ in self._watched.values()), default=float("inf"))
                self._changed.wait(min(self._wakes_at - now, threading.TIMEOUT_MAX))


def _shut_down(connection: _HasSocket) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
