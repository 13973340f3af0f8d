"""Runs the processes of the service: granian, a server whose time-outs and limits are not Python's, with ours."""

import os
import socket
from functools import partial

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

from receiver.app import make_front
from receiver.errors import CannotListen

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
    except OSError as error:
        raise CannotListen(f"Cannot listen on {host}:{port}: {error.strerror or error}") from error
    return str(address[0])


def run(
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
    """Serves until it is told to stop. What the options mean, `receiver serve --help` says. Raises CannotListen."""
    server = Server(
        "receiver.app:make_front",
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
    load = partial(make_front, threads=threads, body_seconds=body_seconds, parent=os.getpid())
    try:
        server.serve(target_loader=load, wrap_loader=False)  # type: ignore[arg-type]  # no callable, but has __rsgi__
    except RuntimeError as error:  # with a backtrace of Rust code below its first line
        raise CannotListen(f"Cannot listen on {address}:{port}: {str(error).partition(chr(10))[0]}") from error
