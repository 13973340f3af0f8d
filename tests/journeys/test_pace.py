"""The pace in real processes, by the simulator's own record of when it accepted what."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiver.storage.database import Database
from tests.builders import ALICE, BOB, CAROL, SENDER, make_key, make_message, make_sending
from tests.journeys.test_workers import SILENT, Plant, plant
from tests.processes import Api, wait_for

RATE, SECONDS = 20, 60
TOLERANCE = 0.02
GROUPS = ((ALICE,), (ALICE, BOB), (ALICE, BOB, CAROL))
OTHER_SENDER = "+19195550111"

Accepted = Sequence[tuple[float, int]]
"""When, in seconds of the machine's clock, and how many units; oldest first."""


def accepted(running: Plant, sender: str | None = None) -> Accepted:
    lines = [each for each in running.simulator.recorded() if sender in (None, each["from"])]
    return sorted((each["monotonic"], each["units"]) for each in lines)


def per_second(found: Accepted, *, seconds: float = SECONDS) -> float:
    """Units per second, in that span from a second after the first: what may go at once has gone then."""
    begin = found[0][0] + 1
    assert found[-1][0] > begin + seconds, "the queue was empty too soon"
    return sum(units for at, units in found if begin <= at < begin + seconds) / seconds


def most_within_a_second(found: Accepted) -> int:
    return max(sum(units for at, units in found if start <= at < start + 1) for start, _ in found)


def say(capsys: pytest.CaptureFixture[str], figures: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")


def wait_until_after(moment: float) -> None:
    """In seconds of the machine's clock, which all its processes share."""
    wait_for(lambda: time.monotonic() > moment, "time to pass", seconds=3 * SECONDS)


def fill(running: Plant, units: int, *, sender: str = SENDER) -> None:
    """Leaves groups of one, two and three to the workers, at once."""
    wanted = [make_message(*GROUPS[place % 3], sender=sender) for place in range(units // 2)]
    with Database(running.settings["DATABASE_URL"]) as database:
        keyed = [(message, make_key(f"{sender} {place}")) for place, message in enumerate(wanted)]
        for place in range(0, len(keyed), 100):
            make_sending(database).queue_all(keyed[place : place + 100])


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


def test_two_workers_and_synchronous_sends_keep_the_rate_within_two_percent_over_a_minute(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with plant(tmp_path, postgres_url, bandwidth_rate=float(RATE)) as running:
        fill(running, RATE * (SECONDS + 30))
        with running.workers(2), sending_at_once(running.api):
            wait_for(lambda: accepted(running), "the first")
            begin = accepted(running)[0][0]
            wait_until_after(begin + SECONDS + 2)
        found = accepted(running)
        assert max(running.sent().values()) == 1

    rate, most = per_second(found), most_within_a_second(found)
    say(capsys, f"{rate:.2f} units per second over {SECONDS} s at {RATE}; at most {most} within a second")
    assert rate == pytest.approx(RATE, rel=TOLERANCE)
    assert most <= 2 * RATE


def test_after_a_pause_no_more_than_a_second_s_worth_goes_at_once(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What goes within a second after it is that second's share and at most one second's worth of the pause."""
    with plant(tmp_path, postgres_url, bandwidth_rate=float(RATE)) as running, running.workers(2):
        running.queue(1)
        running.wait_for_states(accepted=1)
        wait_until_after(accepted(running)[0][0] + 2)
        fill(running, RATE * 4)
        wait_for(lambda: set(running.states()) == {"accepted"}, "all")
        first = most_within_a_second(accepted(running))
        say(capsys, f"at most {first} units within a second at {RATE}")
    assert first <= 2 * RATE


def test_each_sender_keeps_a_rate_of_its_own_within_two_percent(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds, rate = 20, 10
    with plant(tmp_path, postgres_url, bandwidth_rate=50.0, bandwidth_sender_rate=float(rate)) as running:
        for sender in (SENDER, OTHER_SENDER):
            fill(running, rate * (seconds + 10), sender=sender)
        with running.workers(2):
            wait_for(lambda: len(accepted(running)) > 2, "the first")
            begin = accepted(running)[0][0]
            wait_until_after(begin + seconds + 2)
        found = {sender: accepted(running, sender) for sender in (SENDER, OTHER_SENDER)}

    rates = {sender: per_second(each, seconds=seconds) for sender, each in found.items()}
    say(capsys, f"{', '.join(f'{each:.2f}' for each in rates.values())} units per second at {rate} a sender")
    assert rates == {sender: pytest.approx(rate, rel=TOLERANCE) for sender in found}
