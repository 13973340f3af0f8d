"""How many files and functions of the service the walk of one event enters, and that of one message.

A walk begins when the server hands over a request and ends when the response is handed back and the committer is idle
again. It is the second of its kind in the process, so whatever is made once is made already. Only code of ``receiver/``
counts, a file or function once, however often it is entered. A method or property is a function; lambdas,
comprehensions and generator expressions are parts of the function that holds them. What runs beside a walk does not
count: the threads that write the log and the metrics, watch connections and read replies.

Each walk is taken twice: through ``Front``, as `receiver serve` runs it, and through Flask alone, as any other WSGI
server would. The gateway is a fake, so the walk of a message ends where the client of Bandwidth begins.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

from flask import Flask
from rich.console import Console
from rich.table import Table

import receiver
from receiver import log, metrics
from receiver.app import create_app
from receiver.core.messages import Accepted
from receiver.database import schema
from receiver.web.front import Front
from receiver.web.views import EXTENSION
from tests.support.builders import (
    ALICE,
    BEARER,
    BOB,
    CALLBACK_AUTH,
    FakeGateway,
    make_body,
    make_element,
    make_settings,
    store_message,
)
from tests.support.postgres import PostgresServer

HOME = f"{Path(receiver.__file__).parent}{os.sep}"

BESIDE = frozenset({"log", "metrics", "watchdog", "replies"})
"""Names of threads that take no part in a walk."""

SETTLE_SECONDS = 0.1
"""How long after a response the committer is idle again."""

RSGI, WSGI = "RSGI (Front)", "WSGI (Flask)"
SUCCESSES = {200, 202}


@dataclass(frozen=True)
class Request:
    """A POST."""

    path: str
    headers: dict[str, str]
    body: bytes


Send = Callable[[Request], int]
"""Sends a request; returns the HTTP status of its response."""


@dataclass
class Walk:
    """What was entered between a request and its response."""

    name: str
    server: str
    entered: list[CodeType] = field(default_factory=list)
    """Each function once, in the order of the first call."""

    @property
    def files(self) -> list[str]:
        """Paths below ``receiver/``, in the order of the first call."""
        return list(dict.fromkeys(each.co_filename.removeprefix(HOME) for each in self.entered))

    @property
    def functions(self) -> list[str]:
        """Each with its file, in the order of the first call."""
        return [f"{each.co_filename.removeprefix(HOME)}: {each.co_qualname}" for each in self.entered]


class Profiler:
    """Follows the calls of this thread, and of all that are started after it was installed."""

    def __init__(self) -> None:
        self._walk: Walk | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            threading.setprofile(None)
            sys.setprofile(None)

    @contextmanager
    def following(self, walk: Walk) -> Iterator[None]:
        self._walk = walk
        try:
            yield
            time.sleep(SETTLE_SECONDS)
        finally:
            self._walk = None

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        walk, code = self._walk, frame.f_code
        if walk is None or event != "call" or not code.co_filename.startswith(HOME) or code.co_name.startswith("<"):
            return
        if code not in walk.entered and threading.current_thread().name not in BESIDE:
            walk.entered.append(code)


class Protocol:
    """One exchange as granian's RSGI has it."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.status = 0

    async def __call__(self) -> bytes:
        return self._body

    def response_bytes(self, status: int, _headers: list[tuple[str, str]], _body: bytes) -> None:
        self.status = status


def _scope(request: Request) -> SimpleNamespace:
    """The request as granian's RSGI has it: names of headers in lower case."""
    return SimpleNamespace(
        path=request.path,
        method="POST",
        headers={name.lower(): value for name, value in request.headers.items()},
        query_string="",
        client="127.0.0.1:50000",
        server="127.0.0.1:8000",
        scheme="http",
        http_version="1.1",
    )


@contextmanager
def _by_front(app: Flask) -> Iterator[Send]:
    front = Front(app, app.extensions[EXTENSION], threads=1, body_seconds=10, parent=os.getppid())
    with asyncio.Runner() as runner:

        def send(request: Request) -> int:
            protocol = Protocol(request.body)
            runner.run(front.__rsgi__(_scope(request), protocol))
            return protocol.status

        front.__rsgi_init__(runner.get_loop())
        yield send
        front.__rsgi_del__(runner.get_loop())


@contextmanager
def _by_flask(app: Flask) -> Iterator[Send]:
    client = app.test_client()
    yield lambda request: client.post(request.path, data=request.body, headers=request.headers).status_code
    app.extensions[EXTENSION].close()


def _event_request(element: dict[str, Any]) -> Request:
    credentials = base64.b64encode(":".join(CALLBACK_AUTH).encode()).decode()
    return _request("/callbacks/bandwidth", make_body(element), {"Authorization": f"Basic {credentials}"})


def _message_request(recipient: str) -> Request:
    body = json.dumps({"to": [recipient], "text": "Lunch is at noon."})
    return _request("/messages", body.encode(), BEARER)


def _request(path: str, body: bytes, headers: dict[str, str]) -> Request:
    always = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body))}
    return Request(path, always | headers, body)


def measure(database_url: str) -> list[Walk]:
    """The walks on a migrated database: first the event's, then the message's, by each server."""
    found = []
    for server, serving in ((RSGI, _by_front), (WSGI, _by_flask)):
        profiler, gateway = Profiler(), FakeGateway()
        with profiler.installed():
            app = create_app(make_settings(database_url), gateway=gateway)
            accepted = Accepted(message_id=token_hex(16))
            tag, _ = store_message(app.extensions[EXTENSION].database, ALICE, BOB, answer=accepted)
            with serving(app) as send:
                for recipient in (ALICE, BOB):
                    gateway.answer = Accepted(message_id=token_hex(16))
                    event = make_element(recipient=recipient, tag=tag, message_id=accepted.message_id)
                    warm = [
                        _walk(profiler, Walk("event", server), send, _event_request(event)),
                        _walk(profiler, Walk("message", server), send, _message_request(recipient)),
                    ]
        found += warm
    return found


def _walk(profiler: Profiler, walk: Walk, send: Send, request: Request) -> Walk:
    with profiler.following(walk):
        status = send(request)
    if status not in SUCCESSES:
        raise RuntimeError(f"the {walk.name} was answered {status}")
    return walk


def show(walks: list[Walk], *, functions: bool) -> None:
    """Prints the counts and, if wanted, the functions of each walk."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    table = Table("walk", "server", title="What a walk enters", title_justify="left")
    for heading in ("files", "functions"):
        table.add_column(heading, justify="right")
    for each in walks:
        table.add_row(each.name, each.server, str(len(each.files)), str(len(each.functions)))
        if functions:
            console.print(f"{each.name}, {each.server}", *each.functions, sep="\n  ", end="\n\n", markup=False)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the functions, in the order of the first call")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PostgresServer(fsync=False) as server:
        metrics.share(folder)
        log.to_stderr()
        url = server.create_database("walks")
        schema.upgrade(url)
        walks = measure(url)
    log.flush()
    show(walks, functions=options.list)


if __name__ == "__main__":
    main()
