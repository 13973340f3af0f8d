"""One call to Bandwidth for a message that is submitting, and what is stored of its answer.

No database connection is held during the call.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from receiver import metrics
from receiver.core import times
from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.numbers import identifier, without_numbers
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database, Session
from receiver.errors import StorageUnavailable, place
from receiver.log import get_logger, telling
from receiver.messages import credentials, pace
from receiver.messages.outbox import Attempt

log = get_logger(__name__)

Result = TypeVar("Result")

RECORD_SECONDS, RECORD_PAUSE = 8, 0.5
"""How long, and how often, storing Bandwidth's answer is tried: a database that restarts is back by then."""

SLACK_SECONDS = 30
"""How long after every call and its storing have ended a message without an answer counts as unknown."""

EXPIRED = Refused(because=RefusedBecause.EXPIRED)

TOO_LATE = Refused(
    because=RefusedBecause.UNREACHABLE,
    type="too-late",
    description="This process stood still until its deadline had passed, so Bandwidth was not called.",
)

NOT_CALLED = Refused(
    because=RefusedBecause.UNREACHABLE,
    type="not-called",
    description="The database did not say in time that the message was stored, so Bandwidth was not called.",
)


class Gateway(Protocol):
    """What calls Bandwidth."""

    @property
    def timeout(self) -> float:
        """Seconds after which every call has ended."""

    @property
    def fingerprint(self) -> str:
        """Stands for the credentials with which it calls."""

    def known_refusal(self) -> Refused | None:
        """What every call would be answered now from memory, without Bandwidth being asked; None if it would be."""

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        """Calls Bandwidth once. Never raises for anything that Bandwidth or a network can do."""


@dataclass(slots=True)
class Suspicion:
    """Whether anything may stand against the credentials, so that a message that passes must clear it.

    What this process knows of it; so nothing is asked and nothing is written as long as all goes well.
    """

    is_raised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """Calls Bandwidth and stores its answers; shared by any number of threads."""

    database: Database
    gateway: Gateway
    overdue_after: timedelta
    suspicion: Suspicion = field(default_factory=Suspicion)

    def attempt(self, now: datetime, *, wait: float = 0) -> Attempt:
        """A request to Bandwidth that begins now, or after at most ``wait`` seconds."""
        seconds = wait + self.gateway.timeout + RECORD_SECONDS + SLACK_SECONDS
        return Attempt(at=now, deadline=now + timedelta(seconds=seconds), overdue_at=now + self.overdue_after)

    def call(self, message: OutboundMessage, *, tag: str, attempt: Attempt, number: int) -> SendResult:
        """Bandwidth's answer; never raises, because whoever asked must be told the tag: the message may be out.

        Nothing is sent after its expiration, nor after the attempt's deadline, when others may have decided about it.
        ``number`` is the attempt's, from 1.
        """
        begun, not_called = time.monotonic(), _not_called(message, attempt)
        answer = not_called or self._answer(message, tag=tag)
        seconds = time.monotonic() - begun
        metrics.sent(answer, seconds=None if not_called else seconds)
        _say(answer, tag=tag, recipients=len(message.to), units=message.units, attempt=number, seconds=seconds)
        return answer

    def _answer(self, message: OutboundMessage, *, tag: str) -> SendResult:
        try:
            return self.gateway.create_message(message, tag=tag)
        except Exception as error:  # noqa: BLE001 - a bug
            log.error("an error of this program", tag=tag, error=type(error).__name__, place=place(error))  # noqa: TRY400
            description = "The call to Bandwidth ended in an error of this program."
            return Unknown(type="internal-error", description=description)

    def store_answer(self, tag: str, answer: SendResult, work: Callable[[Session], Result]) -> Result | None:
        """What ``work`` returns, which stores the answer; None if it could not be stored. Never raises."""

        clears = self.suspicion.is_raised and _shows_credentials(answer)
        if clears:
            self.suspicion.is_raised = False  # before, so that what is found out meanwhile is not forgotten

        def stored(session: Session) -> tuple[Result, bool]:
            if isinstance(answer, Refused) and answer.because is RefusedBecause.RATE_LIMITED:
                pace.pause(session, retry_after=answer.retry_after, jitter=random.random())  # noqa: S311
            has_ended = clears and credentials.clear(session, self.gateway.fingerprint)
            return work(session), has_ended

        give_up = time.monotonic() + RECORD_SECONDS
        while True:
            try:
                result, has_ended = self.database.write(stored)
                if has_ended:
                    log.warning("credentials accepted again")
                return result
            except Exception as error:  # noqa: BLE001
                if not isinstance(error, StorageUnavailable) or time.monotonic() >= give_up:
                    log.error(  # noqa: TRY400
                        "an answer is not stored", tag=tag, error=type(error).__name__, place=place(error)
                    )
                    self.suspicion.is_raised |= clears
                    return None
            time.sleep(RECORD_PAUSE)


def _shows_credentials(answer: SendResult) -> bool:
    """Whether Bandwidth must have taken the credentials to say so."""
    return isinstance(answer, Accepted) or (isinstance(answer, Refused) and answer.shows_credentials)


def _not_called(message: OutboundMessage, attempt: Attempt) -> Refused | None:
    """Why Bandwidth must not be called any more, if it must not."""
    now = times.now()
    if message.has_expired(now):
        return EXPIRED
    return TOO_LATE if attempt.deadline <= now else None


@telling(log)
def _say(answer: SendResult, *, seconds: float, **fields: Any) -> None:
    """One line for each request to Bandwidth. Its description stays out, because it quotes numbers."""
    if isinstance(answer, Accepted):
        message_id = answer.message_id and identifier(answer.message_id)
        result = {"result": SendStatus.ACCEPTED, "bandwidth_status": 202, "message_id": message_id}
    else:
        refused = isinstance(answer, Refused)
        result = {"result": SendStatus.REFUSED if refused else SendStatus.UNKNOWN, "bandwidth_status": answer.status}
        result["refused_because"] = answer.because if isinstance(answer, Refused) else None
        result["error_type"] = answer.type and without_numbers(answer.type)
    write = log.info if isinstance(answer, Accepted) else log.warning
    write("send", **fields, **result, duration_ms=round(seconds * 1000, 1))
