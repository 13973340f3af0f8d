"""A werkzeug server that keeps connections open, lets accidents happen to them, and leaves nothing behind."""

import logging
import os
import socket
import struct
import threading
from contextlib import suppress
from io import BytesIO, RawIOBase
from typing import Any

from werkzeug.sansio.utils import get_content_length
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Response

from receiver.simulator.switches import Accident, Action, Point, Switchboard, Switches

logger = logging.getLogger("receiver.simulator")

TOKEN_PATH = "/api/v1/oauth2/token"  # noqa: S105 - a path

SWITCHES_KEY = "receiver.simulator.switches"
"""Where a request's environ holds its switches; None if it is neither one to send nor one for a token."""


class ConnectionEnded(ConnectionError):
    """An accident has ended the connection: nothing more is read or written."""


class SimulatorServer(ThreadedWSGIServer):
    """Serves ``app`` on a thread of its own; raises OSError if the address is not available."""

    def __init__(self, host: str, port: int, app: Any, switchboard: Switchboard) -> None:
        self.switchboard = switchboard
        self._connections: dict[threading.Thread, socket.socket] = {}
        # bound here, because werkzeug ends the whole program when an address is taken
        with socket.create_server((host, port)) as bound:
            super().__init__(host, port, app, _Handler, fd=bound.fileno())
        self._thread = threading.Thread(target=self._serve, name="simulator-server", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends every connection, and returns when no thread is left."""
        self.shutdown()
        self._thread.join()
        for thread, connection in list(self._connections.items()):
            with suppress(OSError):  # the client may have gone already
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self) -> None:
        self.serve_forever(poll_interval=0.02)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"simulator-client-{client_address}",
            daemon=True,
        )
        self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._connections[threading.current_thread()]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SimulatorServer
    _switches: Switches | None
    """The switches of the current request, if it is one to send or for a token."""
    _accident: Accident | None
    """The accident of the current request."""
    _trickle_seconds: float | None
    """Over how many seconds the response is written; None: in one piece."""

    def handle_one_request(self) -> None:
        self._switches = self._accident = self._trickle_seconds = None
        # peeked at, not read: the simulator's own paths must respond whatever the switches are
        beginning = self.rfile.peek()  # type: ignore[attr-defined] # it is a BufferedReader
        if self.server.switchboard.has_accident_on_arrival and _is_to_send(*beginning.split(b" ")[:2]):
            self._take_switches_to_send()
            self._pass(Point.CONNECTED)
        super().handle_one_request()

    def run_wsgi(self) -> None:
        """Serves one request. Werkzeug's own method closes the connection after each, which Bandwidth does not do."""
        method, path = self.command.encode(), self.path.encode()
        if _is_for_token(method, path):
            self._take_switches_for_token()
        elif self._switches is None and _is_to_send(method, path):
            self._take_switches_to_send()
        environ = self.make_environ()
        environ["wsgi.input"] = BytesIO(self._read(environ))
        environ[SWITCHES_KEY] = self._switches
        self._pass(Point.READ)
        response = Response.from_app(self.server.app, environ, buffered=True)
        if response.status_code in (200, 202):  # a token or a message
            self._pass(Point.ACCEPTED)
        self._write(response)

    def _take_switches_to_send(self) -> None:
        self._switches = self.server.switchboard.take()
        self._accident = self._switches.request_accident

    def _take_switches_for_token(self) -> None:
        self._switches = self.server.switchboard.switches
        self._accident = self._switches.token_accident
        self._trickle_seconds = self._switches.token_trickle_seconds

    def _read(self, environ: dict[str, Any]) -> bytes:
        length = get_content_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")) or 0
        half: bytes = self.rfile.read(length // 2)
        self._pass(Point.HALF_READ)
        if environ.get("wsgi.input_terminated"):  # the body is chunked
            return self._read_chunks(environ["wsgi.input"])
        body: bytes = half + self.rfile.read(length - len(half))
        if len(body) < length:
            raise ConnectionResetError("the client disconnected in the middle of its request")
        return body

    def _read_chunks(self, chunks: RawIOBase) -> bytes:
        try:
            return chunks.read() or b""
        except OSError as error:
            raise ConnectionResetError("the request has a malformed chunk") from error

    def _write(self, response: Response) -> None:
        """Writes the response in one piece: each further piece would cost the client another wait."""
        lines = [f"HTTP/1.1 {response.status}", f"Server: {self.version_string()}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        body = b"" if self.command == "HEAD" else response.get_data()
        if self._accident and self._accident.at is Point.HALF_WRITTEN:
            half = len(body) // 2
            self.wfile.write(head + body[:half])
            self._pass(Point.HALF_WRITTEN)
            head, body = b"", body[half:]
        if self._trickle_seconds is None:
            self.wfile.write(head + body)
        else:
            self._write_slowly(head + body, seconds=self._trickle_seconds)
        self._pass(Point.WRITTEN)

    def _write_slowly(self, content: bytes, *, seconds: float) -> None:
        """Writes byte by byte, so that no single wait of the client is long; once released, the rest at once."""
        rest = content
        with self.server.switchboard.holding(Point.HALF_WRITTEN) as held:
            while rest and not held.released.is_set():
                self.wfile.write(rest[:1])
                rest = rest[1:]
                held.released.wait(seconds / len(content))
        if held.ending is not None:
            self._end_connection(held.ending)
        self.wfile.write(rest)

    def _pass(self, point: Point) -> None:
        """Lets the accident happen if it belongs to this point; raises ConnectionEnded if it ends the connection."""
        accident = self._accident
        if accident is None or accident.at is not point:
            return
        ending = self.server.switchboard.hold(accident) if accident.do is Action.HOLD else accident.do
        if ending is not None:
            self._end_connection(ending)

    def _end_connection(self, ending: Action) -> None:
        """Closes or resets the connection; raises ConnectionEnded."""
        with suppress(OSError):  # the client may have gone already
            if ending is Action.RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())  # close() would wait for the files that read and write it
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
        raise ConnectionEnded

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        logger.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


def _is_to_send(method: bytes = b"", path: bytes = b"") -> bool:
    return method == b"POST" and not path.startswith(b"/simulator") and not _is_for_token(method, path)


def _is_for_token(method: bytes, path: bytes) -> bool:
    return method == b"POST" and path.partition(b"?")[0] == TOKEN_PATH.encode()
