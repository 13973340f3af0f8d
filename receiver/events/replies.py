"""Reads what people wrote where that was not done when it was stored: by the previous version, which knows no columns.

It is part of the tidying of server and worker, so a migration looks into no row, and replies that an old process stores
beside a new one are read within seconds.

Inbound events of which nobody has read yet what a person wrote; see UNREAD.
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
from receiver.database.models import BLANK_REPLY, UNREAD, StoredEvent
from receiver.errors import NotJSON, StorageUnavailable, place
from receiver.events.store import REPLY, columns_of
from receiver.log import get_logger

PAGE = 1000
"""Rows per transaction: short enough not to hold up receiving."""


def are_there_any(session: Session) -> bool:
    return session.execute(first_unread(limit=1)).first() is not None


def count_unread(session: Session) -> int:
    """How many there are, up to MOST."""
    return count(session, select(StoredEvent.pk).where(UNREAD).order_by(StoredEvent.pk))


def lock_unread(session: Session, *, limit: int) -> Sequence[tuple[int, str]]:
    """Keys and payloads, but of those that somebody else has locked, whom nothing here waits for."""
    found = first_unread(limit=limit).with_for_update(skip_locked=True)
    return [(pk, payload) for pk, payload in session.execute(found)]


def first_unread(*, limit: int) -> Select[int, str]:
    return select(StoredEvent.pk, StoredEvent.payload).where(UNREAD).order_by(StoredEvent.pk).limit(limit)


def write_replies(session: Session, replies: Mapping[int, Reply | None]) -> None:
    """Makes the events with these keys show what was read; nothing where there was nothing to be read."""
    rows = [{"pk": pk, **(columns_of(reply) if reply else BLANK_REPLY)} for pk, reply in replies.items()]
    connection = session.connection()
    connection.execute(_set_replies(connection.dialect.name), parameter(rows))


@cache
def _set_replies(dialect: str) -> Update:
    given = rows_of(dialect, StoredEvent.pk, *(StoredEvent.__table__.c[name] for name in REPLY))
    return update(StoredEvent).where(StoredEvent.pk == given.c.pk).values({name: given.c[name] for name in REPLY})


log = get_logger(__name__)

EVERY_SECONDS = 10
BETWEEN_SECONDS = 0.02
"""How long others have their turn between two transactions."""


def read_page(database: Database) -> int:
    """Reads the first thousand that are unread, in one transaction; returns how many there were."""
    with database.read() as session:
        if not are_there_any(session):
            return 0
    return database.write(_read_page)


def _read_page(session: Session) -> int:
    unread = lock_unread(session, limit=PAGE)
    write_replies(session, {pk: read(payload) for pk, payload in unread})
    return len(unread)


def read(payload: str) -> Reply | None:
    """What the payload of an inbound event says; None if it says nothing any more, because it was redacted."""
    try:
        [element] = parse_kept(payload, whole_body=False)
    except (NotJSON, ValueError):  # nothing that was ever stored as an event; it must not be looked at for ever
        return None
    return element.reply if isinstance(element, Event) else None


class Reader:
    """A thread that reads whatever is unread, now and every ten seconds, until it is closed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Returns when the transaction under way has ended."""
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
        except Exception as error:  # noqa: BLE001 - it is tried again; nothing is lost meanwhile
            if not isinstance(error, StorageUnavailable):  # that is said once, however many find out
                log.error("replies cannot be read", error=type(error).__name__, place=place(error))  # noqa: TRY400
            return 0
