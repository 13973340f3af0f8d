"""Blanks what may be personal in what is due, and keeps outcomes, codes, times and counts.

A number becomes ``redacted-``, a key of ours and a place: the same in a message's recipients and in its events, so
that their fold stays what it was, and in no other message, so that nobody takes two people for one. Every function is
part of a write transaction of the caller, and returns how many rows of each kind were redacted.
"""
# MERGED: """Removes what is due, and nothing else; how many rows of each kind that were is returned.
# MERGED:
# MERGED: Every function is part of a write transaction of the caller.
# MERGED: """

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, case, cast, delete, exists, func, literal, select, update
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES
from receiver.core.numbers import PSEUDONYM
from receiver.core.send_status import SendStatus
from receiver.database.models import (
    IdempotencyKeyRow,
    Message,
    MessageId,
    Recipient,
    Resolution,
    StoredEvent,
    UnreadableCallback,
)
from receiver.maintenance.purge import REDACTED, Kind, Terms, lock_events, lock_messages, still_due


def remove_messages(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """With all that belongs to them."""
    due = lock_messages(session, keys, terms)
    for table in (Resolution, IdempotencyKeyRow, MessageId):
        _delete(session, table, table.message_pk.in_(due))
    return Counter(
        {
            "recipients": _delete(session, Recipient, Recipient.message_pk.in_(due)),
            "events": _delete(session, StoredEvent, StoredEvent.message_pk.in_(due)),
            Kind.MESSAGE: _delete(session, Message, Message.pk.in_(due)),
        }
    )


def remove_events(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Without a message; and their message ids, if nothing else came under them."""
    due = lock_events(session, keys, terms)
    _delete(session, StoredEvent, StoredEvent.pk.in_([each.pk for each in due]))
    left = exists().where(StoredEvent.message_id == MessageId.message_id)
    under = MessageId.message_id.in_({each.message_id for each in due})
    _delete(session, MessageId, under & MessageId.message_pk.is_(None) & ~left)
    return count_events(due)


def count_events(events: Sequence[StoredEvent]) -> Counter[str]:
    return Counter(Kind.INBOUND if each.type in INBOUND_TYPES else Kind.UNLINKED for each in events)


def remove_unreadable(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    due = UnreadableCallback.pk.in_(keys) & still_due(UnreadableCallback, terms)
    return Counter({Kind.UNREADABLE: _delete(session, UnreadableCallback, due)})


def _delete(session: Session, table: Any, which: Any) -> int:
    return session.connection().execute(delete(table).where(which)).rowcount


def _pseudonym(key: Any, *places: Any) -> ColumnElement[str]:
    text: Any = literal(PSEUDONYM).concat(cast(key, String))
    for place in places:
        text = text.concat("-").concat(cast(place, String))
    return text  # type: ignore[no-any-return]


OF_RECIPIENT = _pseudonym(Recipient.message_pk, Recipient.position + 1)
BLANK_REPLY = {"sender": None, "text": None, "media": None, "members": None, "keyword": ""}
BLANK_EVENT = {"description": None, "tag": None, "payload": REDACTED, **BLANK_REPLY}


def redact_messages(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """With all that belongs to them."""
    due = lock_messages(session, keys, terms)
    _forget_keys(session, due)
    brought = StoredEvent.message_pk.in_(due) & (StoredEvent.payload != REDACTED)
    events = _update(session, StoredEvent, brought, recipient=_of_event(), **BLANK_EVENT)  # while numbers are known
    named = Recipient.message_pk.in_(due) & (Recipient.recipient != OF_RECIPIENT)
    recipients = _update(session, Recipient, named, recipient=OF_RECIPIENT, description=None)
    _update(session, Resolution, Resolution.message_pk.in_(due), reason="")
    blank = {"text": None, "media": "[]", "error_description": None, "error_fields": None, "redacted_at": terms.now}
    messages = _update(session, Message, Message.pk.in_(due), **blank)
    return Counter({"recipients": recipients, "events": events, Kind.MESSAGE: messages})


def _of_event() -> Any:
    """That of its recipient, or its own if the message has no such recipient; none if it names none."""
    same = (Recipient.message_pk == StoredEvent.message_pk) & (Recipient.recipient == StoredEvent.recipient)
    of_recipient = select(OF_RECIPIENT).where(same).scalar_subquery()
    return case((StoredEvent.recipient == "", ""), else_=func.coalesce(of_recipient, _pseudonym(StoredEvent.pk)))


def _forget_keys(session: Session, message_pks: Sequence[int]) -> None:
    """Those that have expired, and those of what was never sent and can no longer be; the others keep a file of
    messages from being sent a second time."""
    refused = select(Message.pk).where(Message.pk.in_(message_pks), Message.send_status == SendStatus.REFUSED)
    useless = IdempotencyKeyRow.expires_at.is_not(None) | IdempotencyKeyRow.message_pk.in_(refused)
    session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.message_pk.in_(message_pks), useless))


def redact_events(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Without a message."""
    due = lock_events(session, keys, terms)
    number = case((StoredEvent.recipient == "", ""), else_=_pseudonym(StoredEvent.pk))
    _update(session, StoredEvent, StoredEvent.pk.in_([each.pk for each in due]), recipient=number, **BLANK_EVENT)
    return count_events(due)


def redact_unreadable(session: Session, keys: Sequence[int], terms: Terms) -> Counter[str]:
    """Their digest, too: a short text could be guessed from it."""
    due = UnreadableCallback.pk.in_(keys) & still_due(UnreadableCallback, terms)
    blank = {"payload": REDACTED, "sha256": _pseudonym(UnreadableCallback.pk)}
    return Counter({Kind.UNREADABLE: _update(session, UnreadableCallback, due, **blank)})


def _update(session: Session, table: Any, which: Any, **values: Any) -> int:
    return session.connection().execute(update(table).where(which).values(**values)).rowcount
