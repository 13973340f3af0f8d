"""The database, and the two ways to use it: one write transaction, and one consistent read.

An outage is logged once when it begins and once when it ends, however many transactions fail meanwhile.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Self, TypeVar

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.database.commits import Commits
from receiver.database.engine import GIVE_UP_SECONDS, Watchdog, is_sqlite, make_pooled_engine, where
from receiver.errors import StorageRefused, StorageUnavailable
from receiver.log import get_logger

__all__ = ["Database", "Session"]

log = get_logger(__name__)

CONNECTIONS = 9
"""The most connections open at a time; with the one that a process keeps for its callbacks they are ten."""

TURN_SECONDS = 3
"""How long a writer to SQLite waits for the other writers of its process."""

ATTEMPTS = 3
"""How often a transaction is tried if the database aborts it in favour of another."""

SETTLED_SECONDS = 1.0
"""How long nothing may have failed before an outage counts as over: failures of every second transaction are one."""

_CONFLICTS = {"40001", "40P01", "23503"}
"""serialization_failure, deadlock_detected, foreign_key_violation (PostgreSQL, "Error Codes"). The last occurs when a
message is purged between the look-up and the insert of an event about it; the retry finds that it is gone."""

_READ_ONLY = "25006"
"""read_only_sql_transaction: the server was a standby, or short of space, when the session began. A new session may
reach a better one."""

Returned = TypeVar("Returned")


class Database:
    """One engine, and the two ways to use it. Safe to share between threads.

    Retries are plain loops: each has a deadline, and its last error is translated. Tenacity would add a wrapper, and
    these loops would remain.
    """

    def __init__(self, url: str, *, connections: int = CONNECTIONS) -> None:
        self.engine = make_pooled_engine(url, connections=connections)
        self.where = where(url)
        """Names the database in messages: its file, or its name and host."""
        self.reads_views_only = False
        """Whether the role may read nothing but the support views; set by the caller that finds out."""
        self.is_sqlite = is_sqlite(url)
        self._turn: AbstractContextManager[object] = WritersTurn() if self.is_sqlite else nullcontext()
        self._watchdog = Watchdog()
        self.outage = Outage(self.where)
        self._commits = Commits()
        self._writing = self.engine.execution_options(writes=True)

    def write(self, work: Callable[[Session], Returned]) -> Returned:
        """Runs ``work`` in a write transaction and returns its result once the transaction is durable.

        ``work`` runs again if its transaction lost to another one. Raises StorageUnavailable within 10 seconds if the
        transaction was not stored, or if that is not known: the result of the commit was lost, or the standby has not
        confirmed it.
        """
        give_up = time.monotonic() + GIVE_UP_SECONDS
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                with self._turn, self._session(self._writing, until=give_up) as session:
                    return work(session)
            except StorageUnavailable as error:
                self.outage.note_failure(type(error).__name__, error.reason or str(error))
                raise
            except SQLAlchemyError as error:
                lost_to_another = isinstance(error, DBAPIError) and _sqlstate(error) in _CONFLICTS
                if not attempts_left or not lost_to_another or time.monotonic() >= give_up:
                    raise self.unavailable(error) from error
                time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - lets the winner pass
        raise AssertionError("unreachable")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database, whatever is written meanwhile.

        Raises StorageUnavailable within 10 seconds if the database does not respond.
        """
        try:
            with self._session(self.engine, until=time.monotonic() + GIVE_UP_SECONDS) as session:
                yield session
        except StorageUnavailable as error:
            self.outage.note_failure(type(error).__name__, error.reason or str(error))
            raise
        except SQLAlchemyError as error:
            raise self.unavailable(error) from error

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _session(self, engine: Engine, *, until: float) -> Iterator[Session]:
        """A session whose transaction is committed at the end, and cut off if it lasts longer than ``until``."""
        for attempts_left in reversed(range(ATTEMPTS)):
            with ExitStack() as stack:
                connection = stack.enter_context(engine.connect())
                if not self.is_sqlite:
                    driver: Any = connection.connection.driver_connection
                    stack.enter_context(self._watchdog.watching(driver, until=until))
                try:
                    connection.begin()
                except DBAPIError as error:
                    # The server ended it while it was idle. Nothing was lost, and the next connection will be new.
                    if error.connection_invalidated and attempts_left and time.monotonic() < until:
                        continue
                    raise
                session = stack.enter_context(Session(connection, expire_on_commit=False))
                try:
                    yield session
                except DBAPIError as error:
                    if _sqlstate(error) == _READ_ONLY:
                        connection.invalidate()
                    raise
                session.commit()
                # The transaction began before the session, so the connection commits it.
                if engine is self._writing:
                    self._commits.commit(connection)
                else:
                    connection.commit()
                self.outage.note_success()
                return

    def unavailable(self, error: SQLAlchemyError | psycopg.Error) -> StorageUnavailable:
        """Returns the exception to raise instead of this one, and logs it."""
        cause = getattr(error, "orig", None) or error
        if isinstance(error, DataError | IntegrityError | psycopg.DataError | psycopg.IntegrityError):
            # Even the first line of such an error may quote a value.
            constraint = getattr(getattr(cause, "diag", None), "constraint_name", None)
            log.error("row refused by the database", error=type(cause).__name__, constraint=constraint)
            return StorageRefused(reason=type(cause).__name__, database=self.where)
        # Only the first line: in the lines below it PostgreSQL quotes values of the row, such as telephone numbers.
        reason = str(cause).partition("\n")[0]
        self.outage.note_failure(type(cause).__name__, reason)
        return StorageUnavailable(reason=reason, database=self.where)


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


class WritersTurn:
    """The one writer that SQLite has at a time.

    A thread that waits here is woken; in SQLite's busy loop it sleeps longer and longer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Raises StorageUnavailable if the turn does not come in TURN_SECONDS."""
        if not self._lock.acquire(timeout=TURN_SECONDS):
            raise StorageUnavailable("The database is busy; try again.")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Outage:
    """Whether the database is unavailable to this process; shared by its threads."""

    def __init__(self, database: str | None = None) -> None:
        self._database = database
        self._lock = threading.Lock()
        self.began: float | None = None
        self._last_failure = 0.0
        self._failed = 0

    def note_failure(self, error: str, reason: str) -> None:
        """``error`` is the exception's class; ``reason`` is the database's own sentence, and quotes no value."""
        with self._lock:
            self._last_failure = time.monotonic()
            self._failed += 1
            if self.began is None:
                self.began = self._last_failure
                log.error("database unavailable", error=error, reason=reason, database=self._database)

    def note_success(self) -> None:
        if self.began is None:  # as nearly always
            return
        with self._lock:
            now = time.monotonic()
            if self.began is None or now - self._last_failure < SETTLED_SECONDS:
                return
            log.warning("database available again", seconds=round(now - self.began, 1), failed=self._failed)
            self.began, self._failed = None, 0
