"""Sends messages: stored with their tag first, then Bandwidth is called, then the answer is stored.

Past the commit of ``submitting`` nothing is sent again unless it is known not to have been sent: Bandwidth has no
idempotency key.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

from receiver.core import times
from receiver.core.messages import IdempotencyKey, OutboundMessage, Refused
from receiver.core.pace import Rates
from receiver.core.send_status import RefusedBecause, SendStatus, is_repeatable, shown
from receiver.core.tags import new_tag
from receiver.database import commits
from receiver.database.database import Database, Session
from receiver.database.lookup import message_tagged, message_with_key
from receiver.database.models import Message
from receiver.errors import KeyReused, MessageNotFound, NotQueued, StorageUnavailable, TooFast
from receiver.log import get_logger
from receiver.messages import credentials, idempotency, outbox, pace, queue
from receiver.messages.call import NOT_CALLED, Calling
from receiver.messages.idempotency import KeysTaken
from receiver.messages.outbox import Attempt

log = get_logger(__name__)

Result = TypeVar("Result")

TURN_SECONDS = 2
"""How long a message that is sent at once asks for a turn; its caller, and a thread, wait with it."""

QUEUE_SECONDS = 10
"""After a 429 that names no time; by then a full queue has made room for a group of ten at the default rate of one
message a second (Bandwidth, "Rate limits")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What became of a request to send."""

    tag: str
    stored: Message | None
    """The message as it is now; None if the answer could not be stored, and it shows as unknown meanwhile."""
    retry_after: int | None = None
    """Seconds after which a refusal may pass."""
    is_replayed: bool = False
    """Whether this is what an earlier request with the same Idempotency-Key led to, and this one did nothing."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """A message that is submitting."""

    pk: int
    tag: str
    number: int
    """Of the attempt, from 1."""
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending(Calling):
    """Sends at once or queues; shared by any number of threads."""

    rates: Rates

    def send(self, message: OutboundMessage, *, key: IdempotencyKey | None = None) -> Submission:
        """Sends one message, once, and waits for Bandwidth's answer.

        Raises StorageUnavailable and TooFast before anything was stored or sent, never after.
        """

        def begin(session: Session) -> _Begun:
            now = times.whole_millisecond(times.now())
            tag, attempt = new_tag(now), self.attempt(now)
            pk = outbox.add_submitting(session, message, tag=tag, attempt=attempt)
            if key is not None:
                idempotency.add_keys(session, [(key, pk)], now=now)
            return _Begun(pk, tag, 1, attempt)

        try:
            begun = self._begun(message, begin)
        except KeysTaken:
            return self._of_the_other(key, at_once=True)
        return self._carry_out(message, begun)

    def queue(self, message: OutboundMessage, *, key: IdempotencyKey | None = None) -> Submission:
        """Leaves a message to the workers. Raises StorageUnavailable."""

        def work(session: Session) -> Submission:
            (tag,) = _add_queued(session, [(message, key)])
            return _submission(session, tag)

        try:
            return self.database.write(work)
        except KeysTaken:
            return self._of_the_other(key, at_once=False)

    def queue_all(self, wanted: Sequence[tuple[OutboundMessage, IdempotencyKey]]) -> int:
        """Leaves to the workers whatever of this has not been left to them before, or was refused without being sent;
        returns how many that is. Also when that is none, what was there before is durable then."""
        while True:
            with self.database.read() as session:
                known = idempotency.rows_of_keys(session, [key for _, key in wanted], now=times.now())
                refused = outbox.not_taken(session, [row.message_pk for row in known.values()]) if known else ()
            new = [(message, key) for message, key in wanted if key.place not in known]
            try:
                return self.database.write(partial(_queue_all, new=new, refused=refused))
            except KeysTaken:  # somebody is doing the same at the same time
                continue

    def known(self, keys: Sequence[IdempotencyKey]) -> set[tuple[str, str]]:
        """The places of those keys that stand for a message."""
        with self.database.read() as session:
            return set(idempotency.rows_of_keys(session, keys, now=times.now()))

    def repeat(self, key: IdempotencyKey, *, at_once: bool) -> Submission | None:
        """What became of the request that came with this key; None if there was none.

        What is known not to have been sent is sent again, with its tag: ``at_once``, or by the workers. Raises
        KeyReused when that was a request for something else.
        """

        def work(session: Session) -> Message | None:
            found = idempotency.repeat(session, key, now=times.now())
            if found is not None and found.sha256 != key.sha256:
                raise KeyReused
            return message_with_key(session, found.message_pk) if found else None

        stored = self.database.write(work)
        if stored is None:
            return None
        if not _is_to_be_sent_again(stored):
            return Submission(tag=stored.tag, stored=stored, is_replayed=True)
        return self._again(stored) if at_once else self._queue_again(stored)

    def _begun(self, message: OutboundMessage, begin: Callable[[Session], Result]) -> Result:
        """What ``begin`` returns, once it is the message's turn. Raises TooFast, and StorageUnavailable, after which
        the message is refused if it was stored all the same: nobody has called Bandwidth."""
        last: Result | None = None

        def noted(session: Session) -> Result:
            nonlocal last
            last = begin(session)
            return last

        try:
            return self._in_turn(message, noted)
        except StorageUnavailable:
            if isinstance(last, _Begun):  # only the commit can have failed, or nobody heard of it
                self.store_answer(last.tag, NOT_CALLED, partial(_take_back, begun=last))
            raise

    def _in_turn(self, message: OutboundMessage, begin: Callable[[Session], Result]) -> Result:
        """Does ``begin`` when it is the message's turn. Raises TooFast when that is too far ahead."""

        def take(session: Session) -> tuple[pace.Turn, Result | None]:
            turn = pace.take_turn(
                session,
                self.rates,
                sender=message.sender,
                units=message.units,
                credentials=self.gateway.fingerprint,
                heeds_refusal=False,  # its caller hears Bandwidth's own answer
            )
            goes_now = turn.is_taken and turn.wait <= timedelta(0)
            return turn, begin(session) if goes_now else None

        give_up = time.monotonic() + TURN_SECONDS
        while True:
            turn, begun = self.database.write(take)
            self.suspicion.is_raised |= turn.is_suspect
            if begun is not None:
                return begun
            wait = turn.wait.total_seconds() if turn.is_taken else turn.ask_again_in
            if not turn.is_taken and time.monotonic() + wait > give_up:
                raise TooFast(retry_after=math.ceil(turn.wait.total_seconds()))
            time.sleep(wait)
            if turn.is_taken:
                return self.database.write(begin)

    def _carry_out(self, message: OutboundMessage, begun: _Begun) -> Submission:
        """Calls Bandwidth for a message that is submitting, and stores the answer."""
        answer = self.call(message, tag=begun.tag, attempt=begun.attempt, number=begun.number)

        def work(session: Session) -> Message | None:
            outbox.record_answer(session, begun.pk, attempt=begun.number, answer=answer, now=times.now())
            return message_tagged(session, begun.tag)

        retry_after = answer.retry_after if isinstance(answer, Refused) else None
        return Submission(tag=begun.tag, stored=self.store_answer(begun.tag, answer, work), retry_after=retry_after)

    def _again(self, stored: Message) -> Submission:
        """Another attempt of a refused message, unless another request is quicker, or it has no turn."""
        message = outbox.outbound(stored)

        def begin(session: Session) -> _Begun | Submission:
            now = times.now()
            attempt = self.attempt(now)
            if outbox.begin_again(session, stored, then=attempt, now=now):
                return _Begun(stored.pk, stored.tag, stored.attempt + 1, attempt)
            commits.write_anyway(session)
            return _submission(session, stored.tag, is_replayed=True)

        try:
            begun = self._begun(message, begin)
        except TooFast as error:  # it is what it was, and that is known
            return Submission(tag=stored.tag, stored=stored, retry_after=error.retry_after, is_replayed=True)
        return begun if isinstance(begun, Submission) else self._carry_out(message, begun)

    def _queue_again(self, stored: Message) -> Submission:
        def work(session: Session) -> Submission:
            is_queued = outbox.begin_again(session, stored, then=None, now=times.now())
            if not is_queued:
                commits.write_anyway(session)
            return _submission(session, stored.tag, is_replayed=not is_queued)

        return self.database.write(work)

    def _of_the_other(self, key: IdempotencyKey | None, *, at_once: bool) -> Submission:
        """The same key came twice at the same time, and the other request was stored first."""
        other = self.repeat(key, at_once=at_once) if key else None
        if other is None:  # it is gone again: that takes a key of seven days ago
            raise StorageUnavailable
        return other


