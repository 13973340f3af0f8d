"""The worker: sends what is queued, at the pace of the account, and retries what is known not to have been sent.

Any number of workers, on any number of hosts, share the queue. Three commits make one message: the claim of a batch,
``submitting``, and the result. A worker that is killed before the second leaves the message to others once its lease
has ended. After it, whether the message was sent cannot be known, so it becomes unknown.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from receiver import metrics
from receiver.core import times
from receiver.core.messages import Refused, SendResult, Unknown, units
from receiver.core.pace import FIRST_DENIED, Rates, backoff, denied_wait
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Session
from receiver.errors import StorageUnavailable, locate
from receiver.events.replies import ReplyReader
from receiver.log import get_logger
from receiver.messages import credentials, outbox, pace, queue
from receiver.messages.call import EXPIRED, NOT_CALLED, RECORD_SECONDS, Caller
from receiver.messages.credentials import Denial, Probe
from receiver.messages.outbox import Attempt
from receiver.messages.queue import Claimed
from receiver.messages.sender import tidy

log = get_logger(__name__)

LEASE = timedelta(seconds=30)
"""How long a claimed message is reserved for the worker that claimed it."""

POLL_SECONDS, TIDY_SECONDS = 0.5, 10
"""How often an empty queue is read, and how often tidy() runs."""

AFTER_ERROR_SECONDS = 1

FIRST_OUTAGE, LONGEST_OUTAGE = 1.0, 60.0
"""Seconds for which a worker sends nothing after as many failures in a row as it has requests under way."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """The outcome of a transaction that was to submit a claimed message."""

    attempt: Attempt | None = None
    """The attempt by which it is submitting; None if it is not, because it lost its claim or for what follows."""
    turn_in: float | None = None
    """It has a turn, in so many seconds."""
    has_expired: bool = False
    """It was refused, because its expiration has passed."""
    hold: float | None = None
    """Neither it nor any other message has a turn for so many seconds."""
    is_suspect: bool = False
    """Whether anything stands against the credentials."""


@dataclass(frozen=True, slots=True)
class _Requeued:
    """A message was queued again."""

    wait: timedelta
    """Until its next attempt."""
    begins_pause: bool = False
    """Whether all workers with these credentials pause from now on."""


@dataclass(slots=True, kw_only=True)
class _Ending:
    """The end of an attempt: its result is stored, or the message is queued again."""

    claimed: Claimed
    result: SendResult
    requeue: Callable[[Session, Claimed, Refused], _Requeued | None]
    requeued: _Requeued | None = None
    """Kept when the transaction is run again: its commit may be durable although it was not confirmed."""

    def write(self, session: Session) -> None:
        requeued = None
        if isinstance(self.result, Refused):
            requeued = self.requeue(session, self.claimed, self.result)
        self.requeued = requeued or self.requeued
        if requeued is None:
            number, now = self.claimed.attempts + 1, times.now()
            outbox.record_result(session, self.claimed.pk, number=number, result=self.result, now=now)


class Worker:
    """Keeps ``threads`` requests to Bandwidth under way while there is something to send.

    A message is refused after ``attempts`` failures; a 429 does not count. More threads than that prepare the next
    requests and store the last results, so that no request waits for the database.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        rates: Rates,
        threads: int,
        attempts: int,
        lease: timedelta = LEASE,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._caller, self._database = caller, caller.database
        self._suspicion, self._credentials = caller.suspicion, caller.gateway.fingerprint
        self._rates = rates
        self._is_paced = rates != Rates()
        self._attempts = attempts
        self._lease = lease
        self._poll_seconds = poll_seconds
        self._batch = threads
        self._under_way = threading.Semaphore(threads)
        self._stopping = threading.Event()
        self._claiming = threading.Lock()
        self._claimed: deque[Claimed] = deque()
        self._held_until = 0.0
        self._counting_failures = threading.Lock()
        self._failures, self._outage = 0, 0.0
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(threads + 1 + threads // 2)
        ]

    def run(self) -> None:
        """Works until stop() is called, and returns when the result of every request under way is stored."""
        for thread in self._threads:
            thread.start()
        with ReplyReader(self._database):
            while not self._stopping.is_set():
                self._safely(partial(tidy, self._database))
                self._stopping.wait(TIDY_SECONDS)
        with self._claiming:  # other workers get the claimed messages at once, not when the lease or a request ends
            self._safely(self._release_all)
        self._under_way.release(len(self._threads))  # a thread with a prepared request does not wait for a slow one
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Lets run() return. Must not be called by a signal handler, which could interrupt the wait that this ends."""
        self._stopping.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._safely(self._send_next)

    def _safely(self, work: Callable[[], object]) -> None:
        """Runs ``work``. An error, of one message or of the database, ends nothing: the thread pauses and goes on."""
        try:
            work()
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, StorageUnavailable):  # the database logs that once, however many threads meet it
                log.error("internal error", error=type(error).__name__, place=locate(error))  # noqa: TRY400
            self._stopping.wait(AFTER_ERROR_SECONDS)

    def _send_next(self) -> None:
        claimed = self._next_claimed()
        if claimed is None:
            return
        result: SendResult | None = None
        try:
            # At a pace, a turn is taken only when its request can be made. Else all that waited would be sent at once.
            with self._under_way if self._is_paced else nullcontext():
                result = self._send(claimed)
            if result is not None:
                self._store(claimed, result)
                with self._counting_failures:
                    self._back_off(result)
        finally:
            if claimed.is_probe and (result is None or not _refuses_credentials(result)):
                self._database.write(partial(credentials.end_probe, credentials=self._credentials))

    # From the queue to a claimed message.

    def _next_claimed(self) -> Claimed | None:
        """Returns a claimed message; None after a while if there is none, or nothing may be sent."""
        with self._claiming:
            if (known := self._caller.gateway.known_refusal()) is not None:  # every call would meet it
                self._hold(known.retry_after or self._poll_seconds)
            held = self._held_until - time.monotonic()
            if self._stopping.is_set():
                return None
            if held > 0:
                self._release_all()
                self._stopping.wait(held)
            elif not self._claimed:
                self._claimed.extend(self._database.write(self._claim))
                if not self._claimed:
                    self._stopping.wait(self._poll_seconds)
            return self._claimed.popleft() if self._claimed and not self._stopping.is_set() else None

    def _claim(self, session: Session) -> list[Claimed]:
        """Claims the first messages of the queue or, while Bandwidth refuses the credentials, the next to be tried."""
        closed = pace.closed_senders(session, self._rates.sender) if self._rates.sender else None
        claim = partial(queue.claim, session, now=times.now(), lease=self._lease, closed=closed)
        if not self._suspicion.is_raised or not pace.is_refused(session, self._credentials):
            return claim(limit=self._batch)
        if not queue.has_claimable(session, now=times.now()):
            return []
        # The probe may wait for a call that is under way before its own.
        lease = timedelta(seconds=2 * self._caller.gateway.timeout + RECORD_SECONDS)
        probe = credentials.claim_probe(session, self._credentials, lease=lease)
        if probe is None:
            return []
        found = self._claim_probe(claim, probe)
        credentials.note_probe(session, self._credentials, found[0] if found else None)
        return [replace(each, is_probe=True) for each in found]

    def _claim_probe(self, claim: Callable[..., list[Claimed]], probe: Probe) -> list[Claimed]:
        """Claims the message after the last one that was tried, beginning again after the end of the queue.

        A message that was denied alone is tried only if there is no other. If the messages at the head of the queue may
        be to blame, about every second probe takes the last message.
        """
        fresh = partial(claim, limit=1, is_fresh=True)
        from_end = probe.may_be_theirs and random.random() < 0.5  # noqa: S311
        return (from_end and fresh(from_end=True)) or fresh(after=probe.after) or fresh() or claim(limit=1)

    def _hold(self, seconds: float) -> None:
        """Lets this worker claim nothing for so many seconds."""
        self._held_until = max(self._held_until, time.monotonic() + min(seconds, LONGEST_OUTAGE))

    def _release_all(self) -> None:
        claimed, self._claimed = self._claimed, deque()
        if claimed:
            self._release(claimed)

    def _release(self, claimed: Iterable[Claimed]) -> None:
        self._database.write(partial(queue.release_claims, claimed=claimed, claimable_at=times.now()))

    # From a claimed message to its result.

    def _send(self, claimed: Claimed) -> SendResult | None:
        """Submits the message in its turn and calls Bandwidth; returns None if Bandwidth was not called."""
        attempt = self._submit(claimed)
        if attempt is None:
            return None
        with nullcontext() if self._is_paced else self._under_way:
            if self._stopping.is_set():
                self._undo_submit(claimed, attempt)
                return None
            return self._caller.call(claimed.message, tag=claimed.tag, attempt=attempt)

    def _submit(self, claimed: Claimed) -> Attempt | None:
        """Returns the attempt by which the message is submitting; None if it must not be sent."""
        begun = self._submit_by_pipeline(claimed) or self._commit(claimed, self._take_turn_and_submit)
        if begun.turn_in is not None:
            if self._stopping.wait(begun.turn_in):
                self._release([claimed])
                return None
            begun = self._commit(claimed, self._submit_now)
        if begun.has_expired:
            metrics.count_attempt(EXPIRED)
            log.warning("message expired", tag=claimed.tag)
        if begun.hold is not None:
            self._hold(begun.hold)
        self._suspicion.is_raised |= begun.is_suspect
        return begun.attempt

    def _submit_by_pipeline(self, claimed: Claimed) -> _Begun | None:
        """Submits the message in one round trip to the database; returns None if a turn or a check must come first."""
        if self._is_paced or claimed.is_probe or claimed.message.has_expired(times.now()):
            return None
        attempt = self._attempt(claimed)
        try:
            submitted = queue.submit_by_pipeline(self._database, claimed, attempt, credentials=self._credentials)
        except StorageUnavailable as error:
            if error.in_doubt:
                self._undo_submit(claimed, attempt)
            raise
        return _Begun(attempt=attempt, is_suspect=submitted.is_suspect) if submitted else None

    def _attempt(self, claimed: Claimed) -> Attempt:
        return self._caller.attempt(times.now(), number=claimed.attempts + 1, wait=self._caller.gateway.timeout)

    def _commit(self, claimed: Claimed, work: Callable[[Session, Claimed, Attempt], _Begun]) -> _Begun:
        """Commits what ``work`` does. If that is not confirmed it is undone, because nothing was sent yet."""
        attempt = self._attempt(claimed)
        try:
            return self._database.write(lambda session: work(session, claimed, attempt))
        except StorageUnavailable:
            self._undo_submit(claimed, attempt)
            raise

    def _undo_submit(self, claimed: Claimed, attempt: Attempt) -> None:
        undo = partial(queue.undo_submit, claimed=claimed, attempt=attempt)
        self._caller.store(claimed.tag, NOT_CALLED, undo)

    def _take_turn_and_submit(self, session: Session, claimed: Claimed, attempt: Attempt) -> _Begun:
        message, now = claimed.message, times.now()
        if message.has_expired(now):
            return _Begun(has_expired=queue.expire(session, claimed, now=now))
        turn = pace.take_turn(
            session,
            self._rates,
            sender=message.sender,
            units=units(message),
            credentials=self._credentials,
            heeds_refusal=not claimed.is_probe,
        )
        if turn.is_taken and turn.wait <= timedelta(0):
            return replace(self._submit_now(session, claimed, attempt), is_suspect=turn.is_suspect)
        if turn.is_taken:
            return _Begun(turn_in=turn.wait.total_seconds(), is_suspect=turn.is_suspect)
        queue.release_claims(session, [claimed], claimable_at=times.now())
        hold = self._poll_seconds if turn.is_refused else turn.ask_again_in
        return _Begun(hold=None if turn.is_senders else hold, is_suspect=turn.is_suspect)

    def _submit_now(self, session: Session, claimed: Claimed, attempt: Attempt) -> _Begun:
        return _Begun(attempt=attempt if queue.submit(session, claimed, attempt) else None)

    # From a result to its storing, or to the next attempt.

    def _store(self, claimed: Claimed, result: SendResult) -> None:
        if self._caller.accept(claimed.pk, number=claimed.attempts + 1, result=result, now=times.now()):
            return
        ending = _Ending(claimed=claimed, result=result, requeue=self._requeue)
        self._caller.store(claimed.tag, result, ending.write)
        if ending.requeued is not None:
            log.info("message requeued", tag=claimed.tag, seconds=round(ending.requeued.wait.total_seconds(), 1))
            if ending.requeued.begins_pause:
                log.error("credentials refused", tag=claimed.tag)
        if isinstance(result, Refused) and result.is_remembered:
            self._hold(result.retry_after or self._poll_seconds)

    def _requeue(self, session: Session, claimed: Claimed, refused: Refused) -> _Requeued | None:
        """Queues the message again; returns None if there is to be no other attempt."""
        if refused.is_remembered:
            return self._requeue_after(session, claimed, refused, wait=timedelta(0))
        if _refuses_credentials(refused):
            return self._deny(session, claimed, refused)
        failures = claimed.failures + (1 if _counts(refused) else 0)
        if not refused.is_repeatable or failures >= self._attempts:
            return None
        wait = backoff(failures, jitter=random.random()) if _counts(refused) else timedelta(0)  # noqa: S311
        return self._requeue_after(session, replace(claimed, failures=failures), refused, wait=wait)

    def _deny(self, session: Session, claimed: Claimed, refused: Refused) -> _Requeued | None:
        """Queues again a message that met a refusal of the credentials, or one that may be about itself alone.

        Returns None if there is to be no other attempt.
        """
        self._suspicion.is_raised = True
        denial = credentials.deny(session, self._credentials, claimed, refused)
        if denial is not Denial.ALONE:
            # A message that may itself be to blame lets others go first for a while; in a pause it is not refused.
            wait = FIRST_DENIED if refused.is_denial else timedelta(0)
            requeued = self._requeue_after(session, claimed, refused, wait=wait)
            return requeued and replace(requeued, begins_pause=denial is Denial.BEGINS)
        now = times.now()
        denied_at = claimed.denied_at or now
        if (alone := denied_wait(now - denied_at)) is None:
            return None
        return self._requeue_after(session, replace(claimed, denied_at=denied_at), refused, wait=alone)

    def _requeue_after(
        self, session: Session, claimed: Claimed, refused: Refused, *, wait: timedelta
    ) -> _Requeued | None:
        """Queues the message in its old place, for an attempt after ``wait``; keeps its failures and its denial."""
        now = times.now()
        is_queued = queue.requeue_after_failure(
            session,
            claimed,
            refused,
            failures=claimed.failures,
            claimable_at=now + wait,
            denied_at=claimed.denied_at,
            now=now,
        )
        return _Requeued(wait) if is_queued else None

    def _back_off(self, result: SendResult) -> None:
        """Holds the worker after failures in a row.

        Else one message after another would use up its attempts, or end unknown, while Bandwidth accepts none at all.
        """
        if _refuses_credentials(result) or (isinstance(result, Refused) and result.is_remembered):
            return  # it says nothing about the network, and has a pause of its own
        if not _is_outage(result):
            if self._outage:
                log.warning("worker resumed", failures=self._failures)
            self._failures, self._outage = 0, 0.0
            return
        self._failures += 1
        if self._failures >= self._batch and time.monotonic() >= self._held_until:
            self._outage = min(2 * self._outage or FIRST_OUTAGE, LONGEST_OUTAGE)
            seconds = self._outage * random.uniform(0.75, 1.25)  # noqa: S311
            log.warning("worker backing off", failures=self._failures, seconds=round(seconds, 1))
            self._hold(seconds)


def _is_outage(result: SendResult) -> bool:
    """Whether other messages would most likely have the same result."""
    return _counts(result) if isinstance(result, Refused) else isinstance(result, Unknown)


def _refuses_credentials(result: SendResult) -> bool:
    """Whether Bandwidth was called, and refused the credentials, or responded with what may be about them."""
    if not isinstance(result, Refused) or result.is_remembered:
        return False
    return result.is_about_credentials or result.is_denial


def _counts(refused: Refused) -> bool:
    """Whether the refusal uses up an attempt.

    A 429 does not, nor refused credentials, because all messages wait then; nor a call that was never made.
    """
    is_excused = (
        refused.because is RefusedBecause.RATE_LIMITED or refused.is_remembered or _refuses_credentials(refused)
    )
    return refused.is_repeatable and not is_excused
