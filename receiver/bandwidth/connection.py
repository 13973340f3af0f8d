"""One HTTP request, and whether anything of it was written.

Whether a request went out is never guessed from the kind of an exception. A call that fails before its first byte is
written was not sent; after it, only Bandwidth's status says what happened.

urllib3's own exceptions would be shorter by a hundred lines: a new connection for every call, NewConnectionError,
ConnectTimeoutError and NameResolutionError mean "not sent", all others "unknown". But then a failed TLS handshake, or a
call whose time is up before its first byte, which are certain refusals here, would be unknowns that a person has to
resolve, and every call would need a TLS handshake. The thread per call stays because no time-out of a socket limits a
name look-up or a response that trickles in.
"""

import base64
import http.client
import math
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

MAX_IDLE = 2.0
"""Seconds. A peer may close an idle connection at any moment, and a request on it would be an unknown."""

MAX_BODY = 2**20
"""Bytes. A longer response counts as unreadable."""

POOL_SIZE = 256
"""Connections that are kept; a call beyond them still gets one of its own."""

HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "bandwidth-receiver",
}


class _Abandoned(Exception):
    """The caller has stopped waiting, so nothing may be written any more."""


class TooLate(Exception):
    """There is not enough time left to wait for a response, so nothing was written."""


class Call:
    """One request and how far it got; shared by the caller, who waits, and the thread that talks to Bandwidth.

    Its first byte is written by ``write_until``, in seconds of ``clock``, or never. ``secrets`` are the Authorization
    values of this request and the one that it repeats; a response that quotes them must not bring them into a stored
    text. ``name`` is the thread's name.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        write_until: float = math.inf,
        secrets: Sequence[str] = (),
        name: str = "bandwidth-gateway",
    ) -> None:
        self.clock = clock
        self.secrets = tuple(secrets)
        self.name = name
        self.written = False
        self.reply: http.client.HTTPResponse | None = None
        self.body: bytes | None = None
        self.error: Exception | None = None
        self._write_until = write_until
        self._abandoned = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def carry_out(self, exchange: Callable[[], bytes | None], *, seconds: float) -> None:
        """Runs ``exchange`` in a thread of its own, for at most ``seconds``. Never raises."""
        thread = threading.Thread(target=self._run, args=(exchange,), name=self.name, daemon=True)
        try:
            thread.start()
            thread.join(seconds)
        except RuntimeError as error:  # this machine has no thread left
            self.error = error
        finally:
            self._abandon()

    def _run(self, exchange: Callable[[], bytes | None]) -> None:
        _here.call = self
        try:
            body = exchange()
            with self._lock:
                self.body = None if self._abandoned else body
        except Exception as error:  # noqa: BLE001 - what it means does not depend on what it is
            with self._lock:
                self.error = None if self._abandoned else error

    def begin_write(self, connected: socket.socket) -> None:
        """Must be called before a byte is written: raises if nothing may be written any more."""
        with self._lock:
            if self._abandoned:
                raise _Abandoned
            if not self.written and self.clock() > self._write_until:
                raise TooLate
            self.written, self._socket = True, connected

    def let_go(self) -> None:
        """Gives up the connection, which goes back to the pool and may be another call's from now on."""
        with self._lock:
            self._socket = None

    def _abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._socket is not None:
                with suppress(OSError):
                    # Not SSLSocket.shutdown: it drops the encryption first, under a thread that may be writing.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    @property
    def status(self) -> int | None:
        """The HTTP status as soon as its line has been read, even if the headers never end; else None."""
        status = self.reply and self.reply.status
        return status if isinstance(status, int) else None

    def header(self, name: str) -> str:
        """The value of a header; ``""`` if there is none, or while not all headers have been read."""
        return str(self.reply.headers.get(name, "")).strip() if self.reply and self.reply.headers else ""


_here = threading.local()
"""``_here.call`` is the call that this thread carries out, so that a connection of the shared pool finds it."""


class _Reply(http.client.HTTPResponse):
    """A response that its call can see while it is still being read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _here.call.reply = self


class _Connection(HTTPConnection):
    """A connection that tells its call before it writes a byte of a request, on its first use or a later one."""

    response_class = _Reply
    _used_at = 0.0

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _here.call.begin_write(self.sock)
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 does
        response = super().getresponse()
        self._used_at = _here.call.clock()
        return response

    @property
    def is_connected(self) -> bool:
        """Whether the pool may re-use this connection."""
        return _here.call.clock() - self._used_at <= MAX_IDLE and super().is_connected


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def _put_conn(self, conn: Any) -> None:  # urllib3 comes by here before it offers a connection to others
        _here.call.let_go()
        super()._put_conn(conn)


class SecurePool(Pool, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def make_session(credentials: tuple[str, str] | None = None) -> requests.Session:
    """A session for exchange(): it ignores the environment, and retries nothing.

    ``credentials`` are a user and a password for Basic authentication; without them the session sends none.
    """
    adapter = HTTPAdapter(pool_maxsize=POOL_SIZE, max_retries=0)
    adapter.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
    session = requests.Session()
    session.trust_env = False  # neither proxies, nor .netrc, nor certificates that the environment names
    session.headers.update(HEADERS)
    if credentials is not None:
        session.headers["Authorization"] = basic(*credentials)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def basic(user: str, password: str) -> str:
    """The Authorization value for Basic authentication in UTF-8 (RFC 7617, section 2.1)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def exchange(session: requests.Session, request: requests.Request, *, timeouts: tuple[float, float]) -> bytes | None:
    """Makes the request of a Call; returns the body of the response, or None unless all of it was read."""
    prepared = session.prepare_request(request)
    # Not Session.send: it keeps cookies, and reads the whole body of a redirect even if it does not follow it.
    adapter = session.get_adapter(request.url)
    with adapter.send(prepared, stream=True, timeout=timeouts) as response:
        # Leaving this block closes the connection unless the body was read to its end. A 1xx needs that: a final
        # response may follow it (RFC 9110, 15.2), which must not become the next call's.
        if response.status_code < 200:
            return None
        body: bytes = response.raw.read(MAX_BODY + 1)
        return None if response.raw.length_remaining else body
