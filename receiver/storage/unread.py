"""Inbound events of which nobody has read yet what a person wrote; see UNREAD."""

from collections.abc import Mapping, Sequence
from functools import cache

from sqlalchemy import Select, Update, select, update
from sqlalchemy.orm import Session

from receiver.core.events import Reply
from receiver.database.json_rows import parameter, rows_of
from receiver.database.models import UNREAD, StoredEvent
from receiver.storage.figures import count
from receiver.storage.redacting import BLANK_REPLY
from receiver.storage.upserting import REPLY, columns_of

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
