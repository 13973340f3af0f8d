"""The worker: sends what is queued, at the pace of the account, and tries again what is known not to have been sent.

Any number of workers, on any number of hosts, share the queue. Three commits make one message: the claim of a batch,
``submitting``, and the answer. A worker that is killed before the second leaves the message to others once its lease is
over; after it, nobody knows whether the message is out, so it becomes unknown.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from receiver import metrics
from receiver.core import times
from receiver.core.messages import Refused, SendResult, Unknown
from receiver.core.pace import FIRST_DENIED, Rates, backoff, denied_wait
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Session
from receiver.errors import StorageUnavailable, place
from receiver.events.replies import Reader
from receiver.log import get_logger
from receiver.messages import credentials, outbox, pace, queue
from receiver.messages.call import EXPIRED, NOT_CALLED, RECORD_SECONDS
from receiver.messages.credentials import Denial, Probe
from receiver.messages.outbox import Attempt
from receiver.messages.queue import Claimed
from receiver.messages.sender import Sending, tidy

log = get_logger(__name__)

LEASE = timedelta(seconds=30)
"""How long a claimed message is left to the worker that claimed it."""

POLL_SECONDS, TIDY_SECONDS = 0.5, 10
"""How often an empty queue is looked at; how often what was left behind by others is put in order."""

AFTER_ERROR_SECONDS = 1

FIRST_OUTAGE, LONGEST_OUTAGE = 1.0, 60.0
"""Seconds for which a worker sends nothing after as many failures in a row as it has requests under way."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What became of the attempt to begin with a message."""

    attempt: Attempt | None = None
    """It is submitting by this one. If not, and nothing else is said, it is somebody else's, or has ended."""
    turn_in: float | None = None
    """It has its turn, in so many seconds."""
    has_expired: bool = False
    """It is refused now."""
    hold: float | None = None
    """It has no turn, and no other message has one, for so many seconds."""
    is_suspect: bool = False
    """Whether anything stands against the credentials."""


@dataclass(frozen=True, slots=True)
class _Back:
    """A message was queued again."""

    wait: timedelta
    """Until its next attempt."""
    begins_pause: bool = False
    """Whether all workers with these credentials pause from now on."""


