"""Starts `receiver` in an instant: what it needs is imported once, in a process that forks for every start.

Hundreds of senders are started and killed here, and to import everything would take as long as all that each does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from receiver.cli import commands
from tests.soak.crash.doom import Doom, Point
from tests.support.processes import GRACE, living, wait_for

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Sender:
    """A started `receiver`, the leader of a process group. Its id is not reused until the nursery has ended."""

    pid: int
    log: Path

    @property
    def has_ended(self) -> bool:
        return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE

    @property
    def is_frozen(self) -> bool:
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kills the whole group; returns when it has ended."""
        os.killpg(self.pid, signal.SIGKILL)
        wait_for(lambda: not living(self.pid), "a killed sender to be gone")

    def end(self) -> None:
        """Stops it with SIGTERM, as an operator does."""
        os.kill(self.pid, signal.SIGTERM)
        wait_for(lambda: self.has_ended, "a stopped sender to end", seconds=GRACE + 5)
        self.kill()


class Nursery:
    """Starts senders in its block; none of them outlives it, even if the test is killed."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.crash.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=GRACE)

    def start(
        self,
        *arguments: str,
        environment: dict[str, str],
        folder: Path,
        point: Point | None = None,
        nth: int = 1,
        how: signal.Signals = signal.SIGKILL,
    ) -> Sender:
        """Starts `receiver` with these arguments, and with a doom that meets it at its point."""
        log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        order = {"arguments": arguments, "environment": environment, "folder": str(folder), "log": str(log)}
        doom = {"point": point, "nth": nth, "how": how}
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(order | doom), file=self._process.stdin, flush=True)
        return Sender(int(self._process.stdout.readline()), log)


def main() -> None:
    for each in ("send", "send-many", "serve", "worker"):
        commands.load(each)
    groups = []
    for line in sys.stdin:
        pid = os.fork()
        os.setpgid(pid, pid)  # of the child it is the child itself; whoever is first, it is done when its id is told
        if not pid:
            live(json.loads(line))
        groups.append(pid)
        print(pid, flush=True)  # noqa: T201
    for each in groups:
        with suppress(ProcessLookupError):
            os.killpg(each, signal.SIGKILL)


def live(order: dict[str, Any]) -> None:
    """Runs one sender in the forked process; never returns."""
    os.chdir(order["folder"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, stream)
    os.environ.clear()
    os.environ.update(order["environment"])
    if order["point"]:
        Doom(Point(order["point"]), nth=order["nth"], how=signal.Signals(order["how"])).install()
    commands.main(order["arguments"])


if __name__ == "__main__":
    main()
