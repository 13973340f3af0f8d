"""The client that calls us back, as Bandwidth does: over many connections at once, with a time-out, challenged or not,
and again until a 2xx. It remembers of every callback how often it was acknowledged, and how often at most stored."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random

from tests.soak.torture.stream import Callback
from tests.support.builders import CALLBACK_AUTH

TIMEOUT = 10.0
"""Seconds for which Bandwidth waits for a response."""

AGAIN_SECONDS = 0.01
"""Seconds between two repeated callbacks, once the stream has ended before the faults."""

PATIENCE = 60.0
"""Seconds that the last deliveries may take; Bandwidth would repeat them for 24 hours."""

CONNECTIONS = 64
SWOLLEN = 3_900_000
"""Bytes of a body that fills the queue: 16 MiB of them may wait in each process."""

UNREAD = {401, 408}
"""The statuses that mean that the body was not read."""

_AUTHORIZATION = b"Authorization: Basic %b\r\n" % base64.b64encode(":".join(CALLBACK_AUTH).encode())


@dataclass(slots=True, eq=False)
class Delivery:
    """A callback, and what became of it."""

    callback: Callback
    attempts: int = 0
    possible: int = 0
    """The attempts that may have been stored, because the server may have received the whole body."""
    acknowledged: int = 0


class Connection:
    """A connection to one server, reopened whenever it is lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def exchange(self, *sent: bytes) -> tuple[int, bytes, bytes]:
        """Status, head and body of the response. Raises OSError, EOFError, or ValueError for what is not HTTP."""
        assert self._streams is not None
        reader, writer = self._streams
        writer.writelines(sent)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), head, await reader.readexactly(length)


class Bandwidth:
    """Posts every callback when it is due."""

    def __init__(self, ports: Sequence[int], callbacks: Sequence[Callback], chance: Random) -> None:
        self.deliveries = [Delivery(each) for each in callbacks]
        self.answers: Counter[str] = Counter()
        """The number of attempts by how they ended, in words."""
        self.stalling = 0
        """How many of the next attempts stop in the middle of the body."""
        self._padding = b""
        self._finishing = False
        self._chance = chance
        self._connections = [Connection(port) for port in ports for _ in range(CONNECTIONS // len(ports))]
        self._free: asyncio.Queue[Connection]

    @contextmanager
    def swollen(self) -> Iterator[None]:
        """Makes every body begin with much white space, which JSON allows and the database never sees."""
        self._padding = b" " * SWOLLEN
        try:
            yield
        finally:
            self._padding = b""

    async def post_all(self) -> None:
        """Posts until finish() is called, and then for at most PATIENCE seconds what is not acknowledged yet."""
        self._free = asyncio.Queue()
        for each in self._connections:
            self._free.put_nowait(each)
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
                async for delivery in self._due():
                    group.create_task(self._deliver(delivery))
                limit.reschedule(asyncio.get_running_loop().time() + PATIENCE)
        for each in self._connections:
            each.close()

    def finish(self) -> None:
        """Begins no further delivery; those under way continue until they are acknowledged."""
        self._finishing = True

    async def _due(self) -> AsyncIterator[Delivery]:
        """Posts each when it is due, and after the last one any of them again, until finish() is called."""
        begun = time.monotonic()
        for delivery in self.deliveries:
            if not await self._goes_on(begun + delivery.callback.due):
                return
            yield delivery
        while await self._goes_on(time.monotonic() + AGAIN_SECONDS):
            yield self._chance.choice(self.deliveries)

    async def _goes_on(self, until: float) -> bool:
        """Waits until that time; returns whether a delivery may still begin."""
        while (left := until - time.monotonic()) > 0 and not self._finishing:
            await asyncio.sleep(min(left, 0.1))
        return not self._finishing

    async def _deliver(self, delivery: Delivery) -> None:
        wanted = delivery.acknowledged + (2 if self._chance.random() < 0.05 else 1)
        pause = 0.1
        while delivery.acknowledged < wanted:
            connection = await self._free.get()
            try:
                acknowledged = await self._attempt(connection, delivery)
            finally:
                self._free.put_nowait(connection)
            if not acknowledged:
                await asyncio.sleep(self._chance.uniform(pause / 2, pause))
                pause = min(pause * 2, 2.0)

    async def _attempt(self, connection: Connection, delivery: Delivery) -> bool:
        """Makes one attempt; returns whether it was acknowledged."""
        delivery.attempts += 1
        status = 0
        try:
            async with asyncio.timeout(TIMEOUT):
                await connection.open()
                status, said = await self._post(connection, delivery)
                self.answers[said] += 1
        except TimeoutError:
            self.answers["no answer in time"] += 1
        except (OSError, EOFError, ValueError) as error:
            self.answers[type(error).__name__] += 1
        if not 200 <= status < 300:
            connection.close()
            return False
        delivery.acknowledged += 1
        return True

    async def _post(self, connection: Connection, delivery: Delivery) -> tuple[int, str]:
        """The status of the response, with its detail."""
        body = self._padding + delivery.callback.body
        if self.stalling > 0:
            self.stalling -= 1
            try:
                status, _, _ = await connection.exchange(_head(len(body), _AUTHORIZATION), body[: len(body) // 2])
            except (OSError, EOFError):
                self.stalling += 1  # the server of this connection had been killed before
                raise
            return status, f"{status} to half a body"
        if self._chance.random() < 0.02:
            # dev.bandwidth.com, "Callbacks": the first request comes without credentials, and awaits the challenge.
            status, head, _ = await connection.exchange(_head(len(body)), body)
            if status != 401 or b"www-authenticate: basic" not in head:
                return status, f"{status} without a challenge"
            self.answers["401 with a challenge"] += 1
            connection.close()
            await connection.open()
        delivery.possible += 1
        status, head, said = await connection.exchange(_head(len(body), _AUTHORIZATION), body)
        delivery.possible -= status in UNREAD
        if 200 <= status < 300:
            return status, str(status)
        later = "" if b"retry-after:" in head else " (without Retry-After)"
        return status, f"{status} {json.loads(said)['detail']}{later}"


def _head(length: int, authorization: bytes = b"") -> bytes:
    return (
        b"POST /callbacks/bandwidth HTTP/1.1\r\nHost: 127.0.0.1\r\n%b"
        b"Content-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % (authorization, length)
    )
