"""The database that the servers share, and the faults of each engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil
import psycopg

from receiver.database.schema import upgrade
from tests.soak.torture.faults import Fault, Scene, limit_files
from tests.soak.torture.servers import Server
from tests.support.postgres import PostgresServer, StopMode


class Storage(Protocol):
    url: str

    def faults(self) -> dict[str, Fault]:
        """The faults of this engine alone."""

    def blocked(self) -> AbstractContextManager[None]:
        """Makes every write fail or wait inside the block."""

    def limit_files(self, servers: Sequence[Server], largest: str) -> None:
        """Limits the size of this database's files, in bytes, or to "unlimited"."""

    def revive(self) -> str:
        """Starts the database if it has ended, as an init system would; returns a sentence, or ""."""


class Sqlite:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "receiver.sqlite3"
        self.url = f"sqlite:///{self._path}"
        upgrade(self.url)

    def faults(self) -> dict[str, Fault]:
        return {"another process holds the write lock": self._locked}

    def _locked(self, scene: Scene) -> str:
        with self.blocked():
            return f"for {scene.hold():.1f} s"

    @contextmanager
    def blocked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    def limit_files(self, servers: Sequence[Server], largest: str) -> None:
        limit_files([each for server in servers for each in (server.process, *server.workers())], largest)

    def revive(self) -> str:
        return ""


class Postgres:
    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.create_database("torture")
        upgrade(self.url)

    def faults(self) -> dict[str, Fault]:
        return {
            "PostgreSQL restarted (fast)": lambda _: self._restarted("fast"),
            "PostgreSQL restarted (immediate)": lambda _: self._restarted("immediate"),
            "PostgreSQL killed": self._killed,
            "PostgreSQL paused": self._paused,
            "idle connections cut": self._cut,
        }

    def _restarted(self, mode: StopMode) -> str:
        self._server.restart(mode)
        return "and answered"

    def _killed(self, _: Scene) -> str:
        self._server.kill()
        self._server.start()
        return "and started again"

    def _paused(self, scene: Scene) -> str:
        self._server.pause()
        try:
            return f"for {scene.hold():.1f} s"
        finally:
            self._server.resume()

    def _cut(self, _: Scene) -> str:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'torture' AND state = 'idle'"
        return f"{len(self._server.execute(query))} of them"

    @contextmanager
    def blocked(self) -> Iterator[None]:
        with psycopg.connect(self.url.replace("+psycopg", "")) as other:
            other.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            yield

    def limit_files(self, _: Sequence[Server], largest: str) -> None:
        postmaster = psutil.Process(self._server.pid)
        with suppress(psutil.NoSuchProcess):
            limit_files([postmaster], largest, self._server.account)
            limit_files(postmaster.children(), largest, self._server.account)

    def revive(self) -> str:
        if self._lives():
            return ""
        self._server.kill()
        self._server.start()
        return "; PostgreSQL ended and was started again"

    def _lives(self) -> bool:
        process = psutil.Process(self._server.pid)
        return process.status() != psutil.STATUS_ZOMBIE
