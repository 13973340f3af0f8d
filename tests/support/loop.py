"""The whole loop in real processes: HTTP client, service, simulator, callbacks, service."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.support.postgres import free_port
from tests.support.processes import Api, Child, SimulatorProcess, environment, serving, simulating, wait_for


@dataclass
class Loop:
    """The service beside a simulator that calls it back."""

    folder: Path
    environment: dict[str, str]
    simulator: SimulatorProcess
    server: Child
    api: Api
    stack: ExitStack

    def restart_simulator(self) -> None:
        """A new simulator in the place of one that has ended."""
        url, port = f"{self.api.url}/callbacks/bandwidth", self.simulator.port
        self.simulator = self.stack.enter_context(simulating(self.folder, callback_url=url, port=port))

    def restart_server(self) -> None:
        """A new service in the place of one that has ended."""
        port = urlsplit(self.api.url).port
        self.server, self.api = self.stack.enter_context(serving(self.folder, self.environment, port=port))

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a support person's SQL client shows; ``?`` stands for a value."""
        return select(self.environment["DATABASE_URL"], query, *values)

    def wait_for_sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The first rows that the query finds."""
        return wait_for(lambda: self.sql(query, *values), query)


def select(database_url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of one query, by the database's own driver: no code of ours between."""
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query, values).fetchall()
    with psycopg.connect(database_url.replace("+psycopg", "", 1)) as session:
        return session.execute(query.replace("?", "%s").encode(), values).fetchall()


@contextmanager
def looping(folder: Path, database_url: str, *simulator_options: str) -> Iterator[Loop]:
    """A loop of its own, for a test that breaks something."""
    port = free_port()
    callback_url = f"http://127.0.0.1:{port}/callbacks/bandwidth"
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(folder, *simulator_options, callback_url=callback_url))
        settings = environment(database_url, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=3.0)
        server, api = stack.enter_context(serving(folder, settings, port=port))
        yield Loop(folder, settings, simulator, server, api, stack)


@dataclass
class Loops:
    """The loops of this test run, by engine: one each, because a start takes seconds."""

    stack: ExitStack
    running: dict[str, Loop]
