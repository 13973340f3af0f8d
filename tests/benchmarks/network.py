"""What a network between service and database costs a synchronous send: round trips, and time per message."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from receiver.database.schema import upgrade
from tests.benchmarks.proxy import delaying
from tests.support.postgres import PostgresServer
from tests.support.processes import environment, serving, simulating

SENDS = 100
"""Messages that are sent one after the other, after as many that are not measured."""


@dataclass(frozen=True)
class Sends:
    """Messages that were sent synchronously, one after the other."""

    delay: float
    """Seconds that the network takes in each direction."""
    round_trips: float
    """Round trips to the database per message."""
    ms: float
    """The median time of POST /messages, in milliseconds."""
    bare_ms: float
    """The median time of a bare request to the simulator that plays Bandwidth, in milliseconds."""


def send(server: PostgresServer, folder: Path, *, delay: float) -> Sends:
    """Sends messages to two recipients through a service whose database is that far away."""
    url = server.create_database("bench_sends")
    upgrade(url)
    with delaying(server.port, seconds=delay) as proxy, simulating(folder) as simulator:
        simulator.switch(basic=True)
        given = environment(
            url.replace(f":{server.port}/", f":{proxy.port}/"),
            bandwidth_api_url=simulator.api_url,
            bandwidth_read_timeout=10.0,
        )
        to = ["+12005660001", "+12005660002"]
        body = {"to": to, "from": "+12005550100", "text": "Lunch is at noon.", "applicationId": "app"}
        with serving(folder, given) as (_, api), requests.Session() as session:
            session.auth = ("user", "password")
            bare = f"{simulator.api_url}/users/5000000/messages"
            calls = (lambda: api.send(*to), lambda: session.post(bare, json=body, timeout=10))
            for call in calls:
                _measure(call)
            before = proxy.round_trips
            ms = _measure(calls[0])
            found = Sends(delay, (proxy.round_trips - before) / SENDS, ms, _measure(calls[1]))
    server.drop_database("bench_sends")
    return found


def _measure(call: Callable[[], requests.Response]) -> float:
    """Returns the median milliseconds of a call that must be answered 202."""
    taken = []
    for _ in range(SENDS):
        started = time.perf_counter()
        response = call()
        taken.append((time.perf_counter() - started) * 1000)
        if response.status_code != 202:
            raise AssertionError(response.text)
    return statistics.median(taken)
