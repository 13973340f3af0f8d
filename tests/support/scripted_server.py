"""A server on 127.0.0.1 that does with every connection exactly what a script says, down to the byte."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbTCCARKgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAkxMjcuMC4w
LjEwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABC2AUwPLgnI9xLby
xyVWHvWE4InRz6KVmxyUNzMVioPAfSwEjzWc7JfgWfv5qxT4IelgPnJCh3YwSj9/
T81TQdijUzBRMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAOBgNV
HQ8BAf8EBAMCAoQwHQYDVR0OBBYEFIqL+dgrCtyrLUDE9/OYHBTLdCXuMAoGCCqG
SM49BAMCA0kAMEYCIQCHzwA9QWEp58U2r0223v26IiX9W1yX6Inr5saexdjg0AIh
APKYUz6D7Ro3sxo/ggyqGydL+BunXbxRKHBBdrZ4fxXp
-----END CERTIFICATE-----
"""
"""Self-signed for the address 127.0.0.1, from 2020 to 2120."""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBxu9RAMt2NwuEdGi
3/BvQQBHIcQYXrwyKoNdCTTB8VWhRANCAAQtgFMDy4JyPcS28sclVh71hOCJ0c+i
lZsclDczFYqDwH0sBI81nOyX4Fn7+asU+CHpYD5yQod2MEo/f0/NU0HY
-----END PRIVATE KEY-----
"""
"""Protects nothing: it was made for these tests and is trusted only by them."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, server: "ScriptedServer") -> None:
        self.connection = connection
        self.server = server

    def read_request(self) -> bytes:
        """Head and body of the next request, which the server keeps; empty if the client has hung up."""
        request = b""
        while b"\r\n\r\n" not in request:
            if not (piece := self.connection.recv(65536)):
                return b""
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        _, _, length_on = head.lower().partition(b"content-length:")  # which a GET does not have
        length = int(length_on.split(b"\r\n")[0] or 0)
        while len(body) < length:
            body += self.connection.recv(65536)
        self.server.requests.append(head + b"\r\n\r\n" + body)
        return self.server.requests[-1]

    def wait_for_request(self) -> None:
        """Until the first byte of a request is there, which stays unread: before that the client may not even know
        that it is connected."""
        socket.socket.recv(self.connection, 1, socket.MSG_PEEK)

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def trickle(self, content: bytes) -> None:
        """Send ``content`` again and again, a byte at a time, until the client hangs up."""
        while not self.server.closing.is_set():
            for byte in content:
                self.connection.sendall(bytes([byte]))
                self.server.closing.wait(0.005)

    def wait_for_hang_up(self) -> bytes:
        """What the client still sends before it closes the connection."""
        rest = b""
        with contextlib.suppress(OSError):
            while piece := self.connection.recv(65536):
                rest += piece
        return rest

    def reset(self) -> None:
        """End the connection with a TCP reset instead of an orderly close."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Script = Callable[[Peer], None]


class ScriptedServer:
    """Runs ``script`` for every connection, each in a thread of its own; the connection ends with the script.

    A script that fails with an OSError has only met a client that hung up; any other failure comes out of
    ``close``.
    """

    def __init__(self, script: Callable[[Peer], None], *, tls: Path | None = None, accepting: bool = True) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self._script = script
        self._failures: list[Exception] = []
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if tls else None
        if self._tls and tls:
            self._tls.load_cert_chain(tls)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        if accepting:
            self._start(self._accept)

    def close(self) -> None:
        self.closing.set()
        for ours in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(ours, socket.SHUT_RDWR)
            ours.close()
        for thread in self._threads:
            thread.join()
        assert self._failures == []

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._start(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            with connection:
                self._script(Peer(connection, self))
        except OSError:
            connection.close()
        except Exception as error:  # noqa: BLE001 - close() fails the test with it
            self._failures.append(error)


Serve = Callable[..., ScriptedServer]
"""Starts a server that follows a script."""


def answer(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """A whole HTTP/1.1 answer; ``length`` is what Content-Length claims, the truth by default."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Script:
    """Reads a request and sends the next answer, until none is left or the client hangs up."""
    left = list(answers)

    def script(peer: Peer) -> None:
        while left and peer.read_request():
            peer.send(left.pop(0))
        peer.wait_for_hang_up()

    return script
