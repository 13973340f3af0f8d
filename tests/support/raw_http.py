"""A request to send as bytes, and what comes back until the connection ends."""

import json
import socket
from typing import Any

from receiver.simulator import Simulator
from tests.support.processes import SimulatorProcess
from tests.support.simulators import MESSAGE, bearer


def connection(simulator: Simulator | SimulatorProcess) -> socket.socket:
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


def exchanged(simulator: Simulator) -> bytes:
    """Everything the simulator sends until it closes the connection."""
    with connection(simulator) as client:
        client.sendall(request_bytes(simulator))
        return b"".join(iter(lambda: client.recv(65536), b""))
