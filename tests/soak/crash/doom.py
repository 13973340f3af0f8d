"""Ends a sender at a chosen step, from inside, without a change to the program.

SQLAlchemy tells of every statement and commit, the pipeline of those that travel together, and Python's audit hooks of
every connection and write, so the program that runs is the one that is installed. Where the step is one of Bandwidth's,
the simulator holds the request there, and the test ends the sender from outside.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import threading
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from receiver.database.pipeline import Pipeline


class Point(StrEnum):
    """The points at which a sender is killed, in the order in which it passes them."""

    CLAIMING = "claim not yet committed"
    CLAIMED = "claim committed"
    TURN_TAKEN = "turn committed"
    SUBMITTING = "submitting not yet committed"
    SUBMITTED = "submitting committed"
    FETCHING = "about to ask for a token"
    CONNECTING = "about to connect"
    CONNECTED = "connected"
    HALF_WRITTEN = "request half written"
    WRITTEN = "request written"
    ACCEPTED = "accepted at Bandwidth"
    HALF_READ = "202 half read"
    READ = "202 read, not yet committed"
    STORED = "answer committed"


HELD_AT = {Point.WRITTEN: "request-read", Point.ACCEPTED: "accepted", Point.HALF_READ: "answer-half-written"}
"""The points at which the simulator holds requests, and what it calls them."""

OF_WORKERS = tuple(Point)
OF_SERVERS = tuple(point for point in Point if point not in (Point.CLAIMING, Point.CLAIMED))
"""The points of a synchronous send, which claims nothing."""

COMMITS: dict[str, tuple[Point | None, Point]] = {
    r"UPDATE messages SET claimable_at=[^,]* WHERE messages\.pk IN": (Point.CLAIMING, Point.CLAIMED),
    r"UPDATE lanes SET next_at": (None, Point.TURN_TAKEN),
    r"INSERT INTO messages |UPDATE messages SET(\s+send_status = 'submitting'| .*submitted_at=)": (
        Point.SUBMITTING,
        Point.SUBMITTED,
    ),
    r"UPDATE messages SET\s.*segment_count ?=": (Point.READ, Point.STORED),
}
"""The points before and after a commit, by the last statement of its transaction."""

JOURNEYS: dict[str, tuple[Point | None, Point | None]] = {
    "segment_count = given.segment_count": (Point.READ, Point.STORED),
    "'submitting'": (Point.SUBMITTING, Point.SUBMITTED),
}
"""The points before and after a statement that travels together with its commit, by what it contains."""


def install(point: str, nth: int, how: int) -> None:
    """Dooms this process, as the fork server asks for it."""
    Doom(Point(point), nth=nth, how=signal.Signals(how)).watch()


class Doom:
    """What happens to this process and its group when it reaches a point for the ``nth`` time."""

    def __init__(self, point: Point, *, nth: int, how: signal.Signals) -> None:
        self._point, self._nth, self._how = point, nth, how
        self._times = itertools.count(1)

    def watch(self) -> None:
        """Listens to what this process does from now on."""
        event.listen(Engine, "before_cursor_execute", self._read_statement)
        event.listen(Engine, "commit", self._before_commit)
        event.listen(Engine, "rollback", lambda connection: connection.info.pop("points", None))
        event.listen(Pool, "checkin", self._after_commit)
        run = Pipeline.run

        def run_between_points(pipeline: Pipeline, *parameters: bytes) -> bytes:
            sql = pipeline.sql
            before, after = next((each for text, each in JOURNEYS.items() if text in sql), (None, None))
            self._meet(before)
            value = run(pipeline, *parameters)
            if value:
                self._meet(after)
            return value

        Pipeline.run = run_between_points  # type: ignore[method-assign]
        port = urlsplit(os.environ["BANDWIDTH_API_URL"]).port
        sys.addaudithook(lambda name, arguments: self._audit(name, arguments, port))

    def _meet(self, point: Point | None) -> None:
        if point is self._point and next(self._times) == self._nth:
            os.write(sys.stderr.fileno(), f"{self._how.name} at: {point}\n".encode())
            if self._how is signal.SIGKILL:
                os.killpg(0, self._how)
            signal.raise_signal(self._how)  # to this very thread, which would otherwise go on for a moment

    def _read_statement(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        for pattern, points in COMMITS.items():
            if re.match(pattern, statement, re.DOTALL):
                connection.info["points"] = points

    def _before_commit(self, connection: Any) -> None:
        self._meet(connection.info.get("points", (None, None))[0])

    def _after_commit(self, _connection: Any, record: Any) -> None:
        self._meet(record.info.pop("points", (None, None))[1])

    def _audit(self, name: str, arguments: Any, port: int | None) -> None:
        # The simulator gives tokens at the same port; what follows the token of a process is its first request.
        is_for_token = threading.current_thread().name == "bandwidth-token-call"
        if name == "socket.connect" and arguments[1][1] == port:
            self._meet(Point.FETCHING if is_for_token else Point.CONNECTING)
        elif is_for_token:
            return
        elif name == "http.client.send":  # it is raised before each write, of which a request has two
            self._meet(Point.CONNECTED if bytes(arguments[1]).startswith(b"POST ") else Point.HALF_WRITTEN)
