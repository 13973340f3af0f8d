"""A network between the service and its database: a proxy that delays every byte, and counts round trips.

It runs in a process of its own. Its event loop waits with select(), because epoll counts in whole milliseconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.processes import PATIENCE


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    port: int
    _round_trips: Any

    @property
    def round_trips(self) -> int:
        """How many round trips there were so far, on all connections together.

        All that a client sends until it receives something is one: it waits once for the way there and back.
        """
        return int(self._round_trips.value)


@contextmanager
def delaying(port: int, *, seconds: float) -> Iterator[Proxy]:
    """Runs a proxy to that port of this machine, which delays each direction by so many seconds."""
    context = multiprocessing.get_context("spawn")
    round_trips = context.Value("q", 0, lock=False)  # only the proxy writes it
    ready = context.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        own = listening.getsockname()[1]
        process = context.Process(target=_run, args=(listening, port, seconds, round_trips, ready), daemon=True)
        process.start()
        if not ready.wait(PATIENCE):
            raise TimeoutError("the proxy did not start")
    try:
        yield Proxy(own, round_trips)
    finally:
        process.terminate()
        process.join()


def _run(listening: socket.socket, port: int, seconds: float, round_trips: Any, ready: Any) -> None:
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(_serve(listening, port, seconds, round_trips, ready))


async def _serve(listening: socket.socket, port: int, seconds: float, round_trips: Any, ready: Any) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = _Turn(round_trips)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            _carry(reader, to_server, seconds, turn.client_speaks),
            _carry(from_server, writer, seconds, turn.server_speaks),
        )

    async with await asyncio.start_server(connect, sock=listening) as server:
        ready.set()
        await server.serve_forever()


class _Turn:
    """Which side of a connection sent something last."""

    def __init__(self, round_trips: Any) -> None:
        self._round_trips = round_trips
        self._is_clients = False

    def client_speaks(self) -> None:
        if not self._is_clients:
            self._is_clients = True
            self._round_trips.value += 1

    def server_speaks(self) -> None:
        self._is_clients = False


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float, note: Callable[[], None]
) -> None:
    """Passes on what comes, so many seconds later, and the end of it."""
    loop = asyncio.get_running_loop()
    try:
        while received := await reader.read(2**16):
            note()
            loop.call_later(seconds, writer.write, received)
    except ConnectionError:
        pass
    loop.call_later(seconds, writer.close)
