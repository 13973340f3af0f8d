"""Delivery of callbacks: at least once, unordered, concurrent, and retried until the day is over.

Bandwidth, "Callbacks" guide: the receiver has 10 seconds to respond with any 2xx; otherwise the callback is sent
again, several times within 24 hours, and then it is lost. The intervals are not documented: here the first retry
comes after what stands for one minute, and each further one after about twice as long.
"""

import base64
import heapq
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

from receiver.core.times import now
from receiver.simulator.callbacks import Callback, CallbackAttempt, Chain
from receiver.simulator.switches import SimulatorOptions

HEADERS = {"User-Agent": "BandwidthAPI/v2", "Content-Type": "application/json; charset=utf-8"}
FAILURES = (OSError, HTTPException, UnicodeError)
"""What a failed attempt raises; UnicodeError comes from a malformed host name."""

MAX_BODY = 65536
"""How many bytes of a response's body are read; Bandwidth ignores it."""

MINUTES_OF_A_DAY = 24 * 60


class CallbackResponse(NamedTuple):
    """The receiver's response to one request."""

    status: int
    challenge: str
    """``WWW-Authenticate``, or the empty string."""


class CallbackConnection:
    """The connection of one attempt, which another thread can end; no client library offers that.

    Redirects are not followed: Bandwidth documents none.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        parts = urlsplit(url)
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._http = connect(parts.hostname or "", parts.port, timeout=timeout)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._ended = False

    def post(self, body: bytes, *, authorization: str | None = None) -> CallbackResponse:
        """Raises TimeoutError if there is no response in time, and one of FAILURES for any other failure."""
        headers = HEADERS if authorization is None else HEADERS | {"Authorization": authorization}
        timer = threading.Timer(self._timeout, self.end)
        timer.name, timer.daemon = "simulator-timeout", True
        timer.start()
        try:
            return self._post(body, headers)
        except FAILURES:
            if self._ended:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
            timer.join()

    def _post(self, body: bytes, headers: dict[str, str]) -> CallbackResponse:
        was_open = self._http.sock is not None
        try:
            response = self._request(body, headers)
        except ConnectionError:
            # A server that challenges before it has read the body may close the connection, and a client then opens
            # another one (RFC 9112, section 9.3.1).
            if not was_open or self._ended:
                raise
            self._http.close()
            response = self._request(body, headers)
        with response:
            if self._ended:  # in the middle of the headers, which http.client takes for their end
                raise TimeoutError
            self._skip_body(response)
        return CallbackResponse(response.status, response.headers.get("WWW-Authenticate", ""))

    def _request(self, body: bytes, headers: dict[str, str]) -> HTTPResponse:
        if self._http.sock is None:
            self._http.connect()
        self._socket = self._http.sock
        if self._ended:
            raise TimeoutError
        self._http.request("POST", self._target, body=body, headers=headers)
        return self._http.getresponse()

    def _skip_body(self, response: HTTPResponse) -> None:
        """Reads a body to its end, so that the request that follows a challenge can use the same connection."""
        with suppress(OSError, HTTPException):
            if len(response.read(MAX_BODY)) < MAX_BODY:
                return
        self._http.close()

    def end(self) -> None:
        """Makes the request under way fail; from any thread, any number of times."""
        self._ended = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._http.close()


@dataclass(order=True, slots=True)
class _Due:
    """A place in the queue: a chain, and when to post its first callback."""

    at: float
    number: int
    chain: Chain = field(compare=False)


class Delivery:
    """Posts callbacks from a few threads, each as soon as it is due."""

    def __init__(self, options: SimulatorOptions, *, random: Random) -> None:
        self.url = options.callback_url
        """Where callbacks are posted; None drops them."""
        self._options = options
        self._random = random
        self._changed = threading.Condition()
        self._queue: list[_Due] = []
        self._numbers = itertools.count()
        self._busy = 0
        self._connections: set[CallbackConnection] = set()
        self._stopping = False
        self._workers = [
            threading.Thread(target=self._work, name=f"simulator-callbacks-{number}", daemon=True)
            for number in range(options.workers)
        ]

    def start(self) -> None:
        """Starts the threads; until then callbacks wait."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Ends the requests under way and drops all other callbacks."""
        with self._changed:
            self._stopping = True
            for due in self._queue:
                due.chain[0].attempted.set()
            self._queue.clear()
            for connection in self._connections:
                connection.end()
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
                self._retry(callback)
        callback.attempted.set()

    def _retry(self, callback: Callback) -> None:
        age = (now() - callback.attempts[0].at).total_seconds()
        delay = self._retry_delay(len(callback.attempts))
        if age + delay > self._options.day:
            callback.given_up = True
        else:
            self._put([callback], delay=delay)

    def _retry_delay(self, attempts: int) -> float:
        """Seconds until the next attempt; scattered, so that callbacks refused together come back in any order."""
        minute = self._options.day / MINUTES_OF_A_DAY
        return minute * 2.0 ** (attempts - 1) * self._random.uniform(0.75, 1.25)

    def _attempt(self, callback: Callback) -> CallbackAttempt:
        at, url = now(), self.url
        if url is None:
            return CallbackAttempt(at=at, error="no callback URL")
        with self._open_connection(url) as connection:
            try:
                return CallbackAttempt(at=at, status=self._post(connection, callback.body))
            except TimeoutError:
                return CallbackAttempt(at=at, error=f"no response within {self._options.callback_timeout:g} s")
            except FAILURES as error:
                return CallbackAttempt(at=at, error=f"{type(error).__name__}: {error}")

    def _post(self, connection: CallbackConnection, body: bytes) -> int:
        """Returns the status. Bandwidth, "Callbacks" guide: credentials are sent only after 401 with
        ``WWW-Authenticate: Basic``."""
        response = connection.post(body)
        credentials = self._credentials()
        if response.status == 401 and credentials and response.challenge.lower().startswith("basic"):
            response = connection.post(body, authorization=credentials)
        return response.status

    def _credentials(self) -> str | None:
        user, password = self._options.callback_user, self._options.callback_password
        if user is None or password is None:
            return None
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    @contextmanager
    def _open_connection(self, url: str) -> Iterator[CallbackConnection]:
        """A connection that ``stop`` ends."""
        with closing(CallbackConnection(url, timeout=self._options.callback_timeout)) as connection:
            with self._changed:
                self._connections.add(connection)
                if self._stopping:
                    connection.end()
            try:
                yield connection
            finally:
                with self._changed:
                    self._connections.discard(connection)
