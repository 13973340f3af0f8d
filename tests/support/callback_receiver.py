"""A receiver of callbacks that responds as scripted and records what it receives."""

import json
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A response to one request; ``hold`` delays it until that event is set."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    hold: threading.Event | None = None


CHALLENGE = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="Bandwidth API"'})


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]
    """The address and port of the client, the same for all requests on one connection."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


class CallbackReceiver:
    """A server that responds with the replies of its script in turn, then always with 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.script: deque[Reply] = deque()
        self.user_and_password: str | None = None
        """The Authorization header that a request must have to get more than a challenge; None requires none."""
        self.arrived = threading.Semaphore(0)
        """Released once for every request that arrives."""
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/callbacks?from=bandwidth"

    @property
    def events(self) -> list[Any]:
        """The elements of every body received so far, repetitions included."""
        bodies = [request.json for request in self.received]
        return [event for body in bodies for event in (body if isinstance(body, list) else [body])]

    def plan(self, replies: Iterable[Reply]) -> None:
        """Adds replies to the script."""
        self.script.extend(replies)

    def reply_to(self, request: Received) -> Reply:
        """Records the request; returns the reply to it."""
        self.received.append(request)
        self.arrived.release()
        if self.user_and_password is not None and request.authorization != self.user_and_password:
            return CHALLENGE
        return self.script.popleft() if self.script else Reply()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver: CallbackReceiver) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.receiver = receiver


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Received(path=self.path, headers=dict(self.headers), body=body, client=self.client_address)
        reply = self.server.receiver.reply_to(request)
        if reply.hold is not None:
            reply.hold.wait(10)
        try:
            self._send(reply)
        except ConnectionError:
            self.close_connection = True

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Keeps the test output quiet."""
