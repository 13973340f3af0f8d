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

from receiver.simulator.accidents import Accident, Action, Point, end
from receiver.simulator.switchboard import Switchboard
from receiver.simulator.switches import Switches

logger = logging.getLogger("receiver.simulator")

SWITCHES = "receiver.simulator.switches"
"""Where a request's environ holds the switches that it was handed."""


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"
    _switches: Switches | None
    """Those of the request that is being answered, if it is one to send."""

    def handle_one_request(self) -> None:
        self._switches = None
        # looked at, not read: the simulator's own paths must answer whatever is switched
        begun = self.rfile.peek()  # type: ignore[attr-defined] # it is a BufferedReader
        if self.server.switchboard.awaits_connections and _is_to_send(*begun.split(b" ")[:2]):
            self._switches = self.server.switchboard.take()
            self._reach(Point.CONNECTED)
        super().handle_one_request()

    def run_wsgi(self) -> None:
        """Answers one request. Werkzeug's own closes the connection after each, which Bandwidth does not do."""
        if self._switches is None and _is_to_send(self.command.encode(), self.path.encode()):
            self._switches = self.server.switchboard.take()
        environ = self.make_environ()
        environ["wsgi.input"] = BytesIO(self._read(environ))
        environ[SWITCHES] = self._switches
        self._reach(Point.READ)
        response = Response.from_app(self.server.app, environ, buffered=True)
        if response.status_code == 202:
            self._reach(Point.ACCEPTED)
        self._write(response)

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
        self.wfile.write(head + body)
        self._reach(Point.WRITTEN)

    def _accident(self, at: Point) -> Accident | None:
        accident = self._switches.mishap if self._switches else None
        return accident if accident and accident.at is at else None

    def _reach(self, point: Point) -> None:
        """Raises ConnectionEnded if that is what happens at this point."""
        if accident := self._accident(point):
            do = self.server.switchboard.hold(accident) if accident.do is Action.HOLD else accident.do
            if do is not None:
                end(self.connection, do)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        logger.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


def _is_to_send(method: bytes = b"", path: bytes = b"") -> bool:
    return method == b"POST" and not path.startswith(b"/simulator")


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
