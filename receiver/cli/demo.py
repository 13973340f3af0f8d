"""`receiver demo`: a message's whole path in real processes on this machine, with the simulator as Bandwidth."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Self

import click
import requests
from rich.rule import Rule

from receiver.cli.console import not_ignored, out
from receiver.cli.tables import print_events, print_message, print_rows
from receiver.database import schema
from receiver.database.database import Database
from receiver.errors import ReceiverError
from receiver.reports import messages
from receiver.settings import ENV_FILE, FILE_VARIABLES

API_KEY, CALLBACK_USER, CALLBACK_PASSWORD = "demo-key", "bandwidth", "demo-password"

RECIPIENTS = {
    "+19195550101": "an ordinary number",
    "+12005564404": "an invalid number: Bandwidth reports failed, and then delivered anyway",
    "+12005610002": "a number whose event Bandwidth reports three times",
}
DELIVERIES = 6
"""The number of callbacks that the simulator makes about them: 1 + 2 + 3."""

PATIENCE = 30.0
"""Seconds allowed for each step, which takes about two."""

RULE_WIDTH = 80

QUERY = """SELECT recipient, status, error_code, error_name
FROM support_recipients WHERE tag = '{tag}' ORDER BY position"""


@click.command()
def demo() -> None:
    """Show a message's whole path on this machine, without Bandwidth.

    Starts the simulator and the service, sends a group message, and shows its events and outcomes. Nothing is left
    running or stored.
    """
    with ExitStack() as stack:
        signals = stack.enter_context(_Signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="receiver-demo-")))
        simulator_port, server_port = _free_ports(2)
        environment = _environment(folder, simulator_port)
        url = f"http://127.0.0.1:{server_port}"

        _step("Migrate an SQLite file")
        schema.upgrade(environment["DATABASE_URL"])
        _step("Start the simulator and the service")
        callback = ["--callback-url", f"{url}/callbacks/bandwidth"]
        credentials = ["--callback-user", CALLBACK_USER, "--callback-password", CALLBACK_PASSWORD]
        for command in (
            ["simulate", "--port", str(simulator_port), *callback, *credentials],
            ["serve", "--port", str(server_port)],
        ):
            stack.enter_context(_running(command, environment, folder))
        simulator = f"http://127.0.0.1:{simulator_port}/simulator/switches"
        _wait_for(signals, lambda: requests.get(simulator, timeout=5).ok, "the simulator to listen")
        _wait_for(signals, lambda: requests.get(f"{url}/health/ready", timeout=5).ok, "the service to be ready")

        _step("Send a group message to")
        for number, what in RECIPIENTS.items():
            out.print(f"    {number}  {what}", markup=False, soft_wrap=True)
        tag = _send(url)
        _step("Wait for the events")
        _wait_for(signals, lambda: _deliveries(url, tag) >= DELIVERIES, "the events")
        _show(environment["DATABASE_URL"], tag)


def _show(database_url: str, tag: str) -> None:
    with Database(database_url) as database:
        print_message(out, messages.message(database, tag))
        print_events(out, messages.events(database, tag))
    query = QUERY.format(tag=tag)
    _step("Query the outcomes in any SQL client")
    out.print(query, style="cyan", markup=False, soft_wrap=True)
    connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
    try:
        cursor = connection.execute(query)
        print_rows(out, [column[0] for column in cursor.description], cursor)
    finally:
        connection.close()


def _step(title: str) -> None:
    # In a pipe the console is very wide, so that a row of a table is one line; a rule need not be.
    width = out.width if out.is_terminal else RULE_WIDTH
    out.print(Rule(title, align="left", style="dim"), width=min(width, out.width))


def _environment(folder: Path, simulator_port: int) -> dict[str, str]:
    return os.environ | {
        **dict.fromkeys((ENV_FILE, *FILE_VARIABLES), ""),
        "DATABASE_URL": f"sqlite:///{folder / 'receiver.sqlite3'}",
        "BANDWIDTH_API_URL": f"http://127.0.0.1:{simulator_port}/api/v2",
        "BANDWIDTH_ACCOUNT_ID": "5000000",
        "BANDWIDTH_CLIENT_ID": "demo",
        "BANDWIDTH_CLIENT_SECRET": "demo",
        "BANDWIDTH_TOKEN_URL": f"http://127.0.0.1:{simulator_port}/api/v1/oauth2/token",
        "BANDWIDTH_USERNAME": "",
        "BANDWIDTH_PASSWORD": "",
        "BANDWIDTH_APPLICATION_ID": "93de2206-9669-4e07-948d-329f4b722ee2",
        "BANDWIDTH_FROM": "+19195550100",
        "CALLBACK_CREDENTIALS": f"{CALLBACK_USER}:{CALLBACK_PASSWORD}",
        "API_KEYS": f"demo:{API_KEY}",
        "READ_ONLY_API_KEYS": "",
    }


def _send(url: str) -> str:
    body = {"to": list(RECIPIENTS), "text": "Lunch is at noon.", "reference": "demo"}
    response = requests.post(f"{url}/messages", json=body, headers=_authorization(), timeout=PATIENCE)
    if response.status_code != 202:
        raise ReceiverError(f"The service responded with status {response.status_code}: {response.text}")
    return str(response.json()["tag"])


def _deliveries(url: str, tag: str) -> int:
    response = requests.get(f"{url}/messages/{tag}/events", headers=_authorization(), timeout=PATIENCE)
    return sum(event["deliveries"] for event in response.json()["events"])


def _authorization() -> dict[str, str]:
    return {"Authorization": f"Bearer {API_KEY}"}


@contextmanager
def _running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    """Runs a command in a child process until the block ends; its output is shown only if it exits by itself."""
    log = folder / f"{command[0]}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "receiver.cli", *command], env=environment, stdout=output, stderr=output
        )
    try:
        yield
    except ReceiverError as error:
        if child.poll() is not None:
            raise ReceiverError(f"`receiver {command[0]}` exited unexpectedly:\n{log.read_text()}") from error
        raise
    finally:
        child.terminate()
        try:
            child.wait(timeout=15)  # the service takes up to 10 to stop
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class _Signals:
    """Notes Ctrl-C, SIGTERM and SIGHUP, which end the demo between two steps: at any other moment, a child process that
    is just being started would outlive it."""

    def __init__(self) -> None:
        self._received = False

    def check(self) -> None:
        """Raises ReceiverError if one of the signals was received."""
        if self._received:
            raise ReceiverError("Stopped.")

    def __enter__(self) -> Self:
        ends = {signal.SIGINT, signal.SIGTERM, *not_ignored(signal.SIGHUP)}
        self._before = {each: signal.signal(each, self._note) for each in ends}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self._received = True


def _wait_for(signals: _Signals, condition: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        signals.check()
        with suppress(requests.ConnectionError):
            if condition():
                return
        time.sleep(0.05)
    raise ReceiverError(f"Timed out after {PATIENCE:.0f} seconds waiting for {what}.")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
