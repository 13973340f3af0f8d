"""The gateway: sends one message to Bandwidth and says truthfully what became of the request.

Whether a request went out is never guessed from the kind of an exception. Every call has a *line*, crossed right
before the first byte of its request is written: a call that fails before the line was not sent, and past the line
only the status that Bandwidth answered with says what happened. https://dev.bandwidth.com/docs/messaging/errors/
"""

import http.client
import json
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from receiver.core.events import MAX_MESSAGE_ID, clean_text, is_storable
from receiver.core.messages import Accepted, Answer, OutboundMessage, Refused, Unknown
from receiver.core.send_status import RefusedBecause

MAX_BODY = 2**20  # bytes; a longer answer counts as unreadable
MAX_TYPE, MAX_DESCRIPTION = 128, 1024  # characters
MAX_SEGMENTS, MAX_RETRY_AFTER = 2**31 - 1, 86_400
HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "bandwidth-receiver",
}
MAX_IDLE = 2.0  # seconds; a peer may close an idle connection at any moment, which makes a false unknown
POOL_SIZE = 256  # connections kept; a call beyond them still gets one of its own

logger = logging.getLogger(__name__)


class BandwidthGateway:
    """Creates messages at Bandwidth; one gateway is shared by any number of threads.

    ``api_url`` is the base up to and with ``/api/v2``; the time-outs are in seconds, and a call ends after their
    sum, whatever the network does. ``clock`` (monotonic seconds) tells how long a connection has been idle.
    """

    def __init__(
        self,
        *,
        api_url: str,
        account_id: str,
        username: str,
        password: str,
        connect_timeout: float,
        read_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{api_url.rstrip('/')}/users/{quote(account_id, safe='')}/messages"
        self._timeouts = (connect_timeout, read_timeout)
        self._clock = clock
        self._session = _session(username=username, password=password)

    @property
    def timeout(self) -> float:
        """Seconds after which every call has ended."""
        return sum(self._timeouts)

    def create_message(self, message: OutboundMessage, *, tag: str) -> Answer:
        """Send ``message`` once; nothing that the network or Bandwidth can do makes this raise.

        Bandwidth has no idempotency key: a ``Refused`` was certainly not sent, an ``Unknown`` may have been.
        """
        started = time.monotonic()
        call = _Call(self._clock)
        call.carry_out(lambda: self._exchange(message, tag), seconds=self.timeout)
        answer = _answer(call)
        _log(answer, tag=tag, seconds=time.monotonic() - started)
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _exchange(self, message: OutboundMessage, tag: str) -> bytes | None:
        content = json.dumps(_request_fields(message, tag)).encode()
        request = self._session.prepare_request(requests.Request("POST", self._url, data=content))
        # Not Session.send: it keeps cookies, and reads the whole body of a redirect that it does not even follow.
        adapter = self._session.get_adapter(self._url)
        with adapter.send(request, stream=True, timeout=self._timeouts) as response:
            # Leaving this block closes the connection, unless the body was read to its very end. That is what a
            # 1xx needs: a final answer may follow it (RFC 9110, 15.2), and must not become the next call's.
            if response.status_code < 200:
                return None
            body: bytes = response.raw.read(MAX_BODY + 1)
            return None if response.raw.length_remaining else body


def _request_fields(message: OutboundMessage, tag: str) -> dict[str, Any]:
    """The documented fields; what the message does not have is left out."""
    fields = {
        "applicationId": message.application_id,
        "to": message.to,
        "from": message.sender,
        "text": message.text,
        "media": message.media,
        "tag": tag,
        "priority": message.priority,
        "expiration": message.expiration and _rfc3339(message.expiration),
    }
    return {name: value for name, value in fields.items() if value}


def _rfc3339(instant: datetime) -> str:
    """As Bandwidth writes it: ``2021-07-21T21:00:45.179Z``, without the fraction when there is none."""
    timespec = "milliseconds" if instant.microsecond else "seconds"
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def _log(answer: Answer, *, tag: str, seconds: float) -> None:
    level, known = (
        (logging.INFO, 202) if isinstance(answer, Accepted) else (logging.WARNING, answer.status or answer.type)
    )
    logger.log(level, "message %s %s (%s) in %.0f ms", tag, type(answer).__name__.lower(), known, seconds * 1000)


# What an answer means -----------------------------------------------------------------------------------------


def _answer(call: "_Call") -> Answer:
    status = call.status
    if not call.crossed:
        return _unreachable(call.error)
    if status is None:
        return _unanswered(call.error)
    said = _json_object(call.body)
    if status == 202:
        return _accepted(said)
    type_, description = _complaint(said)
    documented = isinstance(said.get("type"), str) and isinstance(said.get("description"), str)
    if status // 100 != 4 and not (status == 500 and documented):
        return Unknown(status=status, type=type_, description=description)
    return Refused(
        because=RefusedBecause.RATE_LIMITED if status == 429 else RefusedBecause.BANDWIDTH,
        status=status,
        type=type_,
        description=description,
        field_errors=_field_errors(said),
        retry_after=_retry_after(call.header("Retry-After")) if status == 429 else None,
    )


def _accepted(said: dict[str, Any]) -> Accepted:
    message_id, segments = said.get("id"), said.get("segmentCount")
    id_fits = isinstance(message_id, str) and 0 < len(message_id) <= MAX_MESSAGE_ID and is_storable(message_id)
    segments_fit = type(segments) is int and 0 <= segments <= MAX_SEGMENTS
    return Accepted(message_id=message_id if id_fits else None, segment_count=segments if segments_fit else None)


_NOT_SENT: tuple[tuple[type[Exception], str, str], ...] = (
    (socket.gaierror, "name-not-resolved", "This machine's DNS does not know the host in BANDWIDTH_API_URL."),
    (TimeoutError, "connect-timeout", "No connection in time: check BANDWIDTH_API_URL, the network and firewall."),
    (ssl.SSLError, "tls-failed", "No trusted TLS: check BANDWIDTH_API_URL, this machine's clock and any TLS proxy."),
    (ConnectionRefusedError, "connection-refused", "Nothing listens at the host and port in BANDWIDTH_API_URL."),
    (ValueError, "invalid-url", "BANDWIDTH_API_URL is not a URL that can be called."),
    (Exception, "connection-failed", "No connection: check BANDWIDTH_API_URL, the network and the firewall."),
)
"""How a failure before the line is worded, the first that fits; that nothing was sent is known without it."""


def _unreachable(error: Exception | None) -> Refused:
    causes = list(_causes(error))
    type_, description = next(words for kind, *words in _NOT_SENT if any(isinstance(cause, kind) for cause in causes))
    return Refused(because=RefusedBecause.UNREACHABLE, type=type_, description=description)


def _unanswered(error: Exception | None) -> Unknown:
    if any(isinstance(cause, TimeoutError) for cause in _causes(error)):
        return Unknown(type="timed-out", description="No answer in time; Bandwidth may have the message.")
    return Unknown(type="no-answer", description="The connection broke; Bandwidth may have the message.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    error = error or TimeoutError()  # a call without an error was abandoned
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _json_object(body: bytes | None) -> dict[str, Any]:
    """The body as a JSON object; empty if it is anything else, too long, or was not read to its end."""
    if body is None or len(body) > MAX_BODY:
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _complaint(said: dict[str, Any]) -> tuple[str | None, str | None]:
    """Type and description: the usual shape, that of a wrong path, or that of a multi-channel answer."""
    shapes = [(said, "type", "description"), (said, "error", "message")]
    shapes += [(error, "type", "description") for error in _objects(said.get("errors"))]
    for fields, type_name, description_name in shapes:
        type_, description = fields.get(type_name), fields.get(description_name)
        if isinstance(type_, str) or isinstance(description, str):
            return _kept(type_, MAX_TYPE), _kept(description, MAX_DESCRIPTION)
    return None, None


def _field_errors(said: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    pairs = (
        (_kept(error.get("fieldName"), MAX_TYPE), _kept(error.get("description"), MAX_DESCRIPTION))
        for error in _objects(said.get("fieldErrors"))
    )
    return tuple((field, words) for field, words in pairs if field is not None and words is not None)


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _kept(text: object, longest: int) -> str | None:
    return clean_text(text[:longest]) if isinstance(text, str) else None


def _retry_after(text: str) -> int | None:
    """Seconds, from either form of RFC 9110, 10.2.3; None for anything else."""
    try:
        seconds = int(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0, min(MAX_RETRY_AFTER, math.ceil(seconds)))


# The line -----------------------------------------------------------------------------------------------------


class _Abandoned(Exception):
    """The caller has stopped waiting, so nothing may be written any more."""


class _Call:
    """One request and how far it got; shared by the caller, who waits, and the thread that talks to Bandwidth."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.crossed = False
        self.reply: http.client.HTTPResponse | None = None
        self.body: bytes | None = None
        self.error: Exception | None = None
        self._abandoned = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def carry_out(self, exchange: Callable[[], bytes | None], *, seconds: float) -> None:
        """Run ``exchange`` in a thread of its own: no time-out of a socket ends a name look-up or a trickle."""
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
        """Cross the line, or raise if the caller has stopped waiting."""
        with self._lock:
            if self._abandoned:
                raise _Abandoned
            self.crossed, self._socket = True, connected

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
    """A connection on which every byte of a request, on a first use or a later one, is past the line."""

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


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def _put_conn(self, conn: Any) -> None:  # urllib3 comes by here before it offers a connection to others
        _here.call.let_go()
        super()._put_conn(conn)


class _SecurePool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _session(*, username: str, password: str) -> requests.Session:
    adapter = HTTPAdapter(pool_maxsize=POOL_SIZE, max_retries=0)
    adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc and no certificates that the environment names
    session.auth = HTTPBasicAuth(username.encode(), password.encode())  # text would be sent as Latin-1
    session.headers.update(HEADERS)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
