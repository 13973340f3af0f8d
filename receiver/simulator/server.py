"""A werkzeug server that keeps connections open, lets accidents happen to them, and leaves nothing behind."""

import logging
import socket
import threading
from contextlib import suppress
from io import BytesIO, RawIOBase
from typing import Any

from werkzeug.sansio.utils import get_content_length
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Response

from receiver.simulator.switches import Accident, Action, Point, Switchboard, Switches, end
from receiver.simulator.tokens import TOKEN_PATH

logger = logging.getLogger("receiver.simulator")

SWITCHES = "receiver.simulator.switches"
"""Where a request's environ holds the switches that it was handed."""


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"
    _switches: Switches | None
    """Those of the request that is being answered, if it is one to send or for a token."""
    _mishap: Accident | None
    """What is to happen to that request."""
    _trickle: float | None
    """Over how many seconds its answer is written; None: in one piece."""

    def handle_one_request(self) -> None:
        self._switches = self._mishap = self._trickle = None
        # looked at, not read: the simulator's own paths must answer whatever is switched
        begun = self.rfile.peek()  # type: ignore[attr-defined] # it is a BufferedReader
        if self.server.switchboard.awaits_connections and _is_to_send(*begun.split(b" ")[:2]):
            self._begin_to_send()
            self._reach(Point.CONNECTED)
        super().handle_one_request()

    def run_wsgi(self) -> None:
        """Answers one request. Werkzeug's own closes the connection after each, which Bandwidth does not do."""
        method, path = self.command.encode(), self.path.encode()
        if _is_for_token(method, path):
            self._begin_for_token()
        elif self._switches is None and _is_to_send(method, path):
            self._begin_to_send()
        environ = self.make_environ()
        environ["wsgi.input"] = BytesIO(self._read(environ))
        environ[SWITCHES] = self._switches
        self._reach(Point.READ)
        response = Response.from_app(self.server.app, environ, buffered=True)
        if response.status_code in (200, 202):  # a token or a message
            self._reach(Point.ACCEPTED)
        self._write(response)

    def _begin_to_send(self) -> None:
        self._switches = self.server.switchboard.take()
        self._mishap = self._switches.mishap

    def _begin_for_token(self) -> None:
        self._switches = self.server.switchboard.switches
        self._mishap, self._trickle = self._switches.token_mishap, self._switches.token_trickle

    def _read(self, environ: dict[str, Any]) -> bytes:
        length = get_content_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")) or 0
        half: bytes = self.rfile.read(length // 2)
        self._reach(Point.HALF_READ)
        if environ.get("wsgi.input_terminated"):  # it comes in chunks
            return self._read_chunks(environ["wsgi.input"])
        body: bytes = half + self.rfile.read(length - len(half))
        if len(body) < length:
            raise ConnectionResetError("the client left in the middle of its request")
        return body

    def _read_chunks(self, chunks: RawIOBase) -> bytes:
        try:
            return chunks.read() or b""
        except OSError as error:  # where a chunk should begin, there is none
            raise ConnectionResetError("the chunks of the request cannot be told apart") from error

    def _write(self, response: Response) -> None:
        """In one piece: every piece costs the client a wait of its own."""
        lines = [f"HTTP/1.1 {response.status}", f"Server: {self.version_string()}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        body = b"" if self.command == "HEAD" else response.get_data()
        if self._accident(Point.HALF_WRITTEN):
            half = len(body) // 2
            self.wfile.write(head + body[:half])
            self._reach(Point.HALF_WRITTEN)
            head, body = b"", body[half:]
        if self._trickle is None:
            self.wfile.write(head + body)
        else:
            self._write_slowly(head + body, seconds=self._trickle)
        self._reach(Point.WRITTEN)

    def _write_slowly(self, answer: bytes, *, seconds: float) -> None:
        """Byte by byte, so that no single wait of the client is long; once released, the rest at once."""
        rest = answer
        with self.server.switchboard.holding(Point.HALF_WRITTEN) as held:
            while rest and not held.goes_on.is_set():
                self.wfile.write(rest[:1])
                rest = rest[1:]
                held.goes_on.wait(seconds / len(answer))
        if held.do is not None:
            end(self.connection, held.do)
        self.wfile.write(rest)

    def _accident(self, at: Point) -> Accident | None:
        return self._mishap if self._mishap and self._mishap.at is at else None

    def _reach(self, point: Point) -> None:
        """Raises ConnectionEnded if that is what happens at this point."""
        if accident := self._accident(point):
            do = self.server.switchboard.hold(accident) if accident.do is Action.HOLD else accident.do
            if do is not None:
                end(self.connection, do)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        logger.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


def _is_to_send(method: bytes = b"", path: bytes = b"") -> bool:
    return method == b"POST" and not path.startswith(b"/simulator") and not _is_for_token(method, path)


def _is_for_token(method: bytes, path: bytes) -> bool:
    return method == b"POST" and path.partition(b"?")[0] == TOKEN_PATH.encode()


class Server(ThreadedWSGIServer):
    """Serves ``app`` on a thread of its own; raises OSError if the address cannot be had."""

    def __init__(self, host: str, port: int, app: Any, switchboard: Switchboard) -> None:
        self.switchboard = switchboard
        self._open: dict[threading.Thread, socket.socket] = {}
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
        for thread, connection in list(self._open.items()):
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
        self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._open[threading.current_thread()]
