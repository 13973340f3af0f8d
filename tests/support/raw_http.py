"""A create-message request as bytes, and the bytes of the response."""

import json
import socket
from typing import Any

from receiver.simulator import Simulator
from tests.support.processes import SimulatorProcess
from tests.support.simulators import MESSAGE, bearer


def connection(simulator: Simulator | SimulatorProcess) -> socket.socket:
    """A TCP connection to the simulator."""
    host, port = simulator.root.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def request_bytes(simulator: Simulator | SimulatorProcess, **fields: Any) -> bytes:
    """A request to send MESSAGE, changed by the fields given, with a token of that simulator."""
    authorization = bearer(simulator)["Authorization"].encode()
    body = json.dumps(MESSAGE | fields).encode()
    return (
        b"POST /api/v2/users/9900000/messages HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: " + authorization + b"\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )


def read_to_end(client: socket.socket) -> bytes:
    """Everything that comes until the connection is closed."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def response_bytes(simulator: Simulator) -> bytes:
    """Sends MESSAGE; returns everything that comes until the simulator closes the connection."""
    with connection(simulator) as client:
        client.sendall(request_bytes(simulator))
        return read_to_end(client)
