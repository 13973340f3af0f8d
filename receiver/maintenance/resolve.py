"""Resolves an unknown message: a person decides whether it was sent, and the decision is kept with the message.

Bandwidth overrides the decision: an event that comes later makes a refused message accepted.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from receiver.core import times
from receiver.core.events import clean_text
from receiver.core.send_status import RefusedBecause, SendStatus, objection, shown
from receiver.core.status import default_status
from receiver.database.database import Database
from receiver.database.lookup import message_tagged
from receiver.database.models import Message, Resolution
from receiver.errors import MessageNotFound, NotResolvable
from receiver.messages.outbox import change, show_default_status

LONGEST_NAME = 255
"""Characters kept of the name of a person."""


def resolve(database: Database, tag: str, send_status: SendStatus, *, reason: str, by: str) -> None:
    """Makes the message accepted or refused.

    Raises MessageNotFound, or NotResolvable with the reason why a person may not decide that.
    """

    def work(session: Session) -> None:
        now = times.now()
        message = message_tagged(session, tag)
        if message is None:
            raise MessageNotFound(tag)
        status = shown(SendStatus(message.send_status), deadline=message.deadline, now=now)
        because = RefusedBecause(message.refused_because) if message.refused_because else None
        if found := objection(status, because, target=send_status):
            raise NotResolvable(f"{tag}: {found}")
        words = {"reason": clean_text(reason), "by": clean_text(by)[:LONGEST_NAME]}
        if not add_resolution(session, message, send_status, **words, now=now):
            raise NotResolvable(f"{tag}: The message has just changed; check it and retry.")

    database.write(work)


def add_resolution(
    session: Session, message: Message, send_status: SendStatus, *, reason: str, by: str, now: datetime
) -> bool:
    """Makes the message accepted or refused and records the decision, in the caller's write transaction.

    Returns False, and writes nothing, if the message differs from ``message``, because an event came meanwhile.
    """
    before = SendStatus(message.send_status)  # the write below changes the loaded message, too
    as_it_was = (
        (Message.pk == message.pk)
        & (Message.attempt == message.attempt)
        & (Message.send_status == message.send_status)
        & (Message.refused_because == message.refused_because)  # IS NULL if it is None
    )
    because = RefusedBecause.OPERATOR if send_status is SendStatus.REFUSED else None
    if not change(session, as_it_was, send_status=send_status, refused_because=because, updated_at=now):
        return False
    if default_status(before) is not default_status(send_status):
        show_default_status(session, message.pk, before=before, after=send_status, now=now)
    session.add(
        Resolution(message_pk=message.pk, send_status=send_status, reason=reason, resolved_by=by, resolved_at=now)
    )
    return True