def cancel(database: Database, tag: str) -> Message:
    """Withdraws a message that is still queued, or was withdrawn before. Raises MessageNotFound, NotQueued."""
    now = times.now()

    def work(session: Session) -> tuple[Message | None, bool]:
        found = message_tagged(session, tag)
        cancelled = found is not None and queue.cancel(session, found.pk, now=now)
        session.expire_all()
        stored = message_tagged(session, tag)
        if stored is not None and not cancelled and stored.refused_because == RefusedBecause.CANCELLED:
            commits.write_anyway(session)
        return stored, cancelled

    stored, cancelled = database.write(work)
    if stored is None:
        raise MessageNotFound(tag)
    if not cancelled and stored.refused_because != RefusedBecause.CANCELLED:
        raise NotQueued(tag, shown(SendStatus(stored.send_status), deadline=stored.deadline, now=now))
    return stored


def tidy(database: Database) -> int:
    """Writes as unknown what was submitting when its process died; returns how many messages that were.

    Lets what is queued go on after the clock was set back, too, and forgets credentials that are used no more.
    """
    now = times.now()
    lapsed = database.write(lambda session: outbox.write_lapsed(session, now=now))
    database.write(credentials.forget)
    if ahead := database.write(lambda session: queue.bring_forward(session, now=now)):
        log.warning("messages were queued by a clock that was ahead", messages=ahead)
    if lapsed:
        log.warning("requests without an answer are unknown now", messages=lapsed)
    return lapsed


