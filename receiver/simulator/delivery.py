"""The callback side: at least once, unordered, concurrent, and until the day is over.

Bandwidth, "Callbacks" guide: the receiver has 10 seconds to answer with any 2xx; otherwise the callback is sent
again, several times within 24 hours, and then it is lost. How far apart is not documented: here the first
repetition comes after what stands for one minute, each next one after about twice as long.
"""

import base64
import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from random import Random

from receiver.simulator.callbacks import Chain
from receiver.simulator.clock import now
from receiver.simulator.exchange import FAILURES, Exchange
from receiver.simulator.messages import Attempt, Callback
from receiver.simulator.options import SimulatorOptions

MINUTES_OF_A_DAY = 24 * 60


@dataclass(order=True, slots=True)
class _Due:
    """A place in the queue: the first callback of a chain, and when to post it."""

    at: float
    number: int
    chain: Chain = field(compare=False)


class Delivery:
    """Posts callbacks from a few threads, each as soon as it is due."""

    def __init__(self, options: SimulatorOptions, *, random: Random) -> None:
        self.url = options.callback_url
        self._options = options
        self._random = random
        self._changed = threading.Condition()
        self._queue: list[_Due] = []
        self._numbers = itertools.count()
        self._busy = 0
        self._under_way: set[Exchange] = set()
        self._stopping = False
        self._workers = [
            threading.Thread(target=self._work, name=f"simulator-callbacks-{number}", daemon=True)
            for number in range(options.workers)
        ]

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Ends what is under way and forgets the rest."""
        with self._changed:
            self._stopping = True
            for due in self._queue:
                due.chain[0].attempted.set()
            self._queue.clear()
            for exchange in self._under_way:
                exchange.end()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def submit(self, chain: Chain) -> None:
        """Delivers the callbacks of ``chain``, each once the one before it has been attempted."""
        with self._changed:
            self._put(chain, delay=chain[0].delay)

    def wait_until_idle(self, timeout: float | None = None) -> bool:
        """Waits until every callback is acknowledged or given up; False if that took more than ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._busy, timeout)

    def _put(self, chain: Chain, *, delay: float) -> None:
        if self._stopping or self.url is None:
            chain[0].attempted.set()
            return
        heapq.heappush(self._queue, _Due(time.monotonic() + delay, next(self._numbers), chain))
        self._changed.notify_all()

    def _work(self) -> None:
        while (chain := self._next()) is not None:
            try:
                self._deliver(chain)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next(self) -> Chain | None:
        """Waits for a callback that is due; None when it is time to stop."""
        with self._changed:
            while not self._stopping:
                wait = self._queue[0].at - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    self._busy += 1
                    return heapq.heappop(self._queue).chain
                self._changed.wait(wait)
            return None

    def _deliver(self, chain: Chain) -> None:
        callback, rest = chain[0], chain[1:]
        attempt = self._attempt(callback)
        callback.attempts.append(attempt)
        callback.acknowledged = attempt.succeeded
        with self._changed:
            if rest:
                self._put(rest, delay=rest[0].delay)
            if not attempt.succeeded:
                self._repeat(callback)
        callback.attempted.set()

    def _repeat(self, callback: Callback) -> None:
        age = (now() - callback.attempts[0].at).total_seconds()
        delay = self._spacing(len(callback.attempts))
        if age + delay > self._options.day:
            callback.given_up = True
        else:
            self._put([callback], delay=delay)

    def _spacing(self, attempts: int) -> float:
        """Seconds until the next attempt; scattered, so that callbacks refused together come back in any order."""
        minute = self._options.day / MINUTES_OF_A_DAY
        return minute * 2.0 ** (attempts - 1) * self._random.uniform(0.75, 1.25)

    def _attempt(self, callback: Callback) -> Attempt:
        at, url = now(), self.url
        if url is None:
            return Attempt(at=at, error="no callback URL")
        with self._exchange(url) as exchange:
            try:
                return Attempt(at=at, status=self._post(exchange, callback.body))
            except TimeoutError:
                return Attempt(at=at, error=f"no answer within {self._options.callback_timeout:g} s")
            except FAILURES as error:
                return Attempt(at=at, error=f"{type(error).__name__}: {error}")

    def _post(self, exchange: Exchange, body: bytes) -> int:
        """Bandwidth, "Callbacks" guide: credentials follow only upon 401 with ``WWW-Authenticate: Basic``."""
        answer = exchange.post(body)
        credentials = self._credentials()
        if answer.status == 401 and credentials and answer.challenge.lower().startswith("basic"):
            answer = exchange.post(body, authorization=credentials)
        return answer.status

    def _credentials(self) -> str | None:
        user, password = self._options.callback_user, self._options.callback_password
        if user is None or password is None:
            return None
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    @contextmanager
    def _exchange(self, url: str) -> Iterator[Exchange]:
        with closing(Exchange(url, timeout=self._options.callback_timeout)) as exchange:
            with self._changed:
                self._under_way.add(exchange)
                if self._stopping:
                    exchange.end()
            try:
                yield exchange
            finally:
                with self._changed:
                    self._under_way.discard(exchange)
