"""The wire: one request, and whether anything of it was written.

Whether a request went out is never guessed from the kind of an exception. A call that fails before its first byte was
written was not sent; after it, only the status that Bandwidth answered with says what happened.
"""

import http.client
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

MAX_IDLE = 2.0  # seconds; a peer may close an idle connection at any moment, which makes a false unknown


class _Abandoned(Exception):
    """The caller has stopped waiting, so nothing may be written any more."""


class Call:
    """One request and how far it got; shared by the caller, who waits, and the thread that talks to Bandwidth."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.written = False
        self.reply: http.client.HTTPResponse | None = None
        self.body: bytes | None = None
        self.error: Exception | None = None
        self._abandoned = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def carry_out(self, exchange: Callable[[], bytes | None], *, seconds: float) -> None:
        """Runs ``exchange`` in a thread of its own: no time-out of a socket ends a name look-up or a trickle."""
        thread = threading.Thread(target=self._run, args=(exchange,), name="bandwidth-gateway", daemon=True)
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
            self.body = exchange()
        except Exception as error:  # noqa: BLE001 - what it means does not depend on what it is
            with self._lock:
                self.error = None if self._abandoned else error

    def begin_write(self, connected: socket.socket) -> None:
        """Called before a byte is written: raises if the caller has stopped waiting, and notes it otherwise."""
        with self._lock:
            if self._abandoned:
                raise _Abandoned
            self.written, self._socket = True, connected

    def let_go(self) -> None:
        """The connection goes back to the pool and may be another call's from now on."""
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
        """Bandwidth's status as soon as its line has been read, even if the headers never end."""
        status = self.reply and self.reply.status
        return status if isinstance(status, int) else None

    def header(self, name: str) -> str:
        """A header's text; empty if there is none, or while the headers have not all been read."""
        return str(self.reply.headers.get(name, "")).strip() if self.reply and self.reply.headers else ""


_here = threading.local()
"""``_here.call`` is the call that this thread carries out: so a connection of the shared pool finds it."""


class _Reply(http.client.HTTPResponse):
    """An answer that its call can look at while it is still being read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _here.call.reply = self


class _Connection(HTTPConnection):
    """A connection on which every byte of a request, on a first use or a later one, is noted before it is written."""

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
