"""Reads what people wrote where that was not done when it was stored: by the previous version, which knows no columns.

It is part of the tidying of server and worker, so a migration looks into no row, and replies that an old process stores
beside a new one are read within seconds.
"""

import threading
from typing import Self

from receiver.bandwidth.callbacks import parse_kept
from receiver.core.events import Event, Reply
from receiver.database.database import Database, Session
from receiver.errors import NotJSON, StorageUnavailable, place
from receiver.log import get_logger
from receiver.storage.unread import PAGE, are_there_any, lock_unread, write_replies

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
