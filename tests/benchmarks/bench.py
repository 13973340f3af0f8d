"""`make bench`: how fast callbacks are stored, side by side with what else could receive them, in one run.

Every contestant gets the same events over the same number of connections, in turn, several times. After each turn
every acknowledged event must be stored, and every recipient of the service's tables must show the fold of its events.
Only the ratios mean anything on another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from receiver.core import times
from tests.benchmarks import network, one_writer, pgbench, profile, report
from tests.benchmarks.contestants import (
    FASTAPI,
    FASTAPI_OURS,
    FLASK_EMPTY,
    FLASK_ORM,
    FLASK_VIEW,
    QUIET,
    RECEIVER,
    Contestant,
    at_revision,
    checked_out,
    cpu_seconds,
    running,
)
from tests.benchmarks.load import Load
from tests.benchmarks.proxy import Proxy, delaying
from tests.benchmarks.truth import problem
from tests.benchmarks.workload import Store, identity_of, make_body_of, make_events, make_request
from tests.support.postgres import PostgresServer

EVENTS = 60_000
"""Events in one run; more than any contestant stores."""

WARM_UP = 1.0
"""Seconds before each measurement."""

PROFILED = (8, 128)
"""With how many connections the service's processor time is profiled."""

FOLDER = Path("build/bench")


@dataclass(frozen=True)
class Part:
    """Contestants that are measured in turn, with each of these numbers of connections."""

    name: str
    contestants: Sequence[Contestant]
    connections: Sequence[int]
    known: bool = True
    """Whether the events are about messages of ours."""
    repeated: int = 1
    """How many times as many rounds as other parts it takes: small differences need more."""
    without_http: bool = False
    """Whether pgbench, and SQLite, take turns too."""
    with_base: bool = False
    """Whether another revision of the service takes turns, if one is given."""
    delay: float | None = None
    """Seconds that a network between contestant and database takes in each direction; None: there is none."""


PARTS = {
    "receiving": [
        Part(
            report.RECEIVING,
            (RECEIVER, FASTAPI, FASTAPI_OURS, FLASK_ORM, FLASK_VIEW, FLASK_EMPTY),
            report.CONNECTIONS,
            without_http=True,
            with_base=True,
        )
    ],
    "unknown": [Part(report.UNKNOWN, (RECEIVER,), report.CONNECTIONS, known=False, with_base=True)],
    "logging": [Part(report.LOGGING, (RECEIVER, QUIET), (8,), repeated=3)],
    "network": [
        Part(report.network(delay), (RECEIVER, FASTAPI, FASTAPI_OURS), (1, 8, 32), delay=delay)
        for delay in report.DELAYS
    ],
}


@dataclass(frozen=True)
class Measurement:
    """One run of one contestant; times in milliseconds, CPU in seconds per 10,000 events."""

    part: str
    name: str
    connections: int
    rate: float
    """Events answered per second."""
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    mean: float | None = None
    app_cpu: float | None = None
    database_cpu: float | None = None
    load_share: float | None = None
    """The load generator's share of all CPU time of the run."""
    not_stored: int = 0
    """Requests without a 2xx, those of the warm-up included."""
    round_trips: float | None = None
    """Round trips to the database per event."""


class EventLost(Exception):
    """An acknowledged event is not stored, a recipient does not show the fold of its events, or nothing is stored."""


@dataclass(frozen=True)
class Served:
    """A running contestant."""

    name: str
    process: psutil.Process
    port: int
    store: Store | None
    """Its database; None if it stores nothing."""
    proxy: Proxy | None = None
    """The network to its database, if there is one."""


@dataclass(frozen=True)
class Turn:
    """What one contestant does in each round."""

    name: str
    connections: Sequence[int]
    measure: Callable[[int], Measurement]
    """Measures it once with that many connections."""


