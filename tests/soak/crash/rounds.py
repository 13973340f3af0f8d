"""A round: one sender after another is killed, the remaining messages are sent, and the facts are gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from tests.soak.crash.checking import Asked, Outcome
from tests.soak.crash.doom import OF_SERVERS, OF_WORKERS, Point
from tests.soak.crash.scene import Life, Scene, ask
from tests.support.postgres import free_port
from tests.support.processes import Child, wait_for
from tests.support.stored import view

Told = Callable[[Life], None]

AGAIN = (None, 409, 429, 503)
"""The statuses, or None for no response, after which a client with a key repeats its request."""


class Senders:
    """The senders that are killed in a round, and how they get their messages."""

    points: tuple[Point, ...]

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.asked: list[Asked] = []
        self.receiver = scene.serve(scene.callback_port)  # the events' own: it lives through it all

    def live(self, life: Life) -> None:
        """Runs the senders of one life from their start to their end."""
        raise NotImplementedError

    def finish(self) -> None:
        """Sends all remaining messages with senders that are not killed."""
        raise NotImplementedError

    def new_asked(self) -> tuple[Asked, list[str]]:
        """Makes a message to send, with its recipients."""
        silent = self.scene.random.random() < 0.4
        to = self.scene.recipients(len(self.asked), silent=silent)
        self.asked.append(Asked(reference=f"message-{len(self.asked)}", is_silent=silent))
        return self.asked[-1], to

    def outcome(self) -> Outcome:
        return Outcome(
            asked=self.asked,
            rows=view(self.scene.database, "support_messages"),
            record=self.scene.record(),
            caught=self.scene.caught,
            refusals=self.scene.refusals(),
        )


class Workers(Senders):
    """Senders that are `receiver worker` processes."""

    points = OF_WORKERS

    def live(self, life: Life) -> None:
        self.scene.simulator.switch(**life.switches)
        for _ in range(life.messages):
            self._queue()
        self.scene.die(life, [self._start(life) for _ in range(life.senders)])

    def _queue(self) -> None:
        asked, to = self.new_asked()
        priority = self.scene.random.choice((None, "high"))
        self.scene.queue(*to, reference=asked.reference, priority=priority)
        asked.is_promised = True

    def _start(self, life: Life) -> Child:
        return self.scene.start("worker", "--threads", "2", point=life.point, nth=life.nth, rate=life.rate)

    def finish(self) -> None:
        self.scene.let_time_pass()
        worker = self.scene.start("worker")
        self.scene.wait_until_sent()
        worker.end()


@dataclass(kw_only=True)
class Request:
    """The request that a client repeats."""

    asked: Asked
    body: dict[str, Any]
    key: str | None

    def repeat(self, port: int) -> None:
        self.asked.answer = ask(port, self.body, key=self.key)
        self.asked.is_promised |= self.asked.answer == 202


class Servers(Senders):
    """Senders that are `receiver serve` processes; their clients repeat requests that got no response."""

    points = OF_SERVERS

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.port = free_port()
        self.requests: list[Request] = []

    def live(self, life: Life) -> None:
        self.scene.simulator.switch(**life.switches)
        due = [*self._to_repeat(), *(self._new_request() for _ in range(life.messages))]
        server = self.scene.serve(
            self.port, "--workers", str(life.senders), point=life.point, nth=life.nth, rate=life.rate
        )
        with ThreadPoolExecutor(len(due)) as threads:
            asking = [threads.submit(each.repeat, self.port) for each in due]
            self.scene.die(life, [server])
        for each in asking:
            each.result()

    def _new_request(self) -> Request:
        asked, to = self.new_asked()
        key = asked.reference if self.scene.random.random() < 0.7 else None
        body = {"to": to, "text": "Lunch is at noon.", "reference": asked.reference}
        self.requests.append(Request(asked=asked, body=body, key=key))
        return self.requests[-1]

    def _to_repeat(self) -> Iterator[Request]:
        """Without a key a repeat is a new message, so the client may send twice."""
        for each in self.requests:
            if each.asked.answer in AGAIN and (each.key or self.scene.random.random() < 0.3):
                each.asked.times += not each.key
                yield each

    def finish(self) -> None:
        """Makes every client with a key repeat its request at least once, even after a confirmation."""
        self.scene.let_time_pass()
        server = self.scene.serve(self.port)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(self._repeat_to_the_end, [each for each in self.requests if each.key]))
        self.scene.wait_until_sent()
        server.end()

    def _repeat_to_the_end(self, request: Request) -> None:
        def is_answered() -> bool:
            request.repeat(self.port)
            return request.asked.answer not in AGAIN

        wait_for(is_answered, f"a last answer about {request.asked.reference}")


def plan(senders: Senders, *, times: int, most_senders: int) -> Sequence[Life]:
    """The lives of a round: every point ``times`` times, in random order."""
    random = senders.scene.random
    points = [point for point in senders.points for _ in range(times)]
    random.shuffle(points)
    return [Life.drawn(point, random, most_senders=most_senders) for point in points]


def play(senders: Senders, lives: Iterable[Life], *, told: Told) -> tuple[Outcome, Outcome]:
    """The outcome before and after `receiver reconcile`; ``told`` is called after every life."""
    for life in lives:
        senders.live(life)
        told(life)
    senders.finish()
    senders.scene.wait_until_told()
    senders.receiver.end()
    before = senders.outcome()
    senders.scene.reconcile()
    return before, replace(senders.outcome(), is_reconciled=True)
