"""Resolves an unknown message: a person who knows, or must decide, says whether it was sent, and is written down.

Bandwidth's word stands above it: an event that comes later makes a refused message accepted.
"""

from receiver.core import times
from receiver.core.events import clean_text
from receiver.core.send_status import RefusedBecause, SendStatus, objection, shown
from receiver.database.database import Database, Session
from receiver.database.lookup import message_tagged
from receiver.database.models import Message
from receiver.errors import MessageNotFound, NotResolvable
from receiver.storage.resolutions import add_resolution

LONGEST_NAME = 255  # characters; of a longer one only the beginning is kept


def resolve(database: Database, tag: str, send_status: SendStatus, *, reason: str, by: str) -> None:
    """Makes the message accepted or refused. Raises MessageNotFound, or NotResolvable with what stands against it."""

    def work(session: Session) -> None:
        now = times.now()
        message = message_tagged(session, tag)
        if message is None:
            raise MessageNotFound(tag)
        status = shown(SendStatus(message.send_status), deadline=message.deadline, now=now)
        if found := objection(status, _because(message), target=send_status):
            raise NotResolvable(f"{tag}: {found}")
        words = {"reason": clean_text(reason), "by": clean_text(by)[:LONGEST_NAME]}
        if not add_resolution(session, message, send_status, **words, now=now):
            raise NotResolvable(f"{tag}: Something was learnt about it at this moment: look at it again.")

    database.write(work)


def _because(message: Message) -> RefusedBecause | None:
    return RefusedBecause(message.refused_because) if message.refused_because else None
