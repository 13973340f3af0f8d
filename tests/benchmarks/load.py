"""The load generator: our own, because each request carries an event of its own and we must know exactly which of them
were answered; the usual ones repeat one request and only count."""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

GRACE = 10.0
"""Seconds after the end in which responses still count."""


@dataclass
class Outcome:
    """The result of a run. Figures are of the measured time; ``answered`` and the errors include the warm-up."""

    answered: list[int] = field(default_factory=list)
    """The places of the requests that got a 2xx."""
    refused: Counter[int] = field(default_factory=Counter)
    """Responses other than 2xx, by status; they do not count as throughput."""
    dropped: int = 0
    """Connections that ended before the response, and were reopened."""
    unanswered: int = 0
    """Requests without a response when the grace time was over."""
    measured: int = 0
    """The number of 2xx within the measured time."""
    latencies: list[int] = field(default_factory=list)
    """Nanoseconds from a request to the end of its 2xx answer, of all requests that were sent or answered within the
    measured time, however late the answer came."""
    seconds: float = 0.0
    cpu: float = 0.0
    """CPU seconds of this process in the measured time."""


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    place: int = -1
    started: int = 0
    measured: bool = False
    received: bytes = b""


def answer(received: bytes) -> int | None:
    """The status of a whole response; None while a part is missing. Raises ValueError for what is not HTTP."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    line, *headers = head.split(b"\r\n")
    if line[:9] != b"HTTP/1.1 " or not line[9:12].isdigit():
        raise ValueError(f"no status line: {line!r}")
    lengths = [int(each[15:]) for each in headers if each[:15].lower() == b"content-length:"]
    if len(lengths) != 1 or len(body) > lengths[0]:
        raise ValueError(f"no answer of one stated length: {received!r}")
    return int(line[9:12]) if len(body) == lengths[0] else None


class Load:
    """Keeps N connections alive, each with one request in flight, until time or requests are used up."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self._port = port
        self._requests = requests
        self._next = 0
        self._in_flight = 0
        self._measuring = False
        self._selector = selectors.DefaultSelector()
        self._outcome = Outcome()

    def run(self, *, connections: int, warm_up: float, seconds: float) -> Outcome:
        for _ in range(connections):
            self._send(self._connect())
        self._until(time.perf_counter() + warm_up)
        self._measuring, cpu, begun = True, time.process_time(), time.perf_counter()
        self._until(begun + seconds)
        self._measuring = False
        self._outcome.seconds = time.perf_counter() - begun
        self._outcome.cpu = time.process_time() - cpu
        self._next = len(self._requests)
        self._until(time.perf_counter() + GRACE)
        self._outcome.unanswered = self._in_flight
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()
        return self._outcome

    def _until(self, end: float) -> None:
        while self._in_flight and (left := end - time.perf_counter()) > 0:
            for key, _ in self._selector.select(left):
                self._receive(key.data)

    def _connect(self) -> _Connection:
        opened = socket.create_connection(("127.0.0.1", self._port), timeout=GRACE)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        connection = _Connection(opened)
        self._selector.register(opened, selectors.EVENT_READ, connection)
        return connection

    def _send(self, connection: _Connection) -> None:
        if self._next >= len(self._requests):
            return
        connection.place, self._next = self._next, self._next + 1
        connection.received = b""
        connection.started, connection.measured = time.perf_counter_ns(), self._measuring
        self._in_flight += 1
        request = self._requests[connection.place]
        try:
            if connection.socket.send(request) != len(request):
                raise RuntimeError("a request must fit into the socket's buffer")
        except ConnectionError:
            self._drop(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            received = connection.socket.recv(65536)
        except ConnectionError:
            received = b""
        if not received:
            self._drop(connection)
            return
        connection.received += received
        status = answer(connection.received)
        if status is None:
            return
        self._in_flight -= 1
        if 200 <= status < 300:
            self._outcome.answered.append(connection.place)
            self._outcome.measured += self._measuring
            if self._measuring or connection.measured:
                self._outcome.latencies.append(time.perf_counter_ns() - connection.started)
        else:
            self._outcome.refused[status] += 1
        self._send(connection)

    def _drop(self, connection: _Connection) -> None:
        """Reopens a lost connection; its request counts as not acknowledged."""
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection.place >= 0:
            self._in_flight -= 1
            self._outcome.dropped += 1
        if self._next < len(self._requests):
            self._send(self._connect())
