"""Engines of either database, and how their connections and transactions begin. Nothing is read at import.

Prepares statements only where nobody stands between the program and PostgreSQL.

What is prepared belongs to a session of the server. A pooler such as PgBouncer hands sessions round, so the statement
of that name would be missing, or another client's.

Ends waiting for a server that is silent: frozen, or behind a network that swallows everything.

PostgreSQL's own time-outs are of no use then, because it is PostgreSQL that would have to notice; and the driver waits
for ever. So each connection in use has a deadline, at which its socket is shut down, and the driver hears an error.
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

from receiver.database.commits import UNCONFIRMED, hear_warnings
from receiver.errors import StorageUnavailable

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


class Connected(Protocol):
    """A driver's connection."""

    def fileno(self) -> int: ...


class Watchdog:
    """Watches any number of connections with one thread, which is started by the first."""

    def __init__(self) -> None:
        self._watched: dict[object, tuple[float, Connected]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._looks_at = float("inf")
        """When the thread looks next; being woken for every transaction would cost more than the transaction."""

    @contextmanager
    def watching(self, connection: Connected, *, until: float) -> Iterator[None]:
        """Cuts the connection if this block still runs at ``until``, in seconds of time.monotonic().

        The block must end before the connection goes back to its pool, where it may become another's.
        """
        watch = object()
        with self._changed:
            self._watched[watch] = (until, connection)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            if until < self._looks_at:
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
                        _cut(connection)
                        self._watched[watch] = (float("inf"), connection)
                self._looks_at = min((until for until, _ in self._watched.values()), default=float("inf"))
                self._changed.wait(min(self._looks_at - now, threading.TIMEOUT_MAX))


def _cut(connection: Connected) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as its_socket:
        its_socket.shutdown(socket.SHUT_RDWR)


BUSY_SECONDS = 5
"""How long a statement may take, waiting for others included; Bandwidth gives a callback 10 s in all."""

POOL_SECONDS = 2
"""How long to wait for a free connection."""

GIVE_UP_SECONDS = 7
"""When a transaction is cut off although the server is silent; together with POOL_SECONDS less than 10."""


def is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def where(url: str) -> str:
    """Which database the URL means, as messages name it: its kind, its file or its name and host, and no secret."""
    parts = make_url(url)
    if is_sqlite(url):
        return f"SQLite file {Path(parts.database or '').absolute()}"
    hosts = parts.normalized_query.get("host") or (parts.host or os.environ.get("PGHOST") or "the local socket",)
    name = parts.database or os.environ.get("PGDATABASE") or parts.username or ""
    port = f":{parts.port}" if parts.port else ""
    return " ".join(filter(None, ("PostgreSQL database", name, "at", ", ".join(hosts) + port)))


def make_engine(url: str, **options: Any) -> Engine:
    """An engine for either database; parameters never appear in its errors, because they hold numbers and text."""
    if is_sqlite(url):
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "checkout", _check_file)
        return engine
    # Whatever the environment or the role would have, texts come as texts and whole, also of a database in SQL_ASCII.
    arguments = {"connect_timeout": 3, "prepare_threshold": NEVER, "client_encoding": "UTF8"}
    engine = create_engine(url, hide_parameters=True, connect_args=arguments, **options)
    event.listen(engine, "connect", hear_warnings)
    return engine


def make_pooled_engine(url: str, *, connections: int) -> Engine:
    """The same with at most so many connections, for what must neither wait for ever nor create a file."""
    engine = make_engine(url, pool_size=connections, max_overflow=0, pool_timeout=POOL_SECONDS)
    if is_sqlite(url):
        event.listen(engine, "do_connect", _open_only)
    else:
        event.listen(engine, "connect", _prepare_postgres)
        event.listen(engine, "begin", _begin_postgres)
    return engine


def _prepare_postgres(connection: Any, record: Any) -> None:
    connection.autocommit = True  # the driver must not begin transactions of its own
    record.info["is_new"] = True


def _begin_postgres(connection: Connection) -> None:
    """Begins a transaction with its settings, in one journey to the server.

    They are the transaction's and not the session's, because a pooler such as PgBouncer hands sessions round.
    """
    connection.info.pop(UNCONFIRMED, None)
    writes = connection.get_execution_options().get("writes", False)
    begin = _BEGIN_WRITING if writes else _BEGIN_READING
    connection.exec_driver_sql(begin, execution_options={"no_parameters": True})
    if connection.info.pop("is_new", False):
        prepare_if_direct(connection)


_SETTINGS = "; ".join(
    f"SET LOCAL {name} = {value}"
    for name, value in {
        "statement_timeout": f"'{BUSY_SECONDS}s'",
        "lock_timeout": f"'{BUSY_SECONDS}s'",
        # A process that was frozen, or whose host is gone, gives its locks back.
        "idle_in_transaction_session_timeout": f"'{GIVE_UP_SECONDS}s'",
        # A few rows are looked up among very many, by their index.
        "random_page_cost": "1.1",
    }.items()
)
# What is written is looked up again and again, so it is planned once; what is read is planned as its values demand,
# because a status may be that of nearly all recipients or of none.
_BEGIN_WRITING = f"BEGIN; {_SETTINGS}; SET LOCAL plan_cache_mode = force_generic_plan"
_BEGIN_READING = (
    f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_SETTINGS}; SET LOCAL plan_cache_mode = force_custom_plan"
)


def _open_only(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
    """Only a migration creates a file. A new one in the place of one that was moved away for a while would make SQLite
    throw away what is in the log beside it, and with it events that were answered 200."""
    path = Path(arguments[0])
    if path.parent.exists() and not path.exists():
        reason = "there is no such file; run `receiver migrate`, or put it back"
        raise StorageUnavailable(f"The database is not there: {reason}.", reason=reason)
    arguments[0] = f"file:{quote(arguments[0])}?mode=rw"
    options["uri"] = True


def _prepare_sqlite(connection: Any, record: Any) -> None:
    record.info["path"] = connection.execute("PRAGMA database_list").fetchone()[2]
    record.info["file"] = _file_at(record.info["path"])
    connection.isolation_level = None  # the driver must not begin transactions of its own
    connection.create_function("unhex", 1, _unhex, deterministic=True)  # SQLite has it since 3.41 only
    # secure_delete, which some builds of SQLite have off: what is purged is overwritten, not only forgotten.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _unhex(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)


def _check_file(_connection: Any, record: Any, _proxy: object) -> None:
    """A file that was deleted, or replaced by a restored backup, would go on taking what nobody can read."""
    if record.info["file"] != _file_at(record.info["path"]):
        raise DisconnectionError("The database file was replaced.")


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _begin_sqlite(connection: Connection) -> None:
    # A write transaction that begins as a reader cannot wait its turn: SQLite refuses to upgrade it.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
