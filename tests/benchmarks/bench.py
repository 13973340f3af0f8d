"""`make bench`: how fast callbacks are stored, side by side with what else could receive them, in one run.

Every contestant gets the same events over the same number of connections, in turn, several times. Only the ratios mean
anything on another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.progress import Progress

from receiver.database.database import Database
from tests.benchmarks import one_writer, pgbench, report
from tests.benchmarks.contestants import CONTESTANTS, cpu_seconds, running
from tests.benchmarks.load import Load
from tests.benchmarks.workload import Store, identity_of, make_body_of, make_events, make_request, problem
from tests.support.postgres import PostgresServer

CONNECTIONS = (8, 32, 128)
EVENTS = 60_000
"""Events in one run; more than any contestant stores."""

WARM_UP = 1.0
"""Seconds before each measurement."""

FOLDER = Path("build/bench")


@dataclass(frozen=True)
class Measurement:
    """One run of one contestant; times in milliseconds, CPU in seconds per 10,000 events."""

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


class EventLost(Exception):
    """An event was acknowledged and is not stored, or is stored twice."""


class Bench:
    """The benchmark of all contestants on one PostgreSQL."""

    def __init__(self, *, seconds: float, server: PostgresServer) -> None:
        self.seconds = seconds
        self.server = server
        self.events = make_events(EVENTS)
        self.requests = [make_request(each) for each in self.events]
        self.identities = [identity_of(each) for each in self.events]

    def over_http(
        self, name: str, store: Store | None, process: psutil.Process, port: int, connections: int
    ) -> Measurement:
        """Runs one measurement. Raises EventLost."""
        if store:
            store.reset()
        database = psutil.Process(self.server.pid)
        before = cpu_seconds(process), cpu_seconds(database)
        load = Load(port, self.requests)
        outcome = load.run(connections=connections, warm_up=WARM_UP, seconds=self.seconds)
        app, pg = cpu_seconds(process) - before[0], cpu_seconds(database) - before[1]
        answered = (self.identities[place] for place in outcome.answered)
        if store and (wrong := problem(answered, store.count())):
            raise EventLost(f"{name}, {connections} connections: {wrong}")
        latencies = sorted(outcome.latencies)
        number = len(outcome.answered)
        whole_cpu = outcome.cpu * number / max(outcome.measured, 1)  # that of the warm-up estimated
        return Measurement(
            name=name,
            connections=connections,
            rate=outcome.measured / outcome.seconds,
            **{f"p{part}": latencies[len(latencies) * part // 100] / 1e6 for part in (50, 95, 99)},
            mean=sum(latencies) / len(latencies) / 1e6,
            app_cpu=app / number * 10_000,
            database_cpu=pg / number * 10_000,
            load_share=whole_cpu / (app + pg + whole_cpu),
            not_stored=sum(outcome.refused.values()) + outcome.dropped + outcome.unanswered,
        )

    def by_pgbench(self, store: Store, connections: int, folder: Path) -> Measurement:
        """Measures the service's own statements for one event, without HTTP."""
        store.reset()
        with Database(store.url) as database:
            script = pgbench.capture(database)
        name = store.url.rpartition("/")[2]
        for seconds in (WARM_UP, self.seconds):
            rate, mean = pgbench.run(
                self.server, name, script, folder=folder, clients=connections, seconds=max(1, round(seconds))
            )
        return Measurement(name=report.PGBENCH, connections=connections, rate=rate, mean=mean)

    def on_sqlite(self, folder: Path) -> list[Measurement]:
        """Measures the service on an SQLite file, and one writer without HTTP on another file."""
        rows = [as_row(each) for each in self.events]
        found = []
        with tempfile.TemporaryDirectory(dir=folder) as files:
            alone = Store(f"sqlite:///{files}/alone.sqlite3", plain=False)
            alone.reset()
            rate = one_writer.rate(f"{files}/alone.sqlite3", rows, warm_up=WARM_UP, seconds=self.seconds)
            found.append(Measurement(name=report.ONE_WRITER, connections=1, rate=rate))
            store = Store(f"sqlite:///{files}/served.sqlite3", plain=False)
            with running(CONTESTANTS[0], store.url, folder / "sqlite.log") as (process, port):
                measured = self.over_http(report.SQLITE, store, process, port, 32)
            found.append(measured)
        return found


def as_row(element: dict[str, object]) -> dict[str, object]:
    message_id, recipient, kind, code = identity_of(element)
    tag = element["message"]["tag"]  # type: ignore[index]
    row = {"message_id": message_id, "recipient": recipient, "type": kind, "code": code, "tag": tag}
    return row | {"time": "2026-11-21 12:00:00.000000", "payload": make_body_of(element).decode()}


def measure(*, rounds: int, seconds: float) -> list[Measurement]:
    """Measures every contestant in turn, ``rounds`` times."""
    found: list[Measurement] = []
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer(fsync=True))
        bench = Bench(seconds=seconds, server=server)
        stores: dict[str, Store | None] = {}
        servers = {}
        for place, each in enumerate(CONTESTANTS):
            url = server.create_database(f"bench{place}")
            stores[each.name] = Store(url, plain=each.plain) if each.stores else None
            servers[each.name] = stack.enter_context(running(each, url, FOLDER / f"{place}.log"))
        own = Store(server.create_database("bench_pgbench"), plain=False)
        progress = stack.enter_context(Progress())
        task = progress.add_task("", total=rounds * (len(CONNECTIONS) * (len(CONTESTANTS) + 1) + 1))
        for number in range(1, rounds + 1):
            for connections in CONNECTIONS:
                for each in CONTESTANTS:
                    progress.update(task, description=f"round {number}: {each.name}, {connections} connections")
                    found.append(bench.over_http(each.name, stores[each.name], *servers[each.name], connections))
                    progress.advance(task)
                progress.update(task, description=f"round {number}: pgbench, {connections} connections")
                found.append(bench.by_pgbench(own, connections, FOLDER))
                progress.advance(task)
            progress.update(task, description=f"round {number}: SQLite")
            found += bench.on_sqlite(FOLDER)
            progress.advance(task)
    return found


def machine() -> dict[str, object]:
    packages = ("granian", "sqlalchemy", "psycopg", "flask", "gunicorn", "fastapi", "uvicorn", "asyncpg")
    postgres = subprocess.run(
        [PostgresServer().binary("postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": postgres,
        "packages": {name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        found = measure(rounds=options.rounds, seconds=options.seconds)
    except EventLost as lost:
        sys.exit(f"FAILED: {lost}")
    medians = report.medians(found)
    content = {"machine": machine(), "options": vars(options), "rounds": [asdict(each) for each in found]}
    (FOLDER / "bench.json").write_text(json.dumps(content, indent=1))
    report.show(medians)
    report.draw(medians, FOLDER / "bench.png")


if __name__ == "__main__":
    main()