class Bench:
    """The benchmark of all contestants on one PostgreSQL. Its measurements raise EventLost."""

    def __init__(self, *, rounds: int, seconds: float, server: PostgresServer, progress: Progress) -> None:
        self.rounds = rounds
        self.seconds = seconds
        self.server = server
        self.progress = progress
        self.events = {known: make_events(EVENTS, known=known) for known in (True, False)}
        """The elements of the callbacks, by whether their messages are ours."""

    def run(self, part: Part) -> list[Measurement]:
        """Measures every contestant of the part in turn, in all rounds."""
        found, rounds = [], self.rounds * part.repeated
        with self.turns(part) as turns:
            order = [(number, turn) for number in part.connections for turn in turns if number in turn.connections]
            task = self.progress.add_task(part.name, total=rounds * len(order))
            for _ in range(rounds):
                for connections, turn in order:
                    self.progress.update(task, description=f"{part.name}: {turn.name}, {connections}")
                    found.append(turn.measure(connections))
                    self.progress.advance(task)
            self.progress.update(task, description=part.name)
        return found

    @contextmanager
    def turns(self, part: Part) -> Iterator[list[Turn]]:
        """Starts the servers of a part, each with a database of its own."""
        with ExitStack() as stack:
            turns = []
            for served, contestant in zip(stack.enter_context(self.serving(part)), part.contestants, strict=True):
                connections = [number for number in part.connections if number >= contestant.least]
                turns.append(Turn(served.name, connections, partial(self.over_http, part, served)))
            if part.without_http:
                store = Store(stack.enter_context(self._database("bench_pgbench")), plain=False)
                files = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER)))
                turns += [
                    Turn(report.PGBENCH, part.connections, partial(self.by_pgbench, part, store)),
                    Turn(report.ONE_WRITER, (1,), partial(self.by_one_writer, part, files)),
                    Turn(report.SQLITE, (32,), partial(self.on_sqlite, part, files)),
                ]
            yield turns

    @contextmanager
    def serving(self, part: Part) -> Iterator[list[Served]]:
        """Runs the servers of a part."""
        with ExitStack() as stack:
            proxy = None if part.delay is None else stack.enter_context(delaying(self.server.port, seconds=part.delay))
            served = []
            for place, each in enumerate(part.contestants):
                url = stack.enter_context(self._database(f"bench{place}"))
                store = Store(url, plain=each.plain, folder=each.folder)
                if proxy:
                    url = url.replace(f":{self.server.port}/", f":{proxy.port}/")
                process, port = stack.enter_context(running(each, url, FOLDER / f"{place}.log"))
                served.append(Served(each.name, process, port, store if each.stores else None, proxy))
            yield served

    @contextmanager
    def _database(self, name: str) -> Iterator[str]:
        yield self.server.create_database(name)
        self.server.drop_database(name)

    def over_http(self, part: Part, served: Served, connections: int) -> Measurement:
        """Runs one measurement of a server."""
        if served.store:
            served.store.reset()
        requests = [make_request(each) for each in self.events[part.known]]
        database = psutil.Process(self.server.pid)
        before = cpu_seconds(served.process), cpu_seconds(database), served.proxy.round_trips if served.proxy else 0
        outcome = Load(served.port, requests).run(connections=connections, warm_up=WARM_UP, seconds=self.seconds)
        app, pg = cpu_seconds(served.process) - before[0], cpu_seconds(database) - before[1]
        answered = [identity_of(self.events[part.known][place]) for place in outcome.answered]
        if served.store and (wrong := problem(served.store, answered)):
            raise EventLost(f"{part.name}: {served.name}, {connections} connections: {wrong}")
        latencies = sorted(outcome.latencies)
        number = len(answered)
        if not latencies:
            raise EventLost(f"{part.name}: {served.name}, {connections} connections: no 2xx, but {outcome.refused}")
        whole_cpu = outcome.cpu * number / max(outcome.measured, 1)  # that of the warm-up estimated
        return Measurement(
            part=part.name,
            name=served.name,
            connections=connections,
            rate=outcome.measured / outcome.seconds,
            **{f"p{each}": latencies[len(latencies) * each // 100] / 1e6 for each in (50, 95, 99)},
            mean=sum(latencies) / len(latencies) / 1e6,
            app_cpu=app / number * 10_000,
            database_cpu=pg / number * 10_000,
            load_share=whole_cpu / (app + pg + whole_cpu),
            not_stored=sum(outcome.refused.values()) + outcome.dropped + outcome.unanswered,
            round_trips=(served.proxy.round_trips - before[2]) / number if served.proxy else None,
        )

    def by_pgbench(self, part: Part, store: Store, connections: int) -> Measurement:
        """Measures the service's own statement for one event, without HTTP."""
        store.reset()
        script = pgbench.make_script()
        name = store.url.rpartition("/")[2]
        rate, mean = pgbench.measure(
            self.server,
            name,
            script,
            folder=FOLDER,
            clients=connections,
            warm_up=round(WARM_UP),
            seconds=max(1, round(self.seconds)),
        )
        return Measurement(part=part.name, name=report.PGBENCH, connections=connections, rate=rate, mean=mean)

    def by_one_writer(self, part: Part, files: Path, _connections: int) -> Measurement:
        """Measures one writer without HTTP on an SQLite file."""
        path = files / "alone.sqlite3"
        Store(f"sqlite:///{path}", plain=False).reset()
        rows = [as_row(each) for each in self.events[part.known]]
        rate = one_writer.rate(str(path), rows, warm_up=WARM_UP, seconds=self.seconds)
        remove(path)
        return Measurement(part=part.name, name=report.ONE_WRITER, connections=1, rate=rate)

    def on_sqlite(self, part: Part, files: Path, connections: int) -> Measurement:
        """Measures the service on an SQLite file."""
        path = files / "served.sqlite3"
        store = Store(f"sqlite:///{path}", plain=False)
        with running(RECEIVER, store.url, FOLDER / "sqlite.log") as (process, port):
            found = self.over_http(part, Served(report.SQLITE, process, port, store), connections)
        remove(path)
        return found

    def profiled(self, connections: int) -> profile.Profile:
        """Takes a profile of one of the service's processes while it receives callbacks."""
        part = Part("profile", (RECEIVER,), (connections,))
        with self.serving(part) as (served,):
            if served.store:
                served.store.reset()
            load = Load(served.port, [make_request(each) for each in self.events[True]])
            seconds = max(6.0, self.seconds)
            run = partial(load.run, connections=connections, warm_up=WARM_UP, seconds=3 * seconds)
            return profile.take(served.process, run, connections=connections, seconds=seconds, folder=FOLDER)


def remove(path: Path) -> None:
    """Removes an SQLite file with its log."""
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def as_row(element: dict[str, object]) -> dict[str, object]:
    message_id, recipient, kind, code = identity_of(element)
    tag = element["message"]["tag"]  # type: ignore[index]
    row = {"message_id": message_id, "recipient": recipient, "type": kind, "code": code, "tag": tag}
    return row | {"time": "2026-11-21 12:00:00.000000", "payload": make_body_of(element).decode()}


def machine() -> dict[str, Any]:
    packages = ("granian", "uvloop", "sqlalchemy", "psycopg", "flask", "gunicorn", "fastapi", "uvicorn", "asyncpg")
    postgres = [PostgresServer().binary("postgres"), "--version"]
    return {
        "date": times.now().date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgresql": subprocess.run(postgres, capture_output=True, text=True, check=True).stdout.split()[-1],
        "packages": {name: version(name) for name in packages},
    }


def processor() -> str:
    """The processor's name, as Linux says it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def measure(parts: Sequence[str], *, rounds: int, seconds: float, base: str | None) -> Iterator[dict[str, Any]]:
    """Measures these parts; yields the figures of each, by kind. Raises EventLost."""
    with ExitStack() as stack:
        before: tuple[Contestant, ...] = ()
        if base:
            folder = Path(stack.enter_context(TemporaryDirectory())) / "base"
            stack.enter_context(checked_out(base, folder))
            before = (at_revision(base, folder),)
        server = stack.enter_context(PostgresServer(fsync=True))
        progress = stack.enter_context(shown_progress())
        bench = Bench(rounds=rounds, seconds=seconds, server=server, progress=progress)
        for part in (each for name in parts for each in PARTS.get(name, ())):
            compared = replace(part, contestants=(*part.contestants, *before)) if part.with_base else part
            yield {"measured": [*map(asdict, bench.run(compared))]}
        if "network" in parts:
            tracked = progress.track(report.DELAYS, description="sending over a network")
            yield {"sends": [asdict(network.send(server, FOLDER.absolute(), delay=delay)) for delay in tracked]}
        if "profile" in parts:
            tracked = progress.track(PROFILED, description="profile")
            yield {"profiles": [asdict(bench.profiled(connections)) for connections in tracked]}


def shown_progress() -> Progress:
    """A bar for each part on stderr: what is measured now, how many turns are over, how long it took and will take."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def main() -> None:
    choices = [*PARTS, "profile"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--base", metavar="REV", help="measure the service at this revision, too")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(choices)}; all of them if omitted")
    options = parser.parse_args()
    if wrong := {*options.parts} - {*choices}:
        parser.error(f"no such part: {', '.join(sorted(wrong))}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = options.parts or choices
    content: dict[str, Any] = {
        "machine": machine(),
        "options": vars(options),
        "measured": [],
        "sends": [],
        "profiles": [],
    }
    try:
        for found in measure(parts, rounds=options.rounds, seconds=options.seconds, base=options.base):
            content |= {kind: content[kind] + figures for kind, figures in found.items()}
            (FOLDER / "bench.json").write_text(json.dumps(content, indent=1))
    except EventLost as lost:
        sys.exit(f"FAILED: {lost}")
    report.show(content)
    if "receiving" in parts:
        report.draw(content, FOLDER / "bench.svg")


if __name__ == "__main__":
    main()
