"""Replies that people sent to us, read from the payloads of events that were stored unparsed by the previous version.

The previous version has no columns for them. Reading is part of the tidying of server and worker, so a migration reads
no row, and what an old process stores beside a new one is read within seconds. UNPARSED in database/models says which
events are unparsed.
"""

import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Self

from sqlalchemy import Select, Update, select, update
from sqlalchemy.orm import Session

from receiver.bandwidth.callbacks import parse_kept
from receiver.core.events import Event, Reply
from receiver.database.database import Database
from receiver.database.json_rows import parameter, rows_of
from receiver.database.lookup import count
from receiver.database.models import BLANK_REPLY, UNPARSED, StoredEvent
from receiver.errors import NotJSON, StorageUnavailable, locate
from receiver.events.store import REPLY, columns_of
from receiver.log import get_logger

log = get_logger(__name__)

PAGE = 1000
"""Rows per transaction: short enough not to hold up receiving."""

EVERY_SECONDS = 10
"""How often unparsed events are looked for."""

BETWEEN_SECONDS = 0.02
"""The pause between two transactions, in which others have their turn."""


def count_unparsed(session: Session) -> int:
    """Counts the unparsed events, up to the MOST of database/lookup."""
    return count(session, select(StoredEvent.pk).where(UNPARSED).order_by(StoredEvent.pk))


def read_page(database: Database) -> int:
    """Reads the first thousand unparsed events in one transaction; returns how many there were."""
    with database.read() as session:
        if session.execute(first_unparsed(limit=1)).first() is None:
            return 0
    return database.write(_read_page)


def first_unparsed(*, limit: int) -> Select[int, str]:
    """Selects key and payload of the first unparsed events."""
    return select(StoredEvent.pk, StoredEvent.payload).where(UNPARSED).order_by(StoredEvent.pk).limit(limit)


def lock_unparsed(session: Session, *, limit: int) -> Sequence[tuple[int, str]]:
    """Locks the first unparsed events that no other transaction has locked; returns their keys and payloads."""
    found = first_unparsed(limit=limit).with_for_update(skip_locked=True)
    return [(pk, payload) for pk, payload in session.execute(found)]


def _read_page(session: Session) -> int:
    unparsed = lock_unparsed(session, limit=PAGE)
    write_replies(session, {pk: read(payload) for pk, payload in unparsed})
    return len(unparsed)


def read(payload: str) -> Reply | None:
    """Returns the reply in the payload of an inbound event; None if the payload was redacted."""
    try:
        [element] = parse_kept(payload, whole_body=False)
    except (NotJSON, ValueError):  # never stored as an event by us; it must not be tried for ever
        return None
    return element.reply if isinstance(element, Event) else None


def write_replies(session: Session, replies: Mapping[int, Reply | None]) -> None:
    """Stores the replies of the events with these keys. An event without one gets blank columns and counts as read."""
    rows = [{"pk": pk, **(columns_of(reply) if reply else BLANK_REPLY)} for pk, reply in replies.items()]
    connection = session.connection()
    connection.execute(_set_replies(connection.dialect.name), parameter(rows))


@cache
def _set_replies(dialect: str) -> Update:
    given = rows_of(dialect, StoredEvent.pk, *(StoredEvent.__table__.c[name] for name in REPLY))
    return update(StoredEvent).where(StoredEvent.pk == given.c.pk).values({name: given.c[name] for name in REPLY})


class ReplyReader:
    """A thread that reads all unparsed events, at once and every ten seconds, until it is closed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Waits for the end of the transaction under way."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        done = 0
        while not self._closing.is_set():
            found = self._read_page()
            done += found
            if done and not found:
                log.info("replies read", replies=done)
                done = 0
            self._closing.wait(BETWEEN_SECONDS if found else EVERY_SECONDS)

    def _read_page(self) -> int:
        try:
            return read_page(self._database)
        except Exception as error:  # noqa: BLE001 - it is tried again, and nothing is lost meanwhile
            if not isinstance(error, StorageUnavailable):  # the database module logs that once
                log.error("replies cannot be read", error=type(error).__name__, place=locate(error))  # noqa: TRY400
            return 0
