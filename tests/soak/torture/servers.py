"""The servers under torture: several on one database, each `receiver serve` as an operator runs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil

from tests.support.postgres import free_port
from tests.support.processes import Child, serving, wait_for


class Server:
    """One `receiver serve`, and those that replace it on the same port."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.children: list[Child] = []
        self._stack = ExitStack()
        self.folder = folder
        self._environment = dict(environment)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()  # without the error, to which every server would add its whole log

    def start(self) -> None:
        """Starts the server, as an init system does first and after every end."""
        child, self.api = self._stack.enter_context(serving(self.folder, self._environment, port=self.port))
        self.children.append(child)

    @property
    def process(self) -> psutil.Process:
        """The process that supervises the others."""
        return psutil.Process(self.children[-1].process.pid)

    def workers(self) -> list[psutil.Process]:
        return self.process.children()

    @property
    def has_ended(self) -> bool:
        return self.children[-1].process.poll() is not None

    def kill(self) -> None:
        """Kills the whole group at once."""
        self.children[-1].kill()

    def kill_supervisor(self) -> None:
        """Kills the supervising process; returns when the others have ended."""
        child = self.children[-1]
        child.process.kill()
        child.process.wait()
        wait_for(lambda: not child.left_behind(), "the workers of a killed server to end by themselves")
        child.kill()
