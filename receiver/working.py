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
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from receiver import metrics
from receiver.calling import EXPIRED, NOT_CALLED
from receiver.core import times
from receiver.core.messages import Answer, Refused, Unknown
from receiver.core.pace import Rates, backoff
from receiver.core.send_status import RefusedBecause
from receiver.errors import StorageUnavailable, place
from receiver.logs import get_logger
from receiver.sending import Sending, tidy
from receiver.storage import outbox, pacing, queue
from receiver.storage.database import Session
from receiver.storage.outbox import Attempt
from receiver.storage.queue import Claimed

log = get_logger(__name__)

LEASE = timedelta(seconds=30)
"""How long a claimed message is left to the worker that claimed it."""

POLL_SECONDS, TIDY_SECONDS = 0.5, 10
"""How often an empty queue is looked at; how often what was left behind by others is put in order."""

AFTER_ERROR_SECONDS = 1

FIRST_OUTAGE, LONGEST_OUTAGE = 1.0, 60.0
"""Seconds for which a worker sends nothing after as many failures in a row as it has requests under way."""

WRONG_SETTINGS = frozenset({401, 403, 404})
"""Answers that are about the credentials or the account, so every other message would be refused as well."""


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


class Worker:
    """Keeps ``threads`` requests to Bandwidth under way while there is something to send.

    A message whose ``attempts`` failed is refused; 429 does not count. Some more threads prepare the next requests and
    store the answers of the last, so that none of those under way waits for the database.
    """

    def __init__(self, sending: Sending, *, threads: int, attempts: int, lease: timedelta = LEASE) -> None:
        self._sending = sending
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
        # At a pace, a turn is taken only when its request can be made: those that had to wait would all go together.
        with self._under_way if self._is_paced else nullcontext():
            answer = self._send(claimed)
        if answer is not None:
            self._store(claimed, answer)
            with self._minding:
                self._mind_outage(answer)

    def _send(self, claimed: Claimed) -> Answer | None:
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
        rate = self._sending.rates.sender
        closed = pacing.closed(session, rate) if rate else None
        return queue.claim(session, now=times.now(), lease=self._lease, limit=self._batch, closed=closed)

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
        turn = pacing.take_turn(session, rates, sender=message.sender, units=message.units)
        if turn.is_taken and turn.wait <= timedelta(0):
            return self._submit(session, claimed, attempt)
        if turn.is_taken:
            return _Start(turn_in=turn.wait.total_seconds())
        queue.give_back(session, [claimed], claimable_at=times.now())
        return _Start(hold=None if turn.is_senders else turn.ask_again_in)

    def _submit(self, session: Session, claimed: Claimed, attempt: Attempt) -> _Start:
        return _Start(attempt=attempt if queue.submit(session, claimed, attempt) else None)

    def _store(self, claimed: Claimed, answer: Answer) -> None:
        def work(session: Session) -> timedelta | None:
            wait = self._put_back(session, claimed, answer) if isinstance(answer, Refused) else None
            if wait is None:
                now = times.now()
                outbox.record_answer(session, claimed.pk, attempt=claimed.attempt + 1, answer=answer, now=now)
            return wait

        wait = self._sending.store_answer(claimed.tag, answer, work)
        if wait is not None:
            log.info("a message is queued again", tag=claimed.tag, seconds=round(wait.total_seconds(), 1))

    def _put_back(self, session: Session, claimed: Claimed, answer: Refused) -> timedelta | None:
        """In how long there is to be another attempt; None if there is to be none."""
        failures = claimed.failures + (1 if _counts(answer) else 0)
        if not answer.is_repeatable or failures >= self._attempts:
            return None
        now = times.now()
        wait = backoff(failures, jitter=random.random()) if _counts(answer) else timedelta(0)  # noqa: S311
        is_back = queue.put_back(session, claimed, answer, failures=failures, claimable_at=now + wait, now=now)
        return wait if is_back else None

    def _mind_outage(self, answer: Answer) -> None:
        """One message after another would use up its attempts, or end, while Bandwidth takes none at all."""
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


def _is_outage(answer: Answer) -> bool:
    """Whether other messages would most likely fare no better."""
    if isinstance(answer, Refused):
        return _counts(answer) or answer.status in WRONG_SETTINGS
    return isinstance(answer, Unknown)


def _counts(answer: Refused) -> bool:
    """Whether it uses up an attempt: 429 does not, since all wait then."""
    return answer.is_repeatable and answer.because is not RefusedBecause.RATE_LIMITED
