"""A werkzeug server that keeps connections open and can be stopped without leaving anything behind."""

import logging
import socket
import threading
from contextlib import suppress
from io import BytesIO
from typing import Any

from werkzeug.exceptions import ClientDisconnected
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Request, Response

logger = logging.getLogger("receiver.simulator")


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        """Answers one request. Werkzeug's own closes the connection after each, which Bandwidth does not do."""
        environ = self.make_environ()
        try:
            body = Request(environ).get_data()
        except (ClientDisconnected, OSError):
            self.close_connection = True
            return
        environ["wsgi.input"] = BytesIO(body)
        response = Response.from_app(self.server.app, environ, buffered=True)
        self.send_response(response.status_code)
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.get_data())

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        logger.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


class Server(ThreadedWSGIServer):
    """Serves ``app`` on a thread of its own; raises OSError if the address cannot be had."""

    def __init__(self, host: str, port: int, app: Any) -> None:
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
