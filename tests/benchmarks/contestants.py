"""The receivers that `make bench` compares: the service, parts of it, and what people write by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

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
    least: int = 1
    """The smallest number of connections with which it is measured."""
    folder: Path | None = None
    """The working tree of another version of the service; None for this one."""

    @property
    def environment(self) -> dict[str, str]:
        """Python's search path, if its modules are not those of this working tree."""
        return {"PYTHONPATH": str(self.folder)} if self.folder else {}


SERVE = ["serve", "--port", "{port}"]
WSGI = ["-m", "granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "64", "--no-ws"]
ASGI = ["-m", "uvicorn", "--workers", "2", "--no-access-log", "--log-level", "warning", "--port", "{port}"]

RECEIVER = Contestant("receiver", ["-m", "receiver.cli", *SERVE])
QUIET = Contestant("receiver without log and metrics", ["-m", "tests.benchmarks.quiet", *SERVE])
FLASK_VIEW = Contestant(
    "receiver, Flask view", [*WSGI, "--factory", "--port", "{port}", "receiver.app:from_environment"], least=32
)
FLASK_EMPTY = Contestant(
    "Flask, empty view", [*WSGI, "--port", "{port}", "tests.benchmarks.flask_empty:app"], stores=False, least=32
)
FLASK_ORM = Contestant(
    "Flask + ORM",
    # 64 threads are for the connections; each process has 20 to the database, more than two cores can use.
    [
        *("-m", "gunicorn", "--worker-class", "gthread", "--workers", "2", "--threads", "64"),
        *("--bind", "127.0.0.1:{port}", "tests.benchmarks.flask_orm:app"),
    ],
    plain=True,
)
FASTAPI = Contestant("FastAPI + asyncpg", [*ASGI, "tests.benchmarks.fastapi_asyncpg:app"], plain=True)
FASTAPI_OURS = Contestant("FastAPI + asyncpg, our statement", [*ASGI, "tests.benchmarks.fastapi_ours:app"])


def at_revision(revision: str, folder: Path) -> Contestant:
    """Returns the service of another revision, whose working tree is in that folder."""
    return Contestant(f"receiver at {revision}", RECEIVER.command, folder=folder)


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[None]:
    """Makes a working tree of that revision in a new folder, and removes it afterwards. Raises CalledProcessError."""
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", folder, revision], check=True)
    try:
        yield
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", folder], check=True)


@contextmanager
def running(contestant: Contestant, url: str, log: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Runs the contestant's server; yields it and its port when it listens."""
    port = free_port()
    given = environment(url) | contestant.environment
    with log.open("wb") as output:
        server = psutil.Popen(
            [sys.executable, *(part.format(port=port) for part in contestant.command)],
            env=given,
            stdout=output,
            stderr=output,
            cwd=contestant.folder,
        )
    try:
        wait_for(lambda: _listens(server, port), f"{contestant.name}, see {log}")
        yield server, port
    finally:
        server.terminate()
        server.wait(30)


def _listens(server: psutil.Process, port: int) -> bool:
    """Whether a process of the server listens on the port."""
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            for each in process.net_connections():
                if each.status == psutil.CONN_LISTEN and each.laddr.port == port:
                    return True
    return False


def cpu_seconds(root: psutil.Process) -> float:
    """The CPU seconds of the process and all its children, those that ended included."""
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total
