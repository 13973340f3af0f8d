"""Removes what is due, and nothing else; how many rows of each kind that were is returned.

Every function is part of a write transaction of the caller.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, exists
from sqlalchemy.orm import Session

from receiver.core.events import INBOUND_TYPES
from receiver.database.models import (
    IdempotencyKeyRow,
    Message,
    MessageId,
    Recipient,
    Resolution,
    StoredEvent,
    UnreadableCallback,
)
from receiver.storage.aging import Kind, Terms, lock_events, lock_messages, still_due


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
