"""The torture's client behaves like Bandwidth, and knows how often each callback can be stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from tests.soak.torture.client import Bandwidth
from tests.soak.torture.stream import make_probe

PROBLEM = b'{"detail": "why"}'


def answer(status: int, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(PROBLEM), head, PROBLEM)


CHALLENGE = answer(401, b'WWW-Authenticate: Basic realm="x"\r\n')
LATER = b"Retry-After: 1\r\n"
HANG_UP = b""


class Never(Random):
    def random(self) -> float:
        return 0.99


class Always(Random):
    def random(self) -> float:
        return 0.0


class Service:
    """A server that sends these responses to whole requests, in turn, and 408 to half a body."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = iter(answers)
        self.heard: list[bytes] = []
        """The heads of the requests, in lower case."""

    async def post(self, *, stalling: int = 0, chance: Random | None = None) -> Bandwidth:
        """Posts one callback until the responses are used up; returns the client."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            client = Bandwidth([port], [make_probe(1)], chance or Never())
            client.stalling = stalling
            posting = asyncio.create_task(client.post_all())
            while not client.deliveries[0].attempts:
                await asyncio.sleep(0)
            client.finish()
            await asyncio.wait_for(posting, 30)
        return client

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.heard.append(head)
                async with asyncio.timeout(0.2):
                    await reader.readexactly(length)
                if not (said := next(self._answers)):
                    return
                writer.write(said)
        except TimeoutError:
            writer.write(answer(408))
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()


def test_a_callback_comes_again_until_a_2xx_and_every_whole_one_may_have_been_stored() -> None:
    client = asyncio.run(Service(answer(503, LATER), HANG_UP, answer(503), answer(202)).post())

    (delivery,) = client.deliveries
    assert (delivery.attempts, delivery.possible, delivery.acknowledged) == (4, 4, 1)
    assert client.answers == Counter(
        {"503 why": 1, "IncompleteReadError": 1, "503 why (without Retry-After)": 1, "202": 1}
    )


def test_half_a_body_cannot_be_stored() -> None:
    client = asyncio.run(Service(answer(200)).post(stalling=2))

    (delivery,) = client.deliveries
    assert (delivery.attempts, delivery.possible, delivery.acknowledged) == (3, 1, 1)
    assert client.answers == Counter({"408 to half a body": 2, "200": 1})


def test_a_challenge_is_answered_with_credentials_and_some_come_again_although_they_were_acknowledged() -> None:
    service = Service(CHALLENGE, answer(200), CHALLENGE, answer(200))
    client = asyncio.run(service.post(chance=Always()))

    (delivery,) = client.deliveries
    assert (delivery.attempts, delivery.possible, delivery.acknowledged) == (2, 2, 2)
    assert client.answers == Counter({"401 with a challenge": 2, "200": 2})
    assert [b"authorization: basic" in head for head in service.heard] == [False, True, False, True]


def test_a_401_without_a_challenge_ends_the_attempt() -> None:
    client = asyncio.run(Service(answer(401), *[CHALLENGE, answer(200)] * 2).post(chance=Always()))

    assert client.answers == Counter({"401 without a challenge": 1, "401 with a challenge": 2, "200": 2})
    assert client.deliveries[0].possible == 2
