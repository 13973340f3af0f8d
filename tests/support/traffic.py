"""What goes on while hosts, pooler, schema or database are changed: callbacks come, and messages are asked for."""

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
"""Threads that ask for messages, and the pause of each between two."""


class Traffic:
    """Posts each callback until it is acknowledged, and asks for each message, with a key, until it is answered 202.

    Every second message is left to the workers. What begins in the block ends in it.
    """

    def __init__(self, url: str, ports: Sequence[int], *, seed: int, seconds: float, per_second: float = 60) -> None:
        self._url = url
        self.stream = Stream(seed=seed, per_second=per_second, seconds=seconds)
        self.client = Bandwidth(ports, self.stream.callbacks, Random(seed))
        self.asked: dict[str, str] = {}
        """The tag of each message that was answered 202, by its reference."""
        self.refusals: Counter[int] = Counter()
        """How often a request to send was answered otherwise."""
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

    def flow(self, count: int = 100) -> None:
        """Waits until that many more callbacks were acknowledged, and some more messages taken."""
        callbacks, messages = self._acknowledged() + count, len(self.asked) + count // 20
        wait_for(lambda: self._acknowledged() >= callbacks and len(self.asked) >= messages, "traffic")

    def findings(self) -> Findings:
        """What is lost or wrong, of callbacks and of messages."""
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
        findings.lost += [f"{each} was promised and is not stored" for each in self.asked.keys() - references.keys()]
        findings.wrong += [f"{each} is stored {times} times" for each, times in references.items() if times > 1]
        findings.wrong += [f"{each} was never acknowledged" for each in deliveries if not each.acknowledged]
        return findings

    def acknowledged(self) -> list[Delivery]:
        """The callbacks that Bandwidth will not send again."""
        return [each for each in self.client.deliveries if each.acknowledged]

    def _acknowledged(self) -> int:
        return sum(each.acknowledged for each in self.client.deliveries)

    def _answer_late(self, keys: Sequence[int]) -> None:
        with Database(self._url) as database:
            record_late_answers(database, self.stream.messages, keys)

    def _send_all(self, number: int) -> None:
        place = 0
        while not self._stopping.is_set():
            place += 1
            reference, at_once = f"traffic-{number}-{place}", place % 2 == 0
            wait_for(lambda: self._is_taken(reference, at_once=at_once), f"{reference} to be taken")  # noqa: B023
            self._stopping.wait(SEND_SECONDS)

    def _is_taken(self, reference: str, *, at_once: bool) -> bool:
        port = self._ports[hash(reference) % len(self._ports)]
        with suppress(requests.ConnectionError), Api(f"http://127.0.0.1:{port}") as api:
            answer = ask(api, reference, at_once=at_once)
            if answer.status_code == 202:
                self.asked[reference] = answer.json()["tag"]
                return True
            self.refusals[answer.status_code] += 1
        return False


def ask(api: Api, reference: str, *, at_once: bool = True) -> requests.Response:
    """Asks for a message with a key; a second time that is the same request."""
    headers = {"Idempotency-Key": reference} | ({} if at_once else {"Prefer": "respond-async"})
    return api.send("+12005580001", reference=reference, headers=headers)
