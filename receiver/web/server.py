"""The server: runs the processes of the service on granian, whose time-outs and limits do not depend on Python."""

import errno
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from functools import partial
from pathlib import Path

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server import Server

from receiver.errors import CannotCount, CannotListen

SHARED_MEMORY, FOLDER_PREFIX = "/dev/shm", "receiver-metrics-"  # noqa: S108 - what is in it is made by mkdtemp

LEAST_ROOM = 2**22
"""Bytes. The metrics of a server take three times metrics.ROOM for each of its processes, including ended ones."""

LONGEST_HEAD = 2**16
"""Bytes of a request line and its headers. They need no credentials, so a stranger's connection may take this much.
What arrives in one piece may be twice as long; beyond that, or with more than 100 headers, the response is 431.
"""

TO_OUR_LOG = {"handlers": {}, "loggers": {name: {"propagate": True} for name in ("_granian", "granian.access")}}
"""The configuration (logging.config) by which granian logs to our log instead of stdout."""


def free_address(host: str, port: int) -> str:
    """The IP address of ``host``, if the port is free there: granian itself would silently share a used one.

    Raises CannotListen.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except (OSError, UnicodeError) as error:  # UnicodeError: an impossible name such as ".."
        raise CannotListen(host, port, error) from error
    return str(address[0])


@contextmanager
def metrics_folder() -> Iterator[str]:
    """A folder in which the processes of this server share their metrics. Removes what killed servers left behind.

    Raises CannotCount.
    """
    folder, lock = _made_folder()
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made_folder() -> tuple[Path, int]:
    """The folder and its lock, which lasts as long as this process lives."""
    # Memory rather than a disk, which may fill up: writing to a mapped page that has no room kills the process. But a
    # container may have very little shared memory.
    for parent in (SHARED_MEMORY, None):
        try:
            return _folder_in(parent or tempfile.gettempdir())
        except OSError as error:
            trouble = error
    raise CannotCount(
        f"Cannot create a folder for the metrics, neither in {SHARED_MEMORY} nor in TMPDIR: {trouble.strerror}."
    ) from trouble


def _folder_in(parent: str) -> tuple[Path, int]:
    for each in Path(parent).glob(f"{FOLDER_PREFIX}*"):
        _remove_unless_used(each)
    if shutil.disk_usage(parent).free < LEAST_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    made = Path(tempfile.mkdtemp(dir=parent))
    lock = os.open(made, os.O_RDONLY)
    flock(lock, LOCK_SH)
    return made.rename(made.with_name(FOLDER_PREFIX + made.name)), lock  # locked before another server can see it


def _remove_unless_used(folder: Path) -> None:
    with suppress(OSError):  # owned by somebody else, or already gone
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            flock(lock, LOCK_EX | LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def run(
    load: Callable[..., object],
    address: str,
    port: int,
    *,
    workers: int,
    threads: int,
    connections: int,
    idle_seconds: int,
    body_seconds: int,
    stop_seconds: int,
    access_log: bool,
) -> None:
    """Serves until a signal stops it. `receiver serve --help` explains the options.

    Each process calls ``load`` with the keywords threads, body_seconds, parent and metrics_folder, and serves the RSGI
    application that it returns.

    Raises CannotListen and CannotCount.
    """
    server = Server(
        "receiver.web.front",
        address=address,
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,  # granian takes any other loop that happens to be installed
        workers=workers,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=idle_seconds * 1000, max_buffer_size=LONGEST_HEAD),
        websockets=False,
        backpressure=connections,
        respawn_failed_workers=True,
        workers_kill_timeout=stop_seconds,
        log_access=access_log,
        log_dictconfig=TO_OUR_LOG,
    )
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as it is after nohup

    @server.on_startup  # after granian has set its own, by which SIGHUP replaces its processes
    def heed_signals() -> None:
        # The child processes inherit this. A signal to all of them, as from a terminal, stops the first.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else server.signal_handler_interrupt)
        signal.signal(signal.SIGQUIT, server.signal_handler_interrupt)

    load = partial(load, threads=threads, body_seconds=body_seconds, parent=os.getpid())
    try:
        with metrics_folder() as folder:
            loader = partial(load, metrics_folder=folder)
            server.serve(target_loader=loader, wrap_loader=False)  # type: ignore[arg-type]  # no callable, but has __rsgi__
    except RuntimeError as error:  # with a backtrace of Rust code below its first line
        raise CannotListen(address, port, str(error).partition("\n")[0]) from error
