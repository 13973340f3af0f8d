"""Starts `receiver` in milliseconds: a process that has imported it forks for every start and executes no program.

A start of the command line spends a second of CPU time on imports, and the tests start hundreds of processes. The fork
server ends with the process that uses it, even if that is killed, and ends all that it forked.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, TextIO

ROOT = Path(__file__).parents[2]


class ForkedProcess:
    """A forked process, the leader of a session of its own; it is used like a subprocess.Popen."""

    def __init__(self, pid: int, poll: Callable[[int], int | None]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._poll, self._polling = poll, Lock()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process is running."""
        with self._polling:  # the system gives the exit code once
            if self.returncode is None:
                self.returncode = self._poll(self.pid)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and returns the exit code. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        give_up = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if give_up is not None and time.monotonic() > give_up:
                raise subprocess.TimeoutExpired(["receiver"], timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, how: int) -> None:
        """Sends the signal, unless the process is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, how)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that forks, and the connection to it. Any thread may use it."""

    def __init__(self, release: Path) -> None:
        """``release`` is the folder of the package `receiver` that is forked."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                cwd=release,
                env=os.environ | {"PYTHONPATH": str(ROOT)},  # after the folder of the release
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal must not reach it
            )
        self._socket, self._responses, self._lock = ours, ours.makefile("r"), Lock()

    def close(self) -> None:
        """Ends the fork server and all that it forked."""
        self._responses.close()
        self._socket.close()
        self._process.wait(60)

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: dict[str, str],
        folder: Path,
        streams: tuple[int, int, int],
        before: tuple[str, dict[str, Any]] | None = None,
    ) -> ForkedProcess:
        """Runs `receiver` with these arguments.

        ``streams`` are the descriptors of standard input, output and error. ``before`` names a module whose function
        `install` is called first, with these keywords.
        """
        is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        order = {"arguments": arguments, "environment": environment, "folder": str(folder), "nohup": is_nohup}
        return ForkedProcess(self._ask(order | {"before": before}, streams), self._poll)

    def _poll(self, pid: int) -> int | None:
        return self._ask({"poll": pid})  # type: ignore[no-any-return]

    def _ask(self, request: dict[str, Any], streams: Sequence[int] = ()) -> Any:
        with self._lock:
            socket.send_fds(self._socket, [b"!"], streams)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(self._responses.readline())


@cache
def fork_server(release: Path = ROOT) -> ForkServer:
    """The fork server of this process for that release, started for the first that needs it."""
    server = ForkServer(release)
    atexit.register(server.close)
    return server


def serve(connection: socket.socket) -> None:
    """Forks and polls until the other end is closed; then kills the sessions of all that were forked."""
    requests, forked = connection.makefile("r"), []
    while True:
        mark, streams, *_ = socket.recv_fds(connection, 1, 3)
        if not mark:
            break
        request = json.loads(requests.readline())
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            response = os.waitstatus_to_exitcode(status) if pid else None
        else:
            response = os.fork()
            if not response:
                connection.close()
                requests.close()
                run(request, streams)
            forked.append(response)
            _wait_for_session(response)
        for each in streams:
            os.close(each)
        connection.sendall(json.dumps(response).encode() + b"\n")
    for each in forked:
        with suppress(ProcessLookupError):
            os.killpg(each, signal.SIGKILL)


def _wait_for_session(pid: int) -> None:
    """Waits until the forked process leads its session, so that its group can be signalled at once."""
    with suppress(ProcessLookupError):
        while os.getpgid(pid) != pid:
            time.sleep(0.0005)


def run(order: dict[str, Any], streams: Sequence[int]) -> None:
    """Runs one command in the forked process, as a process that the system has just started; never returns."""
    from receiver.cli import main

    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN if order["nohup"] else signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = _stream(0), _stream(1), _stream(2)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    if order["before"]:
        module, options = order["before"]
        import_module(module).install(**options)
    main(order["arguments"], prog_name="receiver")


def _stream(number: int) -> TextIO:
    """A standard stream as Python opens it at its start."""
    raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    raw.name = ("<stdin>", "<stdout>", "<stderr>")[number]  # type: ignore[misc]
    if number == 0:
        return io.TextIOWrapper(io.BufferedReader(raw))
    is_errors = number == 2
    return io.TextIOWrapper(
        io.BufferedWriter(raw), errors="backslashreplace" if is_errors else None, line_buffering=is_errors
    )


def load_commands() -> None:
    """Imports all that any command needs, and keeps garbage collection away from it: forked processes share it."""
    from receiver.cli import commands

    for name in commands.COMMANDS:
        commands.load(name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    load_commands()
    serve(socket.socket(fileno=int(sys.argv[1])))
