"""The two ways to use the database: one write transaction, and one consistent read.

Says once that the database does not answer, and once that it does again, however many ask meanwhile.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.database.commits import Commits
from receiver.database.engine import GIVE_UP_SECONDS, Watchdog, is_sqlite, make_pooled_engine, where
from receiver.errors import StorageRefused, StorageUnavailable
from receiver.log import get_logger

log = get_logger(__name__)

SETTLED_SECONDS = 1.0
"""How long nothing may have failed before an outage counts as over: one of every second transaction is one outage."""


class Outage:
    """Whether the database answers this process; shared by its threads."""

    def __init__(self, database: str | None = None) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last = 0.0
        self._failed = 0

    def note_failure(self, error: str, reason: str) -> None:
        """``reason`` is the database's own, and quotes no value."""
        with self._lock:
            self._last = time.monotonic()
            self._failed += 1
            if self._since is None:
                self._since = self._last
                log.error("the database does not answer", error=error, reason=reason, database=self._database)

    def note_success(self) -> None:
        if self._since is None:  # as nearly always
            return
        with self._lock:
            now = time.monotonic()
            if self._since is None or now - self._last < SETTLED_SECONDS:
                return
            log.warning("the database answers again", seconds=round(now - self._since, 1), failed=self._failed)
            self._since, self._failed = None, 0


__all__ = ["Database", "Session"]

TURN_SECONDS = 3
"""How long to wait for this process's other writers to SQLite."""

CONNECTIONS = 9
"""At most at the same time; with the one that a process keeps for its callbacks they are ten."""

ATTEMPTS = 3
"""How often a transaction is tried that the database ended for the sake of another."""

_CONFLICTS = {"40001", "40P01", "23503"}
"""serialization_failure, deadlock_detected, foreign_key_violation (PostgreSQL, "Error Codes"). The last is a message
that was purged between the look-up and the event about it, which finds it gone the next time."""

_READ_ONLY = "25006"
"""read_only_sql_transaction: the server was a standby or short of space when the session began, and a new session may
be a better one."""

Result = TypeVar("Result")


class Database:
    """One engine, and the two ways to use it. Safe to share between threads."""

    def __init__(self, url: str, *, connections: int = CONNECTIONS) -> None:
        self.engine = make_pooled_engine(url, connections=connections)
        self.where = where(url)
        """Which database it is, for messages: its file, or its name and host."""
        self.reads_views_only = False
        """Whether the role is one of support, which may read nothing but the views; who asks for reports finds out."""
        self._is_sqlite = is_sqlite(url)
        # SQLite has one writer at a time; who waits here is woken, who waits in its busy loop sleeps ever longer.
        self._writers_turn = threading.Lock()
        self._watchdog = Watchdog()
        self._outage = Outage(self.where)
        self._commits = Commits()
        self._writing = self.engine.execution_options(writes=True)

    def write(self, work: Callable[[Session], Result]) -> Result:
        """What ``work`` returns, after its transaction is durable. Tried again when it lost to another transaction.

        Raises StorageUnavailable within 10 seconds when it was not stored, or when nobody can tell whether it was: the
        commit was not heard of, or the standby has not confirmed it.
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
            # The transaction began before the session, and is the connection's.
            if engine is self._writing:
                self._commits.commit(connection)
            else:
                connection.commit()
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
            return StorageRefused(reason=type(cause).__name__, database=self.where)
        self._outage.note_failure(type(cause).__name__, reason)
        return StorageUnavailable(reason=reason, database=self.where)

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


def _lost_to_another(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and _sqlstate(error) in _CONFLICTS


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
