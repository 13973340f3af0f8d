"""The limits of `receiver serve` on heads, connections and time, tested over bare sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from receiver.web.server import LONGEST_HEAD
from tests.support.processes import PATIENCE, Api, environment, serving

IDLE_SECONDS, CONNECTIONS = 2, 3
MOST_HEADERS = 100
LONGEST_TARGET = 65_534
"""Bytes."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, sqlite_template: str) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("limits")
    path = folder / "receiver.sqlite3"
    path.write_bytes(Path(sqlite_template).read_bytes())
    options = ("--idle-seconds", str(IDLE_SECONDS), "--connections", str(CONNECTIONS))
    with serving(folder, environment(f"sqlite:///{path}"), *options) as (child, api):
        yield api
        assert "Traceback" not in child.output
        assert "panicked" not in child.output


def connect(api: Api) -> socket.socket:
    parts = urlsplit(api.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def status(connection: socket.socket) -> int:
    """The status of the response; 0 if the connection ended without one."""
    answer = b""
    while b"\r\n" not in answer and (piece := connection.recv(65536)):
        answer += piece
    return int(answer.split(b" ")[1]) if answer else 0


def ask(api: Api, *lines: bytes, target: bytes = b"/health/live") -> int:
    head = b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: receiver", b"Connection: close", *lines])
    with connect(api) as connection:
        connection.sendall(head + b"\r\n\r\n")
        return status(connection)


def headers(count: int) -> list[bytes]:
    """A request with that many header fields, the two of every request included."""
    return [b"X-Header-%d: 1" % number for number in range(count - 2)]


def test_a_head_of_a_hundred_headers_or_of_sixty_kilobytes_is_read(api: Api) -> None:
    assert ask(api, *headers(MOST_HEADERS)) == 200
    assert ask(api, b"X-Long: " + b"x" * (LONGEST_HEAD - 200)) == 200
    assert ask(api, target=b"/" + b"x" * 60_000) == 404


def test_a_longer_head_is_refused(api: Api) -> None:
    assert ask(api, *headers(MOST_HEADERS + 1)) == 431
    assert ask(api, b"X-Long: " + b"x" * (2 * LONGEST_HEAD)) == 431
    assert ask(api, target=b"/" + b"x" * LONGEST_TARGET) == 414


def test_a_head_that_does_not_come_ends_its_connection(api: Api) -> None:
    with connect(api) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: ")
        assert status(connection) in (0, 408)

    assert IDLE_SECONDS - 0.5 < time.monotonic() - started < IDLE_SECONDS + 30


def test_more_connections_than_allowed_wait_until_one_is_free(api: Api) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(api)) for _ in range(CONNECTIONS)]
        for connection in idle:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: ")
        waiting = stack.enter_context(connect(api))
        waiting.sendall(b"GET /health/live HTTP/1.1\r\nHost: receiver\r\n\r\n")
        waiting.settimeout(IDLE_SECONDS / 4)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        waiting.settimeout(PATIENCE)
        idle[0].close()
        assert status(waiting) == 200
