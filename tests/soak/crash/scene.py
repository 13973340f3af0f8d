"""What a round needs: a database, a simulator that holds and records requests, and senders to start and kill."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import requests
from sqlalchemy import select, text, update

from receiver.core import times
from receiver.database.database import Database, Session
from receiver.database.models import Message
from tests.soak.crash import doom
from tests.soak.crash.doom import HELD_AT, Point
from tests.support.builders import BEARER, make_message, make_sender
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, Api, Child, SimulatorProcess, environment, invoke, simulating, wait_for

TOLD = ("+19195550101", "+12005564404", "+12005571001", "+12005610001", "+12005620001", "+12005580001", "+12005550000")
"""Recipients whose events show that a message to them was accepted."""

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Life:
    """When senders die, and what they meet until then."""

    point: Point
    """The point of death: when the first sender reaches it, all are killed."""
    nth: int = 1
    """At which passage of the point; ignored at points where the simulator holds the request."""
    senders: int = 1
    """The number of processes."""
    messages: int = 6
    refusal: str | None = None
    """The simulator's response to the first request."""
    held_then: str | None = None
    """What becomes of held requests: None continues them, `close` closes their connections."""
    time_passes: bool = True
    """Whether leases and deadlines have passed when the next senders begin."""

    @classmethod
    def drawn(cls, point: Point, random: Random, *, most_senders: int) -> Life:
        senders = random.randint(1, most_senders)
        often = senders == 1 and point not in (Point.FETCHING, Point.CONNECTING, *HELD_AT)
        return cls(
            point=point,
            nth=random.randint(1, 2) if often else 1,
            senders=senders,
            messages=random.randint(5, 8),
            refusal=None if point in HELD_AT else random.choice((None, None, "400", "429", "500")),
            held_then=random.choice((None, "close")),
            time_passes=random.choice((True, False)),
        )

    @property
    def switches(self) -> dict[str, Any]:
        if self.point in HELD_AT:
            return {"accident": {"at": HELD_AT[self.point], "do": "hold"}}
        return {"request": self.refusal, "times": 1} if self.refusal else {}

    @property
    def rate(self) -> float | None:
        """A rate so slow that a message must wait for its turn."""
        return 4.0 if self.point is Point.TURN_TAKEN else None


