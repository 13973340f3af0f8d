"""The receivers that `make bench` compares: the service, parts of it, and what people write by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.postgres import free_port
from tests.support.processes import environment, wait_for


@dataclass(frozen=True)
class Contestant:
    """A server that receives callbacks."""

    name: str
    command: Sequence[str]
    plain: bool = False
    """Whether it has the tables of a receiver written by hand, or the service's own."""
    stores: bool = True
    """If not, it only shows the cost of a part of another contestant."""


WSGI = ["-m", "granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "64", "--no-ws"]
CONTESTANTS = (
    Contestant("receiver", ["-m", "receiver.cli", "serve", "--port", "{port}"]),
    Contestant("receiver, Flask view", [*WSGI, "--factory", "--port", "{port}", "receiver.app:from_environment"]),
    Contestant("Flask, empty view", [*WSGI, "--port", "{port}", "tests.benchmarks.flask_empty:app"], stores=False),
    # 64 threads are for the connections; each process has 20 to the database, more than two cores can use.
    Contestant(
        "Flask + ORM",
        [
            *("-m", "gunicorn", "--worker-class", "gthread", "--workers", "2", "--threads", "64"),
            *("--bind", "127.0.0.1:{port}", "tests.benchmarks.flask_orm:app"),
        ],
        plain=True,
    ),
    Contestant(
        "FastAPI + asyncpg",
        [
            *("-m", "uvicorn", "--workers", "2", "--no-access-log", "--log-level", "warning"),
            *("--port", "{port}", "tests.benchmarks.fastapi_asyncpg:app"),
        ],
        plain=True,
    ),
)


@contextmanager
def running(contestant: Contestant, url: str, log: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Runs the contestant's server; yields it and its port when it listens."""
    port = free_port()
    given = environment(url) | {"DATABASE_URL": url.replace("+psycopg", "") if "asyncpg" in contestant.name else url}
    with log.open("wb") as output:
        server = psutil.Popen(
            [sys.executable, *(part.format(port=port) for part in contestant.command)],
            env=given,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: any(each.laddr.port == port for each in _listening(server)), f"{contestant.name}, see {log}")
        yield server, port
    finally:
        server.terminate()
        server.wait(30)


def _listening(server: psutil.Popen) -> list[Any]:
    every = [server, *server.children(recursive=True)]
    return [each for process in every for each in process.net_connections() if each.status == psutil.CONN_LISTEN]


def cpu_seconds(root: psutil.Process) -> float:
    """The CPU seconds of the process and all its children, those that ended included."""
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total
