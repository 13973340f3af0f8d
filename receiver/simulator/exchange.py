"""One attempt's connection to the receiver of callbacks."""

import socket
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

HEADERS = {"User-Agent": "BandwidthAPI/v2", "Content-Type": "application/json; charset=utf-8"}
FAILURES = (OSError, HTTPException, UnicodeError)  # the last is what a malformed host name raises
MOST_READ = 65536  # bytes of an answer's body, which Bandwidth ignores


class Answer(NamedTuple):
    status: int
    challenge: str
    """``WWW-Authenticate``, or the empty string."""


class Exchange:
    """Posts to the callback URL and can be ended from another thread, which no client library offers.

    Redirects are not followed: Bandwidth documents none.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        parts = urlsplit(url)
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = connect(parts.hostname or "", parts.port, timeout=timeout)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._ended = False

    def post(self, body: bytes, *, authorization: str | None = None) -> Answer:
        """Raises TimeoutError if there is no answer in time, and one of FAILURES for what else goes wrong."""
        headers = HEADERS if authorization is None else HEADERS | {"Authorization": authorization}
        late = threading.Timer(self._timeout, self.end)
        late.name, late.daemon = "simulator-timeout", True
        late.start()
        try:
            return self._post(body, headers)
        except FAILURES:
            if self._ended:
                raise TimeoutError from None
            raise
        finally:
            late.cancel()
            late.join()

    def _post(self, body: bytes, headers: dict[str, str]) -> Answer:
        was_open = self._connection.sock is not None
        try:
            response = self._ask(body, headers)
        except ConnectionError:
            # Whoever sends a challenge before the body has come closes the connection behind it, and any client then
            # takes another one (RFC 9112, section 9.3.1).
            if not was_open or self._ended:
                raise
            self._connection.close()
            response = self._ask(body, headers)
        with response:
            if self._ended:  # in the middle of the headers, which http.client takes for their end
                raise TimeoutError
            self._skip_body(response)
        return Answer(response.status, response.headers.get("WWW-Authenticate", ""))

    def _ask(self, body: bytes, headers: dict[str, str]) -> HTTPResponse:
        if self._connection.sock is None:
            self._connection.connect()
        self._socket = self._connection.sock
        if self._ended:
            raise TimeoutError
        self._connection.request("POST", self._target, body=body, headers=headers)
        return self._connection.getresponse()

    def _skip_body(self, response: HTTPResponse) -> None:
        """Reads a body to its end, so that the answer to a challenge can go over the same connection."""
        with suppress(OSError, HTTPException):
            if len(response.read(MOST_READ)) < MOST_READ:
                return
        self._connection.close()

    def end(self) -> None:
        """Makes whatever is under way fail; from any thread, any number of times."""
        self._ended = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()