def _take_back(session: Session, begun: _Begun) -> None:
    """Undoes what became submitting just now. It is found by its tag and time: of a transaction that was undone the
    key, and the number of the attempt, may be another's by now."""
    stored = message_tagged(session, begun.tag)
    if stored is not None and stored.submitted_at == begun.attempt.at:
        outbox.record_answer(session, stored.pk, attempt=begun.number, answer=NOT_CALLED, now=times.now())


def _queue_all(
    session: Session, new: Sequence[tuple[OutboundMessage, IdempotencyKey]], refused: Sequence[Message]
) -> int:
    _add_queued(session, new)
    now = times.now()
    queued = len(new) + sum(outbox.begin_again(session, each, then=None, now=now) for each in refused)
    if not queued:
        commits.write_anyway(session)
    return queued


def _add_queued(session: Session, wanted: Sequence[tuple[OutboundMessage, IdempotencyKey | None]]) -> list[str]:
    """Stores messages for the workers, with the keys they came with; returns their tags."""
    now = times.whole_millisecond(times.now())
    tags = [new_tag(now) for _ in wanted]
    pks = outbox.add_queued(session, [(tag, message) for tag, (message, _) in zip(tags, wanted, strict=True)], now=now)
    keys = [(key, pk) for (_, key), pk in zip(wanted, pks, strict=True) if key is not None]
    if keys:
        idempotency.add_keys(session, keys, now=now)
    return tags


def _submission(session: Session, tag: str, *, is_replayed: bool = False) -> Submission:
    """What became of it, read in the transaction that did it: once that is committed nothing may fail any more."""
    session.expire_all()
    return Submission(tag=tag, stored=message_tagged(session, tag), is_replayed=is_replayed)


def _is_to_be_sent_again(stored: Message) -> bool:
    if stored.send_status != SendStatus.REFUSED or stored.refused_because is None:
        return False
    return is_repeatable(RefusedBecause(stored.refused_because), status=stored.error_status)
