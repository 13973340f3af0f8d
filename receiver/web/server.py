"""Runs the processes of the service: granian, a server whose time-outs and limits are not Python's, with ours."""

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

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

from receiver.errors import CannotCount, CannotListen

SHARED_MEMORY, FOLDER_PREFIX = "/dev/shm", "receiver-metrics-"  # noqa: S108 - what is in it is made by mkdtemp

LEAST_ROOM = 2**22
"""Bytes: what the processes of a server count takes three times metrics.ROOM of each, also of those that have ended."""

LONGEST_HEAD = 2**16
"""Bytes of a request line and its headers, which need no credentials: so this is what a stranger's connection may take.
What comes in one piece may be twice as much; beyond that, and of more than 100 headers, the answer is 431.
"""

TO_OUR_LOG = {"handlers": {}, "loggers": {name: {"propagate": True} for name in ("_granian", "granian.access")}}
"""Instead of lines of its own on stdout (logging.config)."""


def free_address(host: str, port: int) -> str:
    """The IP address of ``host``, if nobody listens on that port there: the server itself would share it silently.

    Raises CannotListen.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one, such as ".."
        raise CannotListen(host, port, error) from error
    return str(address[0])


@contextmanager
def metrics_folder() -> Iterator[str]:
    """A folder in which the processes of this server share what they count. Removes what killed servers left.

    Raises CannotCount.
    """
    folder, lock = _made_folder()
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made_folder() -> tuple[Path, int]:
    """And its lock, which lasts as long as this process lives."""
    # Memory rather than a disk, which may fill up: a process that writes to a page it has no room for is ended. But a
    # container may have very little of it.
    for parent in (SHARED_MEMORY, None):
        try:
            return _folder_in(parent or tempfile.gettempdir())
        except OSError as error:
            trouble = error
    raise CannotCount(
        f"Cannot make a folder for what is counted, neither in {SHARED_MEMORY} nor in TMPDIR: {trouble.strerror}."
    ) from trouble


def _folder_in(parent: str) -> tuple[Path, int]:
    for each in Path(parent).glob(f"{FOLDER_PREFIX}*"):
        _remove_unless_used(each)
    if shutil.disk_usage(parent).free < LEAST_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    made = Path(tempfile.mkdtemp(dir=parent))
    lock = os.open(made, os.O_RDONLY)
    flock(lock, LOCK_SH)
    return made.rename(made.with_name(FOLDER_PREFIX + made.name)), lock  # who starts meanwhile finds it locked


def _remove_unless_used(folder: Path) -> None:
    with suppress(OSError):  # somebody else's, or gone by now
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
    """Serves until it is told to stop. What the options mean, `receiver serve --help` says.

    Each process calls ``load`` with the keywords threads, body_seconds, parent and metrics_folder, and serves what that
    returns, an RSGI application.

    Raises CannotListen and CannotCount.
    """
    server = Server(
        "receiver.web.front",
        address=address,
        port=port,
        interface=Interfaces.RSGI,
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
        # The processes that begin now inherit this: what reaches all of them, as from a terminal, stops the first.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else server.signal_handler_interrupt)
        signal.signal(signal.SIGQUIT, server.signal_handler_interrupt)

    load = partial(load, threads=threads, body_seconds=body_seconds, parent=os.getpid())
    try:
        with metrics_folder() as folder:
            loader = partial(load, metrics_folder=folder)
            server.serve(target_loader=loader, wrap_loader=False)  # type: ignore[arg-type]  # no callable, but has __rsgi__
    except RuntimeError as error:  # with a backtrace of Rust code below its first line
        raise CannotListen(address, port, str(error).partition("\n")[0]) from error
