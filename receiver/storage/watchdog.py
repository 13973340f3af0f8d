"""Ends waiting for a server that is silent: frozen, or behind a network that swallows everything.

PostgreSQL's own time-outs are of no use then, because it is PostgreSQL that would have to notice; and the driver waits
for ever. So each connection in use has a deadline, at which its socket is shut down, and the driver hears an error.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol


class Connected(Protocol):
    """A driver's connection."""

    def fileno(self) -> int: ...


class Watchdog:
    """Watches any number of connections with one thread, which is started by the first."""

    def __init__(self) -> None:
        self._watched: dict[object, tuple[float, Connected]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._looks_at = float("inf")
        """When the thread looks next; being woken for every transaction would cost more than the transaction."""

    @contextmanager
    def watching(self, connection: Connected, *, until: float) -> Iterator[None]:
        """Cuts the connection if this block still runs at ``until``, in seconds of time.monotonic().

        The block must end before the connection goes back to its pool, where it may become another's.
        """
        watch = object()
        with self._changed:
            self._watched[watch] = (until, connection)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            if until < self._looks_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._watched[watch]

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for watch, (until, connection) in list(self._watched.items()):
                    if until <= now:
                        _cut(connection)
                        self._watched[watch] = (float("inf"), connection)
                self._looks_at = min((until for until, _ in self._watched.values()), default=float("inf"))
                self._changed.wait(min(self._looks_at - now, threading.TIMEOUT_MAX))


def _cut(connection: Connected) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as its_socket:
        its_socket.shutdown(socket.SHUT_RDWR)
