"""Traffic while hosts, pooler, schema or database are changed: callbacks arrive and messages are requested."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Self

import requests

from receiver.database.database import Database
from tests.soak.torture.checking import Findings, Stored, check, read_stored
from tests.soak.torture.client import Bandwidth, Delivery
from tests.soak.torture.sending import record_late_answers, store_messages
from tests.soak.torture.stream import Stream
from tests.support.processes import Api, wait_for
from tests.support.stored import view

SENDERS, SEND_SECONDS = 2, 0.1
"""The number of threads that request messages, and the pause of each between two requests."""


class Traffic:
    """Posts each callback until it is acknowledged, and requests each message, with a key, until the response is 202.

    Every second message is queued for the workers. The traffic ends with the block.
    """

    def __init__(self, url: str, ports: Sequence[int], *, seed: int, seconds: float, per_second: float = 60) -> None:
        self._url = url
        self.stream = Stream(seed=seed, per_second=per_second, seconds=seconds)
        self.client = Bandwidth(ports, self.stream.callbacks, Random(seed))
        self.tags: dict[str, str] = {}
        """The tag of each message with a 202, by its reference."""
        self.refusals: Counter[int] = Counter()
        """How often a request to send got another status, by status."""
        self._ports = ports
        self._stopping = threading.Event()
        self._running: list[Future[None]] = []
        self._threads = ThreadPoolExecutor(2 + SENDERS)

    def __enter__(self) -> Self:
        with Database(self._url) as database:
            keys = store_messages(database, self.stream.messages)
        self._running = [self._threads.submit(asyncio.run, self.client.post_all())]
        self._running += [self._threads.submit(self._send_all, number) for number in range(SENDERS)]
        self._running.append(self._threads.submit(self._answer_late, keys))
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.client.finish()
        self._threads.shutdown()
        for each in self._running:
            each.result()

    def flow(self, count: int) -> None:
        """Waits until that many more callbacks are acknowledged, and some more messages accepted."""
        callbacks, messages = self._acknowledged() + count, len(self.tags) + count // 20 + 1
        wait_for(lambda: self._acknowledged() >= callbacks and len(self.tags) >= messages, "traffic")

    def findings(self) -> Findings:
        """What is lost or wrong among callbacks and messages."""
        with Database(self._url) as database:
            stored, messages = read_stored(database), view(database, "support_messages")
        deliveries = [each for each in self.client.deliveries if each.attempts]
        own = {each.tag for each in self.stream.messages}
        foreign = {row["tag"] for row in messages} - own
        findings = check(
            self.stream.messages,
            deliveries,
            Stored(
                events=[row for row in stored.events if row["tag"] not in foreign],
                unreadable=stored.unreadable,
                recipients=[row for row in stored.recipients if row["tag"] in own],
            ),
        )
        references = Counter(row["reference"] for row in messages if row["tag"] in foreign)
        findings.lost += [f"{each} was promised and is not stored" for each in self.tags.keys() - references.keys()]
        findings.wrong += [f"{each} is stored {times} times" for each, times in references.items() if times > 1]
        findings.wrong += [f"{each} was never acknowledged" for each in deliveries if not each.acknowledged]
        return findings

    def acknowledged(self) -> list[Delivery]:
        """The callbacks that Bandwidth would not send again."""
        return [each for each in self.client.deliveries if each.acknowledged]

    def _acknowledged(self) -> int:
        return sum(each.acknowledged for each in self.client.deliveries)

    def _answer_late(self, keys: Sequence[int]) -> None:
        with Database(self._url) as database:
            record_late_answers(database, self.stream.messages, keys, self._stopping)

    def _send_all(self, number: int) -> None:
        place = 0
        while not self._stopping.is_set():
            place += 1
            reference, at_once = f"traffic-{number}-{place}", place % 2 == 0
            wait_for(lambda: self._is_accepted(reference, at_once=at_once), f"{reference} to be accepted")  # noqa: B023
            self._stopping.wait(SEND_SECONDS)

    def _is_accepted(self, reference: str, *, at_once: bool) -> bool:
        port = self._ports[hash(reference) % len(self._ports)]
        with suppress(requests.ConnectionError), Api(f"http://127.0.0.1:{port}") as api:
            answer = request_message(api, reference, at_once=at_once)
            if answer.status_code == 202:
                self.tags[reference] = answer.json()["tag"]
                return True
            self.refusals[answer.status_code] += 1
        return False


def request_message(api: Api, reference: str, *, at_once: bool = True) -> requests.Response:
    """Requests a message with ``reference`` as its Idempotency-Key: a second time is a repeat."""
    headers = {"Idempotency-Key": reference} | ({} if at_once else {"Prefer": "respond-async"})
    return api.send("+12005580001", reference=reference, headers=headers)
