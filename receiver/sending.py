"""Sends a message: stored with its tag first, then Bandwidth is called, then the answer is stored.

No database connection is held during the call. Past the first commit nothing is ever sent again by itself: Bandwidth
has no idempotency key.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from receiver.core import times
from receiver.core.messages import Answer, OutboundMessage, Unknown
from receiver.core.tags import new_tag
from receiver.errors import StorageUnavailable, place
from receiver.storage.database import Database, Session
from receiver.storage.models import Message
from receiver.storage.outbox import add_submitting, record_answer, write_lapsed
from receiver.storage.reading import message_tagged

log = logging.getLogger(__name__)

RECORD_ATTEMPTS = 3
"""How often storing Bandwidth's answer is tried; the message is shown as unknown if none succeeds."""

RECORD_SECONDS = 30
"""How long after the call may end its answer can still be stored; later the message counts as unknown."""


class Gateway(Protocol):
    """What calls Bandwidth."""

    @property
    def timeout(self) -> float:
        """Seconds after which every call has ended."""

    def create_message(self, message: OutboundMessage, *, tag: str) -> Answer:
        """Calls Bandwidth once. Never raises for anything that Bandwidth or a network can do."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How a request to send ended."""

    tag: str
    answer: Answer
    """What Bandwidth, or the way to it, said."""
    stored: Message | None
    """The message with that answer; None if it could not be stored, and the message shows as unknown meanwhile."""


def send(database: Database, gateway: Gateway, message: OutboundMessage, *, overdue_after: timedelta) -> Sent:
    """Sends one message, once. Raises StorageUnavailable before anything was sent, never after."""
    now = times.whole_millisecond(times.now())
    tag = new_tag(now)
    deadline = now + timedelta(seconds=gateway.timeout + RECORD_SECONDS)
    message_pk = database.write(
        lambda session: add_submitting(
            session, message, tag=tag, now=now, deadline=deadline, overdue_at=now + overdue_after
        )
    )
    try:
        answer = gateway.create_message(message, tag=tag)
    except Exception as error:  # noqa: BLE001 - a bug, but its caller must be told the tag: the message may be out
        log.error("message %s: %s in %s", tag, type(error).__name__, place(error))  # noqa: TRY400
        answer = Unknown(type="internal-error", description="The call to Bandwidth ended in an error of this program.")
    return Sent(tag, answer, _store_answer(database, message_pk, tag, answer))


def lapse(database: Database) -> int:
    """Writes as unknown what was submitting when its process died. Returns how many."""
    return database.write(lambda session: write_lapsed(session, now=times.now()))


def _store_answer(database: Database, message_pk: int, tag: str, answer: Answer) -> Message | None:
    def work(session: Session) -> Message | None:
        record_answer(session, message_pk, attempt=1, answer=answer, now=times.now())
        return message_tagged(session, tag)

    for _ in range(RECORD_ATTEMPTS):
        with suppress(StorageUnavailable):
            return database.write(work)
    log.error("message %s: Bandwidth's answer could not be stored; it shows as unknown until an event tells more", tag)
    return None
