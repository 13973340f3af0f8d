"""The other half of `make bench`: what sending costs, how many requests a worker keeps under way, what a queue costs.

What is compared is measured in turn, in one run, against one simulator and one PostgreSQL. Speed is shown, never
asserted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import requests
from rich.progress import Progress
from sqlalchemy import text

from receiver import log
from receiver.app import make_gateway
from receiver.core import times
from receiver.core.messages import OutboundMessage, Refused, SendResult
from receiver.core.pace import Rates
from receiver.core.tags import new_tag
from receiver.database import schema
from receiver.database.database import Database
from receiver.messages import outbox
from receiver.messages.call import Caller, Gateway
from receiver.messages.sender import Sender
from receiver.messages.worker import Worker
from tests.benchmarks import network, sending_report
from tests.benchmarks.claiming import CLAIMS, claims, fill
from tests.benchmarks.sending_report import BARE, WITH_PASSWORD, WITH_TOKEN, InFlight, Pace
from tests.support.builders import API_KEY, make_message, make_settings
from tests.support.pace import keep_rate, most_within_a_second, per_second
from tests.support.postgres import PostgresServer
from tests.support.processes import SimulatorProcess, environment, serving, simulating, wait_for

FOLDER = Path("build/bench")

PASSWORD = {
    "bandwidth_client_id": None,
    "bandwidth_client_secret": None,
    "bandwidth_username": "user",
    "bandwidth_password": "password",
}

CALLS = 100
"""Messages of each contestant in a row."""

LATENCY, THREADS = 0.05, (1, 4, 8, 16)
"""The simulator's response time to a worker in seconds, and how many requests the worker may have under way."""

TOGETHER = 200
"""Messages that are queued in one transaction."""

RATE = 20
"""The rate, in units per second, that two workers and synchronous sends keep together."""


class Counted:
    """A gateway that measures how many calls are under way, on average over time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = threading.Lock()
        self._under_way = 0
        self._added_up, self._since = 0.0, time.perf_counter()

    @property
    def timeout(self) -> float:
        return self._gateway.timeout

    @property
    def fingerprint(self) -> str:
        return self._gateway.fingerprint

    def known_refusal(self) -> Refused | None:
        return self._gateway.known_refusal()

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        self._change(1)
        try:
            return self._gateway.create_message(message, tag=tag)
        finally:
            self._change(-1)

    def mean_over(self, seconds: float) -> float:
        before, started = self._change(0), time.perf_counter()
        time.sleep(seconds)
        return (self._change(0) - before) / (time.perf_counter() - started)

    def _change(self, by: int) -> float:
        """The sum so far of calls times seconds."""
        with self._lock:
            now = time.perf_counter()
            self._added_up += self._under_way * (now - self._since)
            self._under_way, self._since = self._under_way + by, now
            return self._added_up


@dataclass(frozen=True)
class Stage:
    """What all measurements share."""

    server: PostgresServer
    simulator: SimulatorProcess
    databases: dict[str, Database]
    service_url: str

    def gateway(self, **changes: Any) -> Gateway:
        changes |= {"bandwidth_api_url": self.simulator.api_url, "bandwidth_read_timeout": 10.0}
        return make_gateway(make_settings("", **changes))

    def sender(self, database: Database) -> Sender:
        hours = timedelta(hours=27)
        caller = Caller(database=database, gateway=self.gateway(), overdue_after=hours)
        return Sender(database=database, caller=caller, rates=Rates())


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Runs the simulator, both databases, and the service on PostgreSQL."""
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer(fsync=True))
        simulator = stack.enter_context(simulating(folder, from_command_line=True))
        urls = {"PostgreSQL": server.create_database("sending"), "SQLite": f"sqlite:///{folder}/sending.sqlite3"}
        for url in urls.values():
            schema.upgrade(url)
        databases = {name: stack.enter_context(Database(url)) for name, url in urls.items()}
        given = environment(urls["PostgreSQL"], bandwidth_api_url=simulator.api_url)
        _, api = stack.enter_context(serving(folder, given, from_command_line=True))
        yield Stage(server, simulator, databases, api.url)


def costs(stage: Stage, *, rounds: int, advance: Callable[[], object]) -> dict[str, float]:
    """The median milliseconds of one message, by contestant; contestants take turns."""
    message = make_message("+12005660001", "+12005660002")
    body = {"to": list(message.to), "from": message.sender, "text": message.text, "applicationId": "app"}
    url = f"{stage.simulator.api_url}/users/5000000/messages"
    stage.simulator.switch(basic=True)
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {API_KEY}"
    contestants: dict[str, Callable[[], object]] = {
        BARE: lambda: _accepted(requests.post(url, json=body, auth=("user", "password"), timeout=10)),
        "POST /messages, on PostgreSQL": lambda: _accepted(session.post(f"{stage.service_url}/messages", json=body)),
    }
    for name, database in stage.databases.items():
        sender = stage.sender(database)
        contestants[f"Sender.send, on {name}"] = lambda sender=sender: sender.send(message)
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            call()  # a connection that was idle meanwhile is not used again
            taken[name] += [_milliseconds(call) for _ in range(CALLS)]
            advance()
    return {name: median(each) for name, each in taken.items()}


