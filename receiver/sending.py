"""Sends a message: stored with its tag first, then Bandwidth is called, then the answer is stored.

No database connection is held during the call. Past the first commit nothing is ever sent again by itself: Bandwidth
has no idempotency key.
"""

import logging
import time
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

RECORD_SECONDS, RECORD_PAUSE = 8, 0.5
"""How long, and how often, storing Bandwidth's answer is tried: a database that restarts is back by then."""

SLACK_SECONDS = 30
"""How long after every call and its storing have ended a message without an answer counts as unknown."""


class Gateway(Protocol):
    """What calls Bandwidth."""

    @property
    def timeout(self) -> float:
        """Seconds after which every call has ended."""

    def create_message(self, message: OutboundMessage, *, tag: str) -> Answer:
        """Calls Bandwidth once. Never raises for anything that Bandwidth or a network can do."""


@dataclass(frozen=True, slots=True)
class Submission:
    """How a request to send ended."""

    tag: str
    answer: Answer
    """What Bandwidth, or the way to it, said."""
    stored: Message | None
    """The message with that answer; None if it could not be stored, and the message shows as unknown meanwhile."""


def send(database: Database, gateway: Gateway, message: OutboundMessage, *, overdue_after: timedelta) -> Submission:
    """Sends one message, once. Raises StorageUnavailable before anything was sent, never after."""
    now = times.whole_millisecond(times.now())
    tag = new_tag(now)
    deadline = now + timedelta(seconds=gateway.timeout + RECORD_SECONDS + SLACK_SECONDS)
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
    return Submission(tag, answer, _store_answer(database, message_pk, tag, answer))


def lapse(database: Database) -> int:
    """Writes as unknown what was submitting when its process died. Returns how many."""
    return database.write(lambda session: write_lapsed(session, now=times.now()))


def _store_answer(database: Database, message_pk: int, tag: str, answer: Answer) -> Message | None:
    """The message with the answer; None if it could not be stored. Never raises: its caller must tell the tag."""

    def work(session: Session) -> Message | None:
        record_answer(session, message_pk, attempt=1, answer=answer, now=times.now())
        return message_tagged(session, tag)

    give_up = time.monotonic() + RECORD_SECONDS
    while True:
        try:
            return database.write(work)
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, StorageUnavailable) or time.monotonic() >= give_up:
                log.error("message %s: its answer is not stored: %s in %s", tag, type(error).__name__, place(error))  # noqa: TRY400
                return None
        time.sleep(RECORD_PAUSE)
