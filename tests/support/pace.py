"""Measures how quickly messages went out, from the simulator's record of when it accepted them."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from receiver.database.database import Database
from tests.support.builders import ALICE, BOB, CAROL, SENDER, make_key, make_message, make_sender
from tests.support.loop import SILENT, Loop, looping
from tests.support.processes import Api, wait_for

GROUPS = ((ALICE,), (ALICE, BOB), (ALICE, BOB, CAROL))

Accepted = Sequence[tuple[float, int]]
"""Pairs of a time, in seconds of the machine's monotonic clock, and a number of units; oldest first."""


def accepted(running: Loop, sender: str | None = None) -> Accepted:
    lines = [each for each in running.simulator.recorded() if sender in (None, each["from"])]
    return sorted((each["monotonic"], each["units"]) for each in lines)


def per_second(found: Accepted, *, seconds: float) -> float:
    """Units per second over ``seconds`` that begin one second after the first message, when the first burst is over."""
    begin = found[0][0] + 1
    assert found[-1][0] > begin + seconds, "the queue was empty too soon"
    return sum(units for at, units in found if begin <= at < begin + seconds) / seconds


def most_within_a_second(found: Accepted) -> int:
    return max(sum(units for at, units in found if start <= at < start + 1) for start, _ in found)


def wait_until_after(moment: float) -> None:
    """Returns after ``moment``, in seconds of the machine's monotonic clock, which all processes share."""
    wait_for(lambda: time.monotonic() > moment, "time to pass", seconds=moment - time.monotonic() + 1)


def fill(running: Loop, units: int, *, sender: str = SENDER) -> None:
    """Queues groups of one, two and three recipients for the workers, in one go."""
    wanted = [make_message(*GROUPS[place % 3], sender=sender) for place in range(units // 2)]
    with Database(running.environment["DATABASE_URL"]) as database:
        keyed = [(message, make_key(f"{sender} {place}")) for place, message in enumerate(wanted)]
        for place in range(0, len(keyed), 100):
            make_sender(database).queue_all(keyed[place : place + 100])


@contextmanager
def sending_at_once(api: Api) -> Iterator[None]:
    """Sends one message after another meanwhile; some must be accepted, and others may be answered 429."""
    stopping = threading.Event()
    statuses: set[int] = set()

    def send() -> None:
        with Api(api.url) as own:
            while not stopping.is_set():
                statuses.add(own.send(SILENT).status_code)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
    assert 202 in statuses
    assert statuses <= {202, 429}


def keep_rate(folder: Path, database_url: str, *, rate: float, seconds: float) -> Accepted:
    """Runs two workers and synchronous sends against a full queue; returns what the simulator accepted of both."""
    with looping(folder, database_url, bandwidth_rate=rate) as running:
        fill(running, round(rate * (seconds + 30)))
        with running.workers(2), sending_at_once(running.api):
            wait_for(lambda: accepted(running), "the first")
            wait_until_after(accepted(running)[0][0] + seconds + 2)
        assert max(running.sent().values()) == 1
        return accepted(running)
