"""How quickly messages really went out, by the simulator's own record of when it accepted what."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from receiver.database.database import Database
from tests.support.builders import ALICE, BOB, CAROL, SENDER, make_key, make_message, make_sender
from tests.support.plant import SILENT, Plant, plant
from tests.support.processes import Api, wait_for

GROUPS = ((ALICE,), (ALICE, BOB), (ALICE, BOB, CAROL))

Accepted = Sequence[tuple[float, int]]
"""When, in seconds of the machine's clock, and how many units; oldest first."""


def accepted(running: Plant, sender: str | None = None) -> Accepted:
    lines = [each for each in running.simulator.recorded() if sender in (None, each["from"])]
    return sorted((each["monotonic"], each["units"]) for each in lines)


def per_second(found: Accepted, *, seconds: float) -> float:
    """Units per second, in that span from a second after the first: what may go at once has gone then."""
    begin = found[0][0] + 1
    assert found[-1][0] > begin + seconds, "the queue was empty too soon"
    return sum(units for at, units in found if begin <= at < begin + seconds) / seconds


def most_within_a_second(found: Accepted) -> int:
    return max(sum(units for at, units in found if start <= at < start + 1) for start, _ in found)


def wait_until_after(moment: float) -> None:
    """In seconds of the machine's clock, which all its processes share."""
    wait_for(lambda: time.monotonic() > moment, "time to pass", seconds=moment - time.monotonic() + 1)


def fill(running: Plant, units: int, *, sender: str = SENDER) -> None:
    """Leaves groups of one, two and three to the workers, at once."""
    wanted = [make_message(*GROUPS[place % 3], sender=sender) for place in range(units // 2)]
    with Database(running.settings["DATABASE_URL"]) as database:
        keyed = [(message, make_key(f"{sender} {place}")) for place, message in enumerate(wanted)]
        for place in range(0, len(keyed), 100):
            make_sender(database).queue_all(keyed[place : place + 100])


@contextmanager
def sending_at_once(api: Api) -> Iterator[None]:
    """Somebody who sends one message after another, and is told now and then to come later."""
    stopping = threading.Event()
    said: set[int] = set()

    def send() -> None:
        with Api(api.url) as own:
            while not stopping.is_set():
                said.add(own.send(SILENT).status_code)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
    assert 202 in said
    assert said <= {202, 429}


def keep_rate(folder: Path, database_url: str, *, rate: float, seconds: float) -> Accepted:
    """What two workers and somebody who sends at once get accepted together, while there is more than they may send."""
    with plant(folder, database_url, bandwidth_rate=rate) as running:
        fill(running, round(rate * (seconds + 30)))
        with running.workers(2), sending_at_once(running.api):
            wait_for(lambda: accepted(running), "the first")
            wait_until_after(accepted(running)[0][0] + seconds + 2)
        assert max(running.sent().values()) == 1
        return accepted(running)
