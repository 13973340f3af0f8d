"""The whole loop in real processes: HTTP client, service, workers, simulator, and its callbacks to the service."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.support.postgres import free_port
from tests.support.processes import (
    Api,
    Child,
    SimulatorProcess,
    environment,
    faults,
    serving,
    simulating,
    wait_for,
    working,
)

SILENT = "+12005660001"
"""A recipient about whom the simulator sends no callback."""


@dataclass
class Loop:
    """The service beside a simulator that calls it back; a test starts the workers that it needs."""

    folder: Path
    environment: dict[str, str]
    simulator: SimulatorProcess
    server: Child
    api: Api
    stack: ExitStack

    def restart_simulator(self) -> None:
        """Starts a new simulator in the place of one that has ended."""
        url, port = f"{self.api.url}/callbacks/bandwidth", self.simulator.port
        self.simulator = self.stack.enter_context(simulating(self.folder, callback_url=url, port=port))

    def restart_server(self) -> None:
        """Starts a new service in the place of one that has ended."""
        port = urlsplit(self.api.url).port
        self.server, self.api = self.stack.enter_context(serving(self.folder, self.environment, port=port))

    @contextmanager
    def workers(self, count: int, *options: str, threads: int = 4) -> Iterator[list[Child]]:
        """Runs that many workers; none of them may log an internal error."""
        arguments = ["--threads", str(threads), *options]
        with ExitStack() as stack:
            children = [stack.enter_context(working(self.folder, self.environment, *arguments)) for _ in range(count)]
            yield children
            assert not any(faults(child.output) for child in children)

    def queue(self, count: int, *to: str) -> list[str]:
        """Queues that many messages for the workers and returns their tags."""
        return [self.api.queue(*to or (SILENT,)) for _ in range(count)]

    def states(self) -> Counter[str]:
        """The number of messages in each send status."""
        return Counter(dict(self.sql("SELECT send_status, count(*) FROM messages GROUP BY send_status")))

    def wait_for_states(self, **expected: int) -> None:
        wait_for(lambda: self.states() == Counter(expected), f"{expected}; it is {self.states()}")

    def sent(self) -> Counter[str]:
        """How often the simulator accepted each message, by tag."""
        return Counter(each["tag"] for each in self.simulator.recorded())

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a support person's SQL client shows; ``?`` stands for a value."""
        return select(self.environment["DATABASE_URL"], query, *values)

    def wait_for_sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The first rows that the query finds."""
        return wait_for(lambda: self.sql(query, *values), query)


def select(database_url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of one query, read through the database's own driver without any of our code."""
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query, values).fetchall()
    with psycopg.connect(database_url.replace("+psycopg", "", 1)) as session:
        return session.execute(query.replace("?", "%s").encode(), values).fetchall()


@contextmanager
def looping(folder: Path, database_url: str, *simulator_options: str, **settings: Any) -> Iterator[Loop]:
    """Runs a loop of its own, for a test that breaks something or needs settings of its own."""
    port = free_port()
    callback_url = f"http://127.0.0.1:{port}/callbacks/bandwidth"
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(folder, *simulator_options, callback_url=callback_url))
        given = {"bandwidth_api_url": simulator.api_url, "bandwidth_read_timeout": 3.0} | settings
        variables = environment(database_url, **given)
        server, api = stack.enter_context(serving(folder, variables, port=port))
        yield Loop(folder, variables, simulator, server, api, stack)


@dataclass
class Loops:
    """The loops that the tests of a run share, by engine: one each, because a start takes seconds."""

    stack: ExitStack
    running: dict[str, Loop]
