"""Faults that can happen on either engine. A fault happens, lasts, undoes itself, and reports what it did."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pwd import struct_passwd
from random import Random
from typing import TYPE_CHECKING

import psutil

from tests.soak.torture.client import Bandwidth
from tests.soak.torture.servers import Server
from tests.support.processes import wait_for

if TYPE_CHECKING:
    from tests.soak.torture.storages import Storage

Fault = Callable[["Scene"], str]

STALLED = 24
"""The number of bodies that stop half-way at the same time."""

LARGEST_FILE = 64 * 1024
"""Bytes of a file that can still be written when the disk is full."""


@dataclass
class Scene:
    """What faults happen to, and how long the longest lasts, in seconds."""

    servers: Sequence[Server]
    client: Bandwidth
    storage: Storage
    chance: Random
    longest: float

    def hold(self) -> float:
        """Lets the fault last; returns for how many seconds."""
        seconds = self.chance.uniform(self.longest / 10, self.longest)
        time.sleep(seconds)
        return seconds

    def answered(self, words: str) -> int:
        """How often the client got a response that begins like this."""
        return sum(times for said, times in dict(self.client.answers).items() if said.startswith(words))

    def wait_for_answer(self, words: str, times: int = 1) -> int:
        """Waits until the client got such a response that many more times; returns how many more."""
        before = self.answered(words)
        wait_for(lambda: self.answered(words) >= before + times, f"{times} answers: {words}")
        return self.answered(words) - before


def worker_killed(scene: Scene) -> str:
    """Kills a worker process, which the server itself must replace."""
    server = scene.chance.choice(scene.servers)
    before = server.workers()
    victim = scene.chance.choice(before)
    victim.kill()
    (successor,) = wait_for(lambda: set(server.workers()) - set(before), "a successor of the killed worker")
    return f"{victim.pid}, replaced by {successor.pid}"


def server_killed(scene: Scene) -> str:
    server = scene.chance.choice(scene.servers)
    server.kill()
    server.start()
    return f"on port {server.port}, started again"


def supervisor_killed(scene: Scene) -> str:
    server = scene.chance.choice(scene.servers)
    server.kill_supervisor()
    server.start()
    return f"on port {server.port}, its workers ended by themselves, started again"


def worker_stopped(scene: Scene) -> str:
    worker = scene.chance.choice(scene.chance.choice(scene.servers).workers())
    with stopped([worker]):
        return f"{worker.pid} for {scene.hold():.1f} s"


def server_stopped(scene: Scene) -> str:
    server = scene.chance.choice(scene.servers)
    with stopped([server.process, *server.workers()]):
        return f"on port {server.port} for {scene.hold():.1f} s"


@contextmanager
def stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    for each in processes:
        each.suspend()
    try:
        yield
    finally:
        for each in processes:
            each.resume()


def bodies_stalled(scene: Scene) -> str:
    scene.client.stalling = STALLED
    return f"{scene.wait_for_answer('408 to half a body', STALLED)} of them, all refused"


def queue_filled(scene: Scene) -> str:
    with scene.storage.blocked(), scene.client.swollen():
        refused = scene.wait_for_answer("503 Too many callbacks are waiting")
        scene.hold()
    return f"at least {refused} callbacks refused at once"


def disk_filled(scene: Scene) -> str:
    """By a limit of each process that writes: the system refuses to write beyond it, as it does on a full disk.

    A small file system would be more like it, but only root may mount one, and not everywhere. PostgreSQL and Python
    both ignore SIGXFSZ, so that a write fails with EFBIG instead of ENOSPC. PostgreSQL gives up its write-ahead log in
    a panic, as it does when its disk is full.
    """
    scene.storage.limit_files(scene.servers, str(LARGEST_FILE))
    try:
        refused = scene.wait_for_answer("503")
        scene.hold()
    finally:
        scene.storage.limit_files(scene.servers, "unlimited")
        revived = scene.storage.revive()
    return f"at least {refused} callbacks refused{revived}"


def limit_files(processes: Sequence[psutil.Process], largest: str, account: struct_passwd | None = None) -> None:
    """The soft limit only, which can be lifted again; as the owner of the processes, which even root may have to be.

    The parents come first, so that what they start meanwhile has the limit already.
    """
    owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()} if account else {}
    for each in processes:
        command = ["prlimit", f"--pid={each.pid}", f"--fsize={largest}:"]
        ended = subprocess.run(command, capture_output=True, check=False, **owner)
        assert ended.returncode == 0 or not each.is_running(), ended.stderr


ON_EITHER: dict[str, Fault] = {
    "worker killed": worker_killed,
    "server killed": server_killed,
    "supervisor killed": supervisor_killed,
    "worker stopped": worker_stopped,
    "server stopped": server_stopped,
    "bodies stalled": bodies_stalled,
    "queue filled": queue_filled,
    "disk filled": disk_filled,
}
