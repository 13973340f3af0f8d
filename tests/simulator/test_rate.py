"""The account's rate: what waits, what is refused, and when events come."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from receiver.simulator import RequestFate, Simulator, Switches
from receiver.simulator.account import MessageQueue
from receiver.simulator.validation import Refusal
from tests.support.simulators import ALICE, BOB, Start, bearer, messages_url, post


def counts(simulator: Simulator) -> Any:
    return requests.get(f"{simulator.root}/simulator/counts", timeout=10).json()


def test_nothing_goes_out_earlier_than_the_rate_allows(start: Start) -> None:
    simulator = start(rate=20.0, pace=(0.0, 0.0))
    with ThreadPoolExecutor(4) as pool:
        assert [each.status_code for each in pool.map(lambda _: post(simulator), range(8))] == [202] * 8
    assert simulator.wait_until_idle(10)

    messages = simulator.messages
    first = min(message.time for message in messages)
    posted = sorted(call.attempts[0].at for message in messages for call in message.callbacks)

    assert len(posted) == 16
    gaps = [(at - first).total_seconds() - number / 20.0 for number, at in enumerate(posted)]
    assert min(gaps) > -0.002  # a message gets its time a moment after its send window


def test_a_message_that_waits_is_queued(start: Start) -> None:
    simulator = start(rate=0.01)
    first, second = post(simulator).json(), post(simulator).json()
    url = messages_url(simulator)

    def statuses(message: Any) -> list[str]:
        query = {"messageId": message["id"]}
        rows = requests.get(url, params=query, headers=bearer(simulator), timeout=10).json()["messages"]
        return [row["messageStatus"] for row in rows]

    assert statuses(first)[1] == "QUEUED"
    assert statuses(second) == ["QUEUED", "QUEUED"]
    assert 3.9 < counts(simulator)["waiting"] <= 4.0


def test_a_message_that_does_not_fit_is_refused_whole_with_the_accounts_limits(start: Start) -> None:
    simulator = start(rate=0.02, queue_seconds=300.0)

    responses = [post(simulator, to=to) for to in ([ALICE, BOB], [ALICE, BOB], [ALICE, BOB], [ALICE, BOB], ALICE)]

    assert [each.status_code for each in responses] == [202, 202, 202, 429, 429]
    assert len(simulator.messages) == 3
    assert "Retry-After" not in responses[3].headers
    assert responses[3].json() == {
        "type": "max-message-queue-size-exceeded",
        "description": (
            "The SMS queue for your account is full and cannot accept more messages right now. "
            "Your allowed rate is 1.2 messages per minute. The capacity of this queue is 6 messages (5 minutes). "
            "Reduce your message sending rate, or contact support to increase your allowed rate."
        ),
    }
    assert counts(simulator)["answers"] == {"202": 3, "429": 2}


def test_a_long_text_counts_once_per_segment(start: Start) -> None:
    simulator = start(rate=0.01, queue_seconds=400.0)

    statuses = [post(simulator, to=ALICE, text="a" * 161).status_code for _ in range(3)]

    assert statuses == [202, 202, 429]
    assert [message.request.units for message in simulator.messages] == [2, 2]


def test_an_idle_account_accumulates_no_allowance() -> None:
    clock = [100.0]
    queue = MessageQueue(rate=2.0, seconds=900.0, clock=lambda: clock[0])

    def starts(at: float) -> float:
        clock[0] = at
        return at + queue.admit(1, retry_after=None).starts

    assert [starts(100.0), starts(100.0), starts(200.0), starts(200.0)] == [100.0, 100.5, 200.0, 200.5]


def test_without_a_queue_only_an_idle_account_accepts() -> None:
    clock = [100.0]
    queue = MessageQueue(rate=1.0, seconds=0.0, clock=lambda: clock[0])

    queue.admit(10, retry_after=None)
    with pytest.raises(Refusal) as raised:
        queue.admit(1, retry_after=7)
    clock[0] = 110.0
    queue.admit(1, retry_after=None)

    assert (raised.value.status, raised.value.headers) == (429, {"Retry-After": "7"})


@pytest.mark.parametrize("switches", [{"retry_after": 3}, {"retry_after": 3, "request": RequestFate.QUEUE_FULL}])
def test_a_429_can_have_a_retry_after(start: Start, switches: dict[str, Any]) -> None:
    simulator = start(rate=0.01, queue_seconds=0.0, switches=Switches(**switches))
    post(simulator)

    response = post(simulator)

    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")


@pytest.mark.parametrize("options", [{"rate": 0.0}, {"queue_seconds": -1.0}])
def test_an_impossible_rate_is_refused(start: Start, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="rate must be positive"):
        start(**options)
