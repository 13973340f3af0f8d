"""Forces transactions to interleave: one is held before its commit while others are seen to wait for it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sqlalchemy import Connection, NullPool, create_engine, text

from receiver.database.database import Database, Session

PATIENCE = 60.0
"""Seconds; long, so that a busy machine does not fail a test."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class Held:
    """The work of a transaction that stops before its commit until it is released."""

    def __init__(self, work: Callable[[Session], object]) -> None:
        self._work = work
        self._reached, self._released = threading.Event(), threading.Event()

    def __call__(self, session: Session) -> None:
        self._work(session)
        session.flush()
        self._reached.set()
        assert self._released.wait(PATIENCE)

    def wait(self) -> None:
        """Returns when everything is written and nothing is committed."""
        assert self._reached.wait(PATIENCE)

    def release(self) -> None:
        self._released.set()


class Counted:
    """Work that counts how often it was begun: more than once means that its transaction was retried."""

    def __init__(self, work: Callable[[Session], object]) -> None:
        self._work = work
        self.begun = 0

    def __call__(self, session: Session) -> None:
        self.begun += 1
        self._work(session)


class Onlooker:
    """A session of its own that sees which sessions wait for a lock in this database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def waiting(self) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return int(self._connection.execute(text(query)).scalar_one())

    def wait_for(self, sessions: int) -> None:
        """Returns when that many sessions wait for a lock."""
        wait_until(lambda: self.waiting == sessions)


@contextmanager
def onlooker(url: str) -> Iterator[Onlooker]:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield Onlooker(connection)


@contextmanager
def locked(url: str, *statements: str) -> Iterator[Connection]:
    """Opens another transaction that holds what the statements lock; rolled back at the end."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
        yield connection


def one_waits_for_the_other(
    database: Database, first: Callable[[Session], object], second: Callable[[Session], object]
) -> None:
    """Runs both: ``first`` has written everything, ``second`` waits for it, then ``first`` commits."""
    held = Held(first)
    with onlooker(database.engine.url.render_as_string(hide_password=False)) as watching, threads() as pool:
        one = pool.submit(lambda: database.write(held))
        held.wait()
        other = pool.submit(lambda: database.write(second))
        try:
            watching.wait_for(1)
        finally:
            held.release()
        for each in (one, other):
            each.result(PATIENCE)


def threads() -> ThreadPoolExecutor:
    """A pool of threads; all work in it ends before its block does."""
    return ThreadPoolExecutor(max_workers=32)