@dataclass
class Scene:
    """Everything that a round uses."""

    folder: Path
    database: Database
    database_url: str
    stack: ExitStack
    """Ends what is started."""
    simulator: SimulatorProcess
    callback_port: int
    """The port to which the simulator posts its events."""
    random: Random
    senders: list[Child] = field(default_factory=list)
    """All senders that were ever started."""
    caught: set[str] = field(default_factory=set)
    """The tags of the messages that were submitting when their sender was killed."""

    def start(
        self,
        *arguments: str,
        rate: float | None = None,
        point: Point | None = None,
        nth: int = 1,
        how: signal.Signals = signal.SIGKILL,
    ) -> Child:
        """Starts `receiver` with these arguments, and with a doom that meets it at its point."""
        fate = (doom.__name__, {"point": point, "nth": nth, "how": how}) if point else None
        child = Child(*arguments, environment=self.settings(rate=rate), folder=self.folder, before=fate)
        self.senders.append(self.stack.enter_context(child))
        return child

    def serve(self, port: int, *arguments: str, **options: Any) -> Child:
        """Runs `receiver serve`; returns when it is ready."""
        server = self.start("serve", "--port", str(port), *arguments, **options)
        with Api(f"http://127.0.0.1:{port}") as api:
            wait_for(lambda: server.has_ended or api.is_ready(), "the service to be ready")
        return server

    def settings(self, *, rate: float | None = None) -> dict[str, str]:
        return environment(
            self.database_url,
            bandwidth_api_url=self.simulator.api_url,
            bandwidth_read_timeout=20.0,
            bandwidth_rate=rate,
        )

    def recipients(self, number: int, *, silent: bool) -> list[str]:
        """Recipients for a message; a silent one has numbers of its own, by which Bandwidth's records find it."""
        count = self.random.randint(1, 3)
        if silent:
            return [f"+1200566{number:03}{position}" for position in range(count)]
        return self.random.sample(TOLD, count)

    def die(self, life: Life, senders: list[Child]) -> None:
        """Waits until a sender reaches the point, kills them all, and lets the simulator continue."""
        if life.point in HELD_AT:
            self.simulator.wait_held()
        else:
            wait_for(lambda: any(each.has_ended for each in senders), f"a sender to be ended: {life.point}")
        for each in senders:
            each.kill()
        self.caught |= self.submitting()
        self.simulator.release(life.held_then)
        self.simulator.switch()
        if life.time_passes:
            self.let_time_pass()

    def submitting(self) -> set[str]:
        """The tags of submitting messages, once the database has ended the transactions of killed senders."""
        self.wait_until_idle()
        return {tag for tag, status in self.statuses().items() if status == "submitting"}

    def wait_until_idle(self) -> None:
        """Waits until PostgreSQL has no other open transaction. On SQLite a killed process leaves none."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
        if not self.database_url.startswith("sqlite"):
            wait_for(lambda: self._read(lambda session: session.scalar(text(query))) == 1, "no open transaction")

    def statuses(self) -> dict[str, str]:
        """The send status of every message, by its tag."""
        rows = self._read(lambda session: session.execute(select(Message.tag, Message.send_status)).all())
        return {row.tag: row.send_status for row in rows}

    def _read(self, work: Callable[[Session], Any]) -> Any:
        with self.database.read() as session:
            return work(session)

    def queue(self, *to: str, reference: str, **fields: Any) -> str:
        """Queues a message for the workers; returns its tag."""
        return make_sender(self.database).queue(make_message(*to, reference=reference, **fields)).tag

    def let_time_pass(self) -> None:
        """Lets an hour pass in the database, so that leases, pauses and deadlines are over without waiting."""
        self.end_leases()
        self._reach(Message.deadline, of="submitting")

    def end_leases(self) -> None:
        self._reach(Message.claimable_at, of="queued")

    def _reach(self, column: Any, *, of: str) -> None:
        now = times.now()
        soon = (Message.send_status == of) & (column <= now + HOUR)
        self.database.write(lambda session: session.execute(update(Message).where(soon).values({column: now})))

    def wait_until_sent(self) -> None:
        """Waits until nothing is queued and nothing is being sent."""
        open_ones = {"queued", "submitting"}
        wait_for(lambda: open_ones.isdisjoint(self.statuses().values()), "everything to be sent")

    def wait_until_told(self) -> None:
        """Waits until the service has acknowledged every event."""

        def told() -> bool:
            callbacks = [each for message in self.simulator.messages() for each in message["callbacks"]]
            return all(each["acknowledged"] for each in callbacks)

        wait_for(told, "every event to be acknowledged")

    def reconcile(self) -> None:
        """Runs `receiver reconcile` over all unknown messages."""
        result = invoke("reconcile", environment=self.settings())
        assert result.exit_code == 0, result.output

    def record(self) -> Counter[str]:
        """How often the simulator accepted each tag."""
        return Counter(each["tag"] for each in self.simulator.recorded())

    def refusals(self) -> int:
        return sum(times for status, times in self.simulator.answers().items() if not status.startswith("2"))


@contextmanager
def staged(url: str, folder: Path, *, seed: int) -> Iterator[Scene]:
    """Sets a scene on a migrated database; none of its processes outlives the block."""
    port = free_port()
    callback_url = f"http://127.0.0.1:{port}/callbacks/bandwidth"
    with (
        Database(url) as database,
        simulating(folder, callback_url=callback_url) as simulator,
        ExitStack() as stack,
    ):
        yield Scene(
            folder=folder,
            database=database,
            database_url=url,
            stack=stack,
            simulator=simulator,
            callback_port=port,
            random=Random(seed),
        )


def ask(port: int, body: dict[str, Any], *, key: str | None) -> int | None:
    """Posts a message; returns the status, or None without a response because the service was killed."""
    url, headers = f"http://127.0.0.1:{port}/messages", BEARER | ({"Idempotency-Key": key} if key else {})
    with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return requests.post(url, json=body, headers=headers, timeout=PATIENCE).status_code
    return None
