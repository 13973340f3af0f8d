"""Links: which message a message id stands for, and which events were stored before that was known.

Everything here runs inside one write transaction of the caller. The SQL is in store.sql.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from receiver.core.tags import is_tag
from receiver.database.json_rows import instant, statements
from receiver.events.outcomes import Linked, to_event
from receiver.log import get_logger, identifier

log = get_logger(__name__)

SQL = statements("receiver.events", "store.sql")

Claim = tuple[str, int | None]
"""A message id, and the key of the message whose tag or response it came with; None if it came without either."""


def messages_tagged(session: Session, tags: Iterable[str]) -> dict[str, int]:
    """Returns the keys of the messages with these tags, by tag; tags that are not ours are left out."""
    wanted = sorted({tag for tag in tags if is_tag(tag)})
    rows = SQL.run(session, "find tagged messages", [{"tag": tag} for tag in wanted]) if wanted else ()
    return {row.tag: row.pk for row in rows}


def bind(session: Session, claims: Sequence[Claim], *, answered: bool, now: datetime) -> list[Linked]:
    """Makes each message id stand for the message it is claimed for, unless it stands for one already.

    ``answered`` says that the ids come from Bandwidth's responses to our requests, not from events. Returns the events
    that waited for these ids, linked now; their statements are still to be merged. An id that stands for no message is
    locked, so an event that is stored unlinked and the response that names its id cannot miss each other.
    """
    wanted: dict[str, int | None] = {}
    for message_id, message_pk in claims:
        wanted[message_id] = wanted.get(message_id) or message_pk
    known = {} if answered else _find(session, wanted)
    unknown = {message_id: message_pk for message_id, message_pk in wanted.items() if message_id not in known}
    newly = _lock(session, unknown, answered=answered, now=now) if unknown else {}
    for message_id, message_pk in claims:
        if message_pk not in (None, known.get(message_id), newly.get(message_id)):
            report_clash(message_id)
    return _link_waiting(session, newly) if newly else []


def report_clash(message_id: str) -> None:
    """Logs that two of our tags came under one message id, which cannot happen unless Bandwidth errs."""
    log.error("a message id came with two of our tags; the first message keeps it", message_id=identifier(message_id))


def _find(session: Session, message_ids: Iterable[str]) -> dict[str, int]:
    """Returns the messages that these ids already stand for."""
    rows = SQL.run(session, "find message ids", [{"message_id": each} for each in message_ids])
    return {row.message_id: row.message_pk for row in rows}


def _lock(session: Session, wanted: Mapping[str, int | None], *, answered: bool, now: datetime) -> dict[str, int]:
    """Locks these ids, and returns the messages that they stand for now."""
    rows = [
        {
            "message_id": message_id,
            "message_pk": message_pk,
            "answered": answered,
            "linked_at": instant(now) if message_pk else None,
        }
        for message_id, message_pk in sorted(wanted.items())
    ]
    locked = SQL.run(session, "lock message ids", rows)
    return {row.message_id: row.message_pk for row in locked if row.message_pk is not None}


def _link_waiting(session: Session, newly: Mapping[str, int]) -> list[Linked]:
    """Links the events that came before it was known which message their id stands for."""
    rows = SQL.run(session, "find waiting events", [{"message_id": message_id} for message_id in sorted(newly)])
    linked = [Linked(row.pk, newly[row.message_id], to_event(row)) for row in rows]
    if linked:
        SQL.run_for_each(session, "link event", [{"pk": each.pk, "message_pk": each.message_pk} for each in linked])
    return linked