class Worker:
    """Keeps ``threads`` requests to Bandwidth under way while there is something to send.

    A message whose ``attempts`` failed is refused; 429 does not count. Some more threads prepare the next requests and
    store the answers of the last, so that none of those under way waits for the database.
    """

    def __init__(self, sending: Sending, *, threads: int, attempts: int, lease: timedelta = LEASE) -> None:
        self._sending = sending
        self._suspicion, self._credentials = sending.suspicion, sending.gateway.fingerprint
        self._attempts = attempts
        self._lease = lease
        self._batch = threads
        self._under_way = threading.Semaphore(threads)
        self._is_paced = sending.rates != Rates()
        self._stopping = threading.Event()
        self._claiming = threading.Lock()
        self._claimed: deque[Claimed] = deque()
        self._held_until = 0.0
        self._minding = threading.Lock()
        self._failing, self._outage = 0, 0.0
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(threads + 1 + threads // 2)
        ]

    def run(self) -> None:
        """Works until stop() is called, and returns when every request under way is answered and stored."""
        for thread in self._threads:
            thread.start()
        with Reader(self._sending.database):
            while not self._stopping.is_set():
                self._safely(lambda: tidy(self._sending.database))
                self._stopping.wait(TIDY_SECONDS)
        with self._claiming:  # what is claimed is free for others at once, not when the lease or a slow request ends
            self._safely(self._give_back_all)
        self._under_way.release(len(self._threads))  # who is ready does not wait for a slow request
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Lets run() return; not for a signal handler, which could interrupt the very wait that this ends."""
        self._stopping.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._safely(self._send_next)

    def _safely(self, work: Callable[[], object]) -> None:
        """What one message, or a database that does not answer, does to a worker: nothing but a pause."""
        try:
            work()
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, StorageUnavailable):  # that is said once, however many find out
                log.error("the worker goes on after an error", error=type(error).__name__, place=place(error))  # noqa: TRY400
            self._stopping.wait(AFTER_ERROR_SECONDS)

    def _send_next(self) -> None:
        claimed = self._next()
        if claimed is None:
            return
        answer: SendResult | None = None
        try:
            # At a pace, a turn is taken only when its request can be made: those that waited would all go together.
            with self._under_way if self._is_paced else nullcontext():
                answer = self._send(claimed)
            if answer is not None:
                self._store(claimed, answer)
                with self._minding:
                    self._mind_outage(answer)
        finally:
            if claimed.is_probe and (answer is None or not _refuses_credentials(answer)):
                self._sending.database.write(lambda session: credentials.end_probe(session, self._credentials))

    def _send(self, claimed: Claimed) -> SendResult | None:
        """Bandwidth's answer; None if it was not called."""
        attempt = self._begin(claimed)
        if attempt is None:
            return None
        with nullcontext() if self._is_paced else self._under_way:
            if self._stopping.is_set():
                self._take_back(claimed, attempt)
                return None
            return self._sending.call(claimed.message, tag=claimed.tag, attempt=attempt, number=claimed.attempt + 1)

    def _next(self) -> Claimed | None:
        """A claimed message; None after a while if there is none, or nothing may be sent."""
        with self._claiming:
            if (known := self._sending.gateway.known_refusal()) is not None:  # every call would be answered so
                self._hold(known.retry_after or POLL_SECONDS)
            held = self._held_until - time.monotonic()
            if self._stopping.is_set():
                return None
            if held > 0:
                self._give_back_all()
                self._stopping.wait(held)
            elif not self._claimed:
                self._claimed.extend(self._sending.database.write(self._claim))
                if not self._claimed:
                    self._stopping.wait(POLL_SECONDS)
            return self._claimed.popleft() if self._claimed and not self._stopping.is_set() else None

    def _claim(self, session: Session) -> list[Claimed]:
        """The first messages of the queue; while Bandwidth refuses the credentials none but the next to be tried."""
        rate = self._sending.rates.sender
        closed = pace.closed(session, rate) if rate else None
        claim = partial(queue.claim, session, now=times.now(), lease=self._lease, closed=closed)
        if not self._suspicion.is_raised or not pace.is_refused(session, self._credentials):
            return claim(limit=self._batch)
        if not queue.has_claimable(session, now=times.now()):
            return []
        # It may wait for a call that is under way before its own.
        lease = timedelta(seconds=2 * self._sending.gateway.timeout + RECORD_SECONDS)
        probe = credentials.claim_probe(session, self._credentials, lease=lease)
        if probe is None:
            return []
        found = self._claim_probe(claim, probe)
        credentials.note_probe(session, self._credentials, found[0] if found else None)
        return [replace(each, is_probe=True) for each in found]

    def _claim_probe(self, claim: Callable[..., list[Claimed]], probe: Probe) -> list[Claimed]:
        """The next message of the queue, and after the last the first; one that was denied alone only if there is no
        other. Where the messages at its head may be to blame it is, about every second time, the last."""
        fresh = partial(claim, limit=1, is_fresh=True)
        from_end = probe.may_be_theirs and random.random() < 0.5  # noqa: S311
        return (from_end and fresh(from_end=True)) or fresh(after=probe.after) or fresh() or claim(limit=1)

    def _begin(self, claimed: Claimed) -> Attempt | None:
        """The attempt by which the message is submitting now; None if it is not to be sent."""
        start = self._write(claimed, self._start)
        if start.turn_in is not None:
            if self._stopping.wait(start.turn_in):
                write = self._sending.database.write
                write(lambda session: queue.give_back(session, [claimed], claimable_at=times.now()))
                return None
            start = self._write(claimed, self._submit)
        if start.has_expired:
            metrics.sent(EXPIRED)
            log.warning("a message has expired while it waited", tag=claimed.tag)
        if start.hold is not None:
            self._hold(start.hold)
        self._suspicion.is_raised |= start.is_suspect
        return start.attempt

    def _write(self, claimed: Claimed, work: Callable[[Session, Claimed, Attempt], _Start]) -> _Start:
        """What ``work`` returns; undone if nobody can tell whether it was committed, because nothing was sent yet."""
        attempt = self._sending.attempt(times.now(), wait=self._sending.gateway.timeout)
        try:
            return self._sending.database.write(lambda session: work(session, claimed, attempt))
        except StorageUnavailable:
            self._take_back(claimed, attempt)
            raise

    def _take_back(self, claimed: Claimed, attempt: Attempt) -> None:
        """Leaves to others what was not sent."""
        self._sending.store_answer(claimed.tag, NOT_CALLED, partial(queue.take_back, claimed=claimed, attempt=attempt))

    def _start(self, session: Session, claimed: Claimed, attempt: Attempt) -> _Start:
        message, rates, now = claimed.message, self._sending.rates, times.now()
        if message.has_expired(now):
            return _Start(has_expired=queue.expire(session, claimed, now=now))
        turn = pace.take_turn(
            session,
            rates,
            sender=message.sender,
            units=message.units,
            credentials=self._credentials,
            heeds_refusal=not claimed.is_probe,
        )
        if turn.is_taken and turn.wait <= timedelta(0):
            return replace(self._submit(session, claimed, attempt), is_suspect=turn.is_suspect)
        if turn.is_taken:
            return _Start(turn_in=turn.wait.total_seconds(), is_suspect=turn.is_suspect)
        queue.give_back(session, [claimed], claimable_at=times.now())
        hold = POLL_SECONDS if turn.is_refused else turn.ask_again_in
        return _Start(hold=None if turn.is_senders else hold, is_suspect=turn.is_suspect)

    def _submit(self, session: Session, claimed: Claimed, attempt: Attempt) -> _Start:
        return _Start(attempt=attempt if queue.submit(session, claimed, attempt) else None)

    def _store(self, claimed: Claimed, answer: SendResult) -> None:
        last: _Back | None = None  # whose commit may be durable although nobody heard of it

        def work(session: Session) -> None:
            nonlocal last
            back = self._put_back(session, claimed, answer) if isinstance(answer, Refused) else None
            last = back or last
            if back is None:
                now = times.now()
                outbox.record_answer(session, claimed.pk, attempt=claimed.attempt + 1, answer=answer, now=now)

        self._sending.store_answer(claimed.tag, answer, work)
        if last is not None:
            log.info("a message is queued again", tag=claimed.tag, seconds=round(last.wait.total_seconds(), 1))
        if last is not None and last.begins_pause:
            log.error("credentials refused", tag=claimed.tag)
        if isinstance(answer, Refused) and answer.is_remembered:
            self._hold(answer.retry_after or POLL_SECONDS)

    def _put_back(self, session: Session, claimed: Claimed, answer: Refused) -> _Back | None:
        """Queues the message again; None if there is to be no other attempt."""
        if answer.is_remembered:
            return self._queue_again(session, claimed, answer, wait=timedelta(0))
        if _refuses_credentials(answer):
            return self._deny(session, claimed, answer)
        failures = claimed.failures + (1 if _counts(answer) else 0)
        if not answer.is_repeatable or failures >= self._attempts:
            return None
        wait = backoff(failures, jitter=random.random()) if _counts(answer) else timedelta(0)  # noqa: S311
        return self._queue_again(session, replace(claimed, failures=failures), answer, wait=wait)

    def _deny(self, session: Session, claimed: Claimed, answer: Refused) -> _Back | None:
        """Queues again a message that met a refusal of the credentials, or one that may be about itself alone; None if
        there is to be no other attempt."""
        self._suspicion.is_raised = True
        denial = credentials.deny(session, self._credentials, claimed, answer)
        if denial is not Denial.ALONE:
            # What may be to blame itself leaves the others its place for a while; it is not refused in a pause.
            wait = FIRST_DENIED if answer.is_denial else timedelta(0)
            back = self._queue_again(session, claimed, answer, wait=wait)
            return back and replace(back, begins_pause=denial is Denial.BEGINS)
        now = times.now()
        denied_at = claimed.denied_at or now
        if (alone := denied_wait(now - denied_at)) is None:
            return None
        return self._queue_again(session, replace(claimed, denied_at=denied_at), answer, wait=alone)

    def _queue_again(self, session: Session, claimed: Claimed, answer: Refused, *, wait: timedelta) -> _Back | None:
        """Leaves a message in its place, to be tried after ``wait``, with the failures and the denial it is given."""
        now = times.now()
        is_back = queue.put_back(
            session,
            claimed,
            answer,
            failures=claimed.failures,
            claimable_at=now + wait,
            denied_at=claimed.denied_at,
            now=now,
        )
        return _Back(wait) if is_back else None

    def _mind_outage(self, answer: SendResult) -> None:
        """One message after another would use up its attempts, or end, while Bandwidth takes none at all."""
        if _refuses_credentials(answer) or (isinstance(answer, Refused) and answer.is_remembered):
            return  # says nothing about the network, and has a pause of its own
        if not _is_outage(answer):
            if self._outage:
                log.warning("the worker sends again", failures=self._failing)
            self._failing, self._outage = 0, 0.0
            return
        self._failing += 1
        if self._failing >= self._batch and time.monotonic() >= self._held_until:
            self._outage = min(2 * self._outage or FIRST_OUTAGE, LONGEST_OUTAGE)
            seconds = self._outage * random.uniform(0.75, 1.25)  # noqa: S311
            log.warning("the worker holds back", failures=self._failing, seconds=round(seconds, 1))
            self._hold(seconds)

    def _hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, time.monotonic() + min(seconds, LONGEST_OUTAGE))

    def _give_back_all(self) -> None:
        claimed, self._claimed = self._claimed, deque()
        if claimed:
            now = times.now()
            self._sending.database.write(lambda session: queue.give_back(session, claimed, claimable_at=now))


def _is_outage(answer: SendResult) -> bool:
    """Whether other messages would most likely fare no better."""
    return _counts(answer) if isinstance(answer, Refused) else isinstance(answer, Unknown)


def _refuses_credentials(answer: SendResult) -> bool:
    """Whether Bandwidth was asked, and refused the credentials, or what may be about them."""
    if not isinstance(answer, Refused) or answer.is_remembered:
        return False
    return answer.is_about_credentials or answer.is_denial


def _counts(answer: Refused) -> bool:
    """Whether it uses up an attempt. 429 does not, nor refused credentials, since all wait then; nor what nobody was
    asked for."""
    is_excused = answer.because is RefusedBecause.RATE_LIMITED or answer.is_remembered or _refuses_credentials(answer)
    return answer.is_repeatable and not is_excused
