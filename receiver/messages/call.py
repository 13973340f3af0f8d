"""One call to Bandwidth for a message that is submitting, and the storing of its result.

No database connection is held during the call. The loop that stores the result is our own instead of tenacity's: it is
a fixed pause until a deadline, it must never raise, and it restores the suspicion that it cleared when it gives up.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from receiver import metrics
from receiver.core import times
from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown, units
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database, Session
from receiver.errors import StorageUnavailable, locate
from receiver.log import contain_errors, get_logger, identifier, without_numbers
from receiver.messages import credentials, outbox, pace
from receiver.messages.outbox import Attempt

log = get_logger(__name__)

Written = TypeVar("Written")

RECORD_SECONDS, RECORD_PAUSE = 8, 0.5
"""How long, and how often, storing a result is tried, in seconds: a database that restarts is back by then."""

SLACK_SECONDS = 30
"""How long after every call and its storing have ended a message without a result counts as unknown."""

EXPIRED = Refused(because=RefusedBecause.EXPIRED)

TOO_LATE = Refused(
    because=RefusedBecause.UNREACHABLE,
    type="too-late",
    description="This process was suspended until the deadline had passed, so Bandwidth was not called.",
)

NOT_CALLED = Refused(
    because=RefusedBecause.UNREACHABLE,
    type="not-called",
    description="The database did not confirm in time that the message was stored, so Bandwidth was not called.",
)


class Gateway(Protocol):
    """The client that calls Bandwidth."""

    @property
    def timeout(self) -> float:
        """Seconds after which every call has ended."""

    @property
    def fingerprint(self) -> str:
        """Identifies the credentials with which it calls."""

    def known_refusal(self) -> Refused | None:
        """Returns the refusal that every call would get now without a request; None if a request would be made."""

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        """Calls Bandwidth once. Never raises for anything that Bandwidth or a network can do."""


@dataclass(slots=True)
class Suspicion:
    """Whether this process knows of anything against the credentials, which a message that passes must clear.

    So nothing is read and nothing is written about credentials as long as all goes well.
    """

    is_raised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Calls Bandwidth and stores the results; shared by any number of threads."""

    database: Database
    gateway: Gateway
    overdue_after: timedelta
    """How long after its submission the outcome of a message should be known."""
    suspicion: Suspicion = field(default_factory=Suspicion)

    def attempt(self, now: datetime, *, number: int, wait: float = 0) -> Attempt:
        """Returns the attempt with that number that begins now, or after at most ``wait`` seconds."""
        seconds = wait + self.gateway.timeout + RECORD_SECONDS + SLACK_SECONDS
        deadline, overdue_at = now + timedelta(seconds=seconds), now + self.overdue_after
        return Attempt(at=now, deadline=deadline, overdue_at=overdue_at, number=number)

    def call(self, message: OutboundMessage, *, tag: str, attempt: Attempt) -> SendResult:
        """Calls Bandwidth and returns the result. Never raises: the caller must learn the tag, as it may be sent.

        Nothing is sent after its expiration, nor after the attempt's deadline, when others may have decided about it.
        """
        started, now = time.monotonic(), times.now()
        result: SendResult
        if message.has_expired(now):
            result = EXPIRED
        elif attempt.deadline <= now:
            result = TOO_LATE
        else:
            try:
                result = self.gateway.create_message(message, tag=tag)
            except Exception as error:  # noqa: BLE001 - a bug
                log.error("internal error", tag=tag, error=type(error).__name__, place=locate(error))  # noqa: TRY400
                description = "The call to Bandwidth ended in an internal error."
                result = Unknown(type="internal-error", description=description)
        seconds = time.monotonic() - started
        is_called = result is not EXPIRED and result is not TOO_LATE
        metrics.count_attempt(result, seconds=seconds if is_called else None)
        _log(result, message, tag=tag, number=attempt.number, seconds=seconds)
        return result

    def accept(self, message_pk: int, *, number: int, result: SendResult, now: datetime) -> bool:
        """Stores the result in one round trip to PostgreSQL, if it is an acceptance and nothing more is to be stored.

        Returns False if store() must do it: also if anything else is known about the message or its message id. Never
        raises, because the message is sent.
        """
        if not isinstance(result, Accepted) or result.message_id is None:
            return False
        if self.suspicion.is_raised or self.database.is_sqlite:
            return False
        row = {
            "pk": message_pk,
            "attempt": number,
            "message_id": result.message_id,
            "segment_count": result.segment_count,
            "updated_at": now,
        }
        try:
            return bool(outbox.run_pipeline(self.database, "store acceptance", row))
        except StorageUnavailable:
            return False
        except Exception as error:  # noqa: BLE001 - a bug
            log.error("internal error", error=type(error).__name__, place=locate(error))  # noqa: TRY400
            return False

    def store(self, tag: str, result: SendResult, write: Callable[[Session], Written]) -> Written | None:
        """Returns what ``write`` returns, which stores the result in a transaction; None if it could not be stored.

        Never raises, because the message may be sent. A 429 also pauses all sending, and a result that proves the
        credentials clears what stood against them, in the same transaction.
        """
        clears = self.suspicion.is_raised and _shows_credentials(result)
        if clears:
            self.suspicion.is_raised = False  # before the write, so that what others find meanwhile is kept
        give_up = time.monotonic() + RECORD_SECONDS
        while True:
            try:
                value, ends_pause = self.database.write(partial(self._write, result=result, write=write, clears=clears))
            except Exception as error:  # noqa: BLE001
                if not isinstance(error, StorageUnavailable) or time.monotonic() >= give_up:
                    log.error(  # noqa: TRY400
                        "result not stored", tag=tag, error=type(error).__name__, place=locate(error)
                    )
                    self.suspicion.is_raised |= clears
                    return None
            else:
                if ends_pause:
                    log.warning("credentials accepted again")
                return value
            time.sleep(RECORD_PAUSE)

    def _write(
        self, session: Session, result: SendResult, write: Callable[[Session], Written], *, clears: bool
    ) -> tuple[Written, bool]:
        """Returns what ``write`` returns, and whether a pause of the credentials ended."""
        if isinstance(result, Refused) and result.because is RefusedBecause.RATE_LIMITED:
            pace.pause(session, retry_after=result.retry_after, jitter=random.random())  # noqa: S311
        ends_pause = clears and credentials.clear(session, self.gateway.fingerprint)
        return write(session), ends_pause


def _shows_credentials(result: SendResult) -> bool:
    """Whether Bandwidth must have taken the credentials to respond so."""
    return isinstance(result, Accepted) or (isinstance(result, Refused) and result.shows_credentials)


@contain_errors(log)
def _log(result: SendResult, message: OutboundMessage, *, tag: str, number: int, seconds: float) -> None:
    """Writes one line for each request to Bandwidth. Its description stays out, because it quotes numbers."""
    facts: dict[str, object]
    if isinstance(result, Accepted):
        message_id = result.message_id and identifier(result.message_id)
        facts = {"result": SendStatus.ACCEPTED, "bandwidth_status": 202, "message_id": message_id}
    else:
        refused = isinstance(result, Refused)
        facts = {"result": SendStatus.REFUSED if refused else SendStatus.UNKNOWN, "bandwidth_status": result.status}
        facts["refused_because"] = result.because if isinstance(result, Refused) else None
        facts["error_type"] = result.type and without_numbers(result.type)
    write = log.info if isinstance(result, Accepted) else log.warning
    write(
        "send",
        tag=tag,
        recipients=len(message.to),
        units=units(message),
        attempt=number,
        **facts,
        duration_ms=round(seconds * 1000, 1),
    )