def credentials(stage: Stage, *, rounds: int, advance: Callable[[], object]) -> dict[str, float]:
    """The median time of a call with either credentials, in milliseconds. They take turns call by call, because they
    differ by less than what the one before leaves behind."""
    message = make_message("+12005660001", "+12005660002")
    gateways = {WITH_TOKEN: stage.gateway(), WITH_PASSWORD: stage.gateway(**PASSWORD)}
    taken: dict[str, list[float]] = {name: [] for name in gateways}
    for _ in range(rounds):
        for number in range(CALLS):
            for name in sorted(gateways, reverse=number % 2 == 0):
                taken[name].append(_milliseconds(lambda name=name: gateways[name].create_message(message, tag="a-tag")))
        advance()
    return {name: median(each) for name, each in taken.items()}


def _accepted(answer: requests.Response) -> None:
    if answer.status_code != 202:
        raise AssertionError(answer.text)


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def in_flight(stage: Stage, name: str, threads: int, *, seconds: float) -> InFlight:
    """How many requests a worker keeps under way while there is more to send than it can."""
    database, sender = stage.databases[name], stage.sender(stage.databases[name])
    counted = Counted(sender.caller.gateway)
    _queue(database, round(threads * (seconds + 3) / LATENCY))
    worker = Worker(replace(sender.caller, gateway=counted), rates=sender.rates, threads=threads, attempts=1)
    running = threading.Thread(target=worker.run)
    running.start()
    try:
        wait_for(lambda: counted.mean_over(0.1) > 0, "the worker to be at work")
        counted.mean_over(1)
        mean = counted.mean_over(seconds)
    finally:
        worker.stop()
        running.join()
    return InFlight(database=name, threads=threads, mean=mean)


def _queue(database: Database, number: int) -> None:
    """Empties the queue and fills it with that many messages."""
    sent = "UPDATE messages SET send_status = 'accepted' WHERE send_status = 'queued'"
    database.write(lambda session: session.execute(text(sent)))
    for start in range(0, number, TOGETHER):
        now = times.now()
        wanted = [(new_tag(now), make_message("+12005660001")) for _ in range(min(TOGETHER, number - start))]
        database.write(lambda session, wanted=wanted, now=now: outbox.add_queued(session, wanted, now=now))


def kept_pace(stage: Stage, folder: Path, *, seconds: float) -> Pace:
    url = stage.server.create_database("pace")
    schema.upgrade(url)
    found = keep_rate(folder, url, rate=RATE, seconds=seconds)
    return Pace(RATE, seconds, per_second(found, seconds=seconds), most_within_a_second(found))


def measure(*, rounds: int, seconds: float, sent: int, queued: int, minute: float) -> sending_report.Result:
    with (
        tempfile.TemporaryDirectory() as folder,
        staged(Path(folder)) as stage,
        Progress() as progress,
    ):
        task = progress.add_task("the cost of one message", total=rounds * 5)
        cost = costs(stage, rounds=rounds, advance=lambda: progress.advance(task))
        round_trips = network.send(stage.server, Path(folder), delay=0).round_trips
        held = credentials(stage, rounds=rounds, advance=lambda: progress.advance(task))
        stage.simulator.switch(request="slow", slowSeconds=LATENCY)
        under_way = []
        task = progress.add_task("requests under way", total=len(stage.databases) * len(THREADS))
        for name in stage.databases:
            for threads in THREADS:
                under_way.append(in_flight(stage, name, threads, seconds=seconds))
                progress.advance(task)
        claimed = []
        task = progress.add_task("claims", total=2 * CLAIMS)
        for number, (past, waiting) in enumerate(((0, CLAIMS * 10), (sent, queued))):
            url = stage.server.create_database(f"claims{number}")
            schema.upgrade(url)
            fill(url, sent=past, queued=waiting)
            with Database(url) as database:
                claimed.append(claims(database, sent=past, queued=waiting, advance=lambda: progress.advance(task)))
        task = progress.add_task("the pace", total=None)
        pace = kept_pace(stage, Path(folder), seconds=minute)
        progress.update(task, total=1, completed=1)
    return sending_report.Result(
        cost=cost, round_trips=round_trips, credentials=held, in_flight=under_way, claims=claimed, pace=pace
    )


def main() -> None:
    log.silence()  # what runs in this process would say a line for every message here
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="for which a worker is watched")
    parser.add_argument("--sent", type=int, default=1_000_000, help="messages before the long queue")
    parser.add_argument("--queued", type=int, default=100_000, help="messages in the long queue")
    parser.add_argument("--minute", type=float, default=60.0, help="seconds over which the pace is measured")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = measure(**vars(options))
    sending_report.show(result)
    (FOLDER / "sending.json").write_text(json.dumps({"options": vars(options), **asdict(result)}, indent=1))
    sending_report.draw(result, FOLDER / "sending.png")


if __name__ == "__main__":
    main()
