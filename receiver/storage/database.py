"""The connection to the database: one write transaction, one consistent read, and nothing read at import."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.errors import StorageRefused, StorageUnavailable
from receiver.logs import get_logger
from receiver.storage.outage import Outage
from receiver.storage.preparing import NEVER, prepare_if_direct
from receiver.storage.watchdog import Watchdog

__all__ = ["Database", "Session", "is_sqlite", "make_engine"]

log = get_logger(__name__)

BUSY_SECONDS = 5
"""How long a statement may take, waiting for others included; Bandwidth gives a callback 10 s in all."""

POOL_SECONDS, TURN_SECONDS = 2, 3
"""How long to wait for a free connection, and for this process's other writers to SQLite."""

CONNECTIONS = 9
"""At most at the same time; with the one that a process keeps for its callbacks they are ten."""

GIVE_UP_SECONDS = 7
"""When a transaction is cut off although the server is silent; together with POOL_SECONDS less than 10."""

ATTEMPTS = 3
"""How often a transaction is tried that the database ended for the sake of another."""

_CONFLICTS = {"40001", "40P01", "23503"}
"""serialization_failure, deadlock_detected, foreign_key_violation (PostgreSQL, "Error Codes"). The last is a message
that was purged between the look-up and the event about it, which finds it gone the next time."""

_READ_ONLY = "25006"
"""read_only_sql_transaction: the server was a standby or short of space when the session began, and a new session may
be a better one."""

Result = TypeVar("Result")


def is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def make_engine(url: str, **options: Any) -> Engine:
    """An engine for either database; parameters never appear in its errors, because they hold numbers and text."""
    if is_sqlite(url):
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "checkout", _check_file)
        return engine
    arguments = {"connect_timeout": 3, "prepare_threshold": NEVER}
    return create_engine(url, hide_parameters=True, connect_args=arguments, **options)


class Database:
    """One engine, and the two ways to use it. Safe to share between threads."""

    def __init__(self, url: str, *, connections: int = CONNECTIONS) -> None:
        self.engine = make_engine(url, pool_size=connections, max_overflow=0, pool_timeout=POOL_SECONDS)
        self._is_sqlite = is_sqlite(url)
        if self._is_sqlite:
            event.listen(self.engine, "do_connect", _open_only)
        else:
            event.listen(self.engine, "connect", _prepare_postgres)
            event.listen(self.engine, "begin", _begin_postgres)
        # SQLite has one writer at a time; who waits here is woken, who waits in its busy loop sleeps ever longer.
        self._writers_turn = threading.Lock()
        self._watchdog = Watchdog()
        self._outage = Outage()
        self._writing = self.engine.execution_options(writes=True)

    def write(self, work: Callable[[Session], Result]) -> Result:
        """What ``work`` returns, after its transaction is durable. Tried again when it lost to another transaction.

        Raises StorageUnavailable within 10 seconds when it was not stored, or when nobody can tell whether it was.
        """
        give_up = time.monotonic() + GIVE_UP_SECONDS
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                with self._turn(), self._session(self._writing, until=give_up) as session:
                    return work(session)
            except StorageUnavailable as error:
                self._outage.note_failure(type(error).__name__, error.reason or str(error))
                raise
            except SQLAlchemyError as error:
                if not attempts_left or not _lost_to_another(error) or time.monotonic() >= give_up:
                    raise self._unavailable(error) from error
                time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - lets the winner pass
        raise AssertionError("unreachable")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database, whatever is written meanwhile.

        Raises StorageUnavailable within 10 seconds when the database does not answer.
        """
        try:
            with self._session(self.engine, until=time.monotonic() + GIVE_UP_SECONDS) as session:
                yield session
        except StorageUnavailable as error:
            self._outage.note_failure(type(error).__name__, error.reason or str(error))
            raise
        except SQLAlchemyError as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _session(self, engine: Engine, *, until: float) -> Iterator[Session]:
        """A session whose transaction is committed at the end, and cut off if it lasts longer than ``until``."""
        with ExitStack() as stack:
            connection = self._connection(engine, stack, until=until)
            session = stack.enter_context(Session(connection, expire_on_commit=False))
            try:
                yield session
            except DBAPIError as error:
                if _sqlstate(error) == _READ_ONLY:
                    connection.invalidate()
                raise
            session.commit()
            connection.commit()  # the transaction began before the session, and is the connection's
            self._outage.note_success()

    def _connection(self, engine: Engine, stack: ExitStack, *, until: float) -> Connection:
        """A connection that works, and is watched for as long as the stack holds it."""
        for attempts_left in reversed(range(ATTEMPTS)):
            with ExitStack() as this_attempt:
                connection = this_attempt.enter_context(engine.connect())
                if not self._is_sqlite:
                    driver: Any = connection.connection.driver_connection
                    this_attempt.enter_context(self._watchdog.watching(driver, until=until))
                try:
                    connection.begin()
                except DBAPIError as error:
                    # While it was idle, somebody ended it; nothing was lost, and the next one will be new.
                    if error.connection_invalidated and attempts_left and time.monotonic() < until:
                        continue
                    raise
                stack.enter_context(this_attempt.pop_all())
                return connection
        raise AssertionError("unreachable")

    def _unavailable(self, error: SQLAlchemyError) -> StorageUnavailable:
        """What to raise instead; says it in the log, too."""
        cause = getattr(error, "orig", None) or error
        # Only the first line: PostgreSQL puts the values of the row, numbers among them, into the lines below.
        reason = str(cause).partition("\n")[0]
        if isinstance(error, DataError | IntegrityError):  # whose first line may quote a value, too
            constraint = getattr(getattr(cause, "diag", None), "constraint_name", None)
            log.error("the database refuses a row", error=type(cause).__name__, constraint=constraint)
            return StorageRefused(reason=type(cause).__name__)
        self._outage.note_failure(type(cause).__name__, reason)
        return StorageUnavailable(reason=reason)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._is_sqlite:
            yield
            return
        if not self._writers_turn.acquire(timeout=TURN_SECONDS):
            raise StorageUnavailable("The database is busy; try again.")
        try:
            yield
        finally:
            self._writers_turn.release()


def _prepare_postgres(connection: Any, record: Any) -> None:
    connection.autocommit = True  # the driver must not begin transactions of its own
    record.info["is_new"] = True


def _begin_postgres(connection: Connection) -> None:
    """Begins a transaction with its settings, in one journey to the server.

    They are the transaction's and not the session's, because a pooler such as PgBouncer hands sessions round.
    """
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


def _lost_to_another(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and _sqlstate(error) in _CONFLICTS


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
