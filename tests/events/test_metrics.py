"""What is counted of attempts to send, at once and by workers."""

import threading
from datetime import timedelta

import pytest

from receiver.core import times
from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from receiver.messages.worker import Worker
from receiver.metrics import exposition
from tests.support.builders import ALICE, FakeGateway, make_message, make_sender
from tests.support.processes import wait_for
from tests.support.prometheus import counted, increase

EXPIRED = ("sends_total", "expired", "refused")


def read() -> str:
    return exposition([]).decode()


@pytest.mark.parametrize(
    ("answer", "result", "reason", "status_class"),
    [
        (Accepted(), "accepted", "", "2xx"),
        (Refused(because=RefusedBecause.BANDWIDTH, status=400), "refused", "bandwidth", "4xx"),
        (Refused(because=RefusedBecause.RATE_LIMITED, status=429), "refused", "rate_limited", "4xx"),
        (Refused(because=RefusedBecause.BANDWIDTH, status=500), "refused", "bandwidth", "5xx"),
        (Refused(because=RefusedBecause.UNREACHABLE), "refused", "unreachable", "none"),
        (Unknown(status=302), "unknown", "", "3xx"),
        (Unknown(), "unknown", "", "none"),
    ],
    ids=str,
)
def test_each_attempt_is_counted_and_timed_by_its_answer(
    database: Database, answer: SendResult, result: str, reason: str, status_class: str
) -> None:
    sending = make_sender(database, FakeGateway(answer))
    assert increase(read, lambda: sending.send(make_message(ALICE))) == {
        ("sends_total", reason, result): 1,
        ("bandwidth_seconds_count", status_class): 1,
    }


def test_what_has_expired_is_counted_and_not_timed_because_bandwidth_is_not_called(database: Database) -> None:
    message = make_message(ALICE, expiration=times.now() - timedelta(seconds=1))
    assert increase(read, lambda: make_sender(database).send(message)) == {EXPIRED: 1}


def test_an_error_of_this_program_is_counted_as_the_unknown_that_it_is(database: Database) -> None:
    class Broken(FakeGateway):
        def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
            raise KeyError(tag)

    sending = make_sender(database, Broken())
    found = increase(read, lambda: sending.send(make_message(ALICE)))
    assert found == {("sends_total", "", "unknown"): 1, ("bandwidth_seconds_count", "none"): 1}


def test_what_expires_in_the_queue_is_counted_too(database: Database) -> None:
    sending = make_sender(database)
    sending.queue(make_message(ALICE, expiration=times.now() - timedelta(seconds=1)))
    worker = Worker(sending.caller, rates=sending.rates, threads=1, attempts=1)
    thread = threading.Thread(target=worker.run)

    def work() -> None:
        thread.start()
        wait_for(lambda: counted(read()).get(EXPIRED, 0) > before, "the worker to count it")
        worker.stop()
        thread.join()

    before = counted(read()).get(EXPIRED, 0)
    assert increase(read, work) == {EXPIRED: 1}
