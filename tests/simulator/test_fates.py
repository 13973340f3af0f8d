"""The number of a recipient chooses what becomes of it."""

import threading
from typing import Any

import pytest

from receiver.simulator import MAGIC_NUMBERS, Simulator
from receiver.simulator.fates import fate_of
from tests.support.callback_receiver import CallbackReceiver, Reply
from tests.support.simulators import ALICE, BOB, Send, Start, post

SENDING, SENT = ("message-sending", None), ("message-sent", None)
DELIVERED = ("message-delivered", None)


def failed(code: int | None) -> tuple[str, int | None]:
    return ("message-failed", code)


FATES = [
    (ALICE, [DELIVERED]),
    ("+12001234567", [DELIVERED]),  # area code 200, but no fate of that name
    ("+12005551", [DELIVERED]),  # too short to be magic
    ("+12005550000", [failed(None)]),
    ("+12005554404", [failed(4404)]),
    ("+12005554720", [failed(4720)]),
    ("+12005555600", [failed(5600)]),
    ("+12005559999", [failed(9999)]),
    ("+12005564404", [failed(4404), DELIVERED]),
    ("+12005574404", [DELIVERED, failed(4404)]),
    ("+12005580000", [SENDING, DELIVERED]),
    ("+12005590000", [SENDING]),
    ("+12005600000", [failed(9902), DELIVERED]),
    ("+12005610000", [DELIVERED]),
    ("+12005610003", [DELIVERED] * 4),
    ("+12005620000", [DELIVERED]),
    ("+12005630000", [SENT, DELIVERED]),
    ("+12005645620", [SENDING, failed(5620)]),
    ("+12005660000", []),
]


@pytest.mark.parametrize(("number", "expected"), FATES)
def test_a_recipient_gets_the_events_of_its_number_in_order(
    send: Send,
    simulator: Simulator,
    receiver: CallbackReceiver,
    number: str,
    expected: list[tuple[str, int | None]],
) -> None:
    assert send(to=number).status_code == 202

    assert simulator.wait_until_idle(10)
    assert [(event["type"], event.get("errorCode")) for event in receiver.events] == expected
    assert all(event["to"] == number for event in receiver.events)
    times = [event["time"] for event in receiver.events]
    assert times == sorted(times)
    assert all(time >= event["message"]["time"] for time, event in zip(times, receiver.events, strict=True))


def test_every_magic_number_is_in_the_table_above() -> None:
    prefixes = {number[:8] for number, _ in FATES}

    assert {magic.number[:8] for magic in MAGIC_NUMBERS} <= prefixes
    assert all(magic.meaning for magic in MAGIC_NUMBERS)


def test_a_failure_has_the_name_of_its_code_as_description() -> None:
    assert fate_of("+12005554404").steps[0].description == "rejected-forbidden-to-number"
    assert fate_of("+12005609902").steps[0].description == "delivery-receipt-expired"
    assert fate_of("+12005554999").steps[0].description == "failed"  # a code that Bandwidth does not document


def test_duplicates_are_identical(send: Send, simulator: Simulator, receiver: CallbackReceiver) -> None:
    send(to="+12005610002")

    assert simulator.wait_until_idle(10)
    assert len(receiver.received) == 3
    assert len({each.body for each in receiver.received}) == 1


def test_duplicates_are_under_way_at_the_same_time(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    release = threading.Event()
    receiver.plan([Reply(hold=release)] * 3)

    send(to="+12005610002")

    for _ in range(3):
        assert receiver.arrived.acquire(timeout=10)
    release.set()
    assert simulator.wait_until_idle(10)


def test_an_event_before_the_response_is_acknowledged_before_the_response(
    send: Send, receiver: CallbackReceiver
) -> None:
    response = send(to="+12005620000")

    assert [event["message"]["id"] for event in receiver.events] == [response.json()["id"]]


def test_an_event_before_the_response_has_no_gap_before_it(start: Start) -> None:
    simulator = start(pace=(60.0, 60.0))

    post(simulator, to="+12005620000")

    (callback,) = simulator.messages[0].callbacks
    assert (callback.delay, len(callback.attempts)) == (0.0, 1)


def test_an_event_before_the_response_is_attempted_once_if_it_is_refused(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    receiver.plan([Reply(status=500)])

    assert send(to="+12005620000").status_code == 202

    assert simulator.wait_until_idle(10)
    attempts = simulator.messages[0].callbacks[0].attempts
    assert [attempt.status for attempt in attempts] == [500, 200]


def test_without_a_callback_url_the_response_waits_for_nothing(start: Start) -> None:
    quiet = start(callback_url=None)

    assert post(quiet, to=["+12005620000", ALICE]).status_code == 202
    assert quiet.wait_until_idle(10)
    assert [callback.attempts for callback in quiet.messages[0].callbacks] == [[], []]


def test_each_recipient_of_a_group_has_its_own_fate(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    group = [ALICE, BOB, "+12005564404", "+12005590000", "+12005660000"]
    send(to=group)

    assert simulator.wait_until_idle(10)
    assert events_by_recipient(receiver) == {
        ALICE: [DELIVERED],
        BOB: [DELIVERED],
        "+12005564404": [failed(4404), DELIVERED],
        "+12005590000": [SENDING],
    }
    assert all(event["message"]["to"] == group for event in receiver.events)
    assert len({str(event["message"]) for event in receiver.events}) == 1


def test_unordered_events_of_one_recipient_do_not_wait_for_each_other(start: Start, receiver: CallbackReceiver) -> None:
    unordered = start(unordered=True)
    release = threading.Event()
    receiver.plan([Reply(hold=release)] * 2)

    post(unordered, to="+12005580000")

    for _ in range(2):
        assert receiver.arrived.acquire(timeout=10)
    release.set()
    assert unordered.wait_until_idle(10)


def events_by_recipient(receiver: CallbackReceiver) -> dict[str, list[Any]]:
    by_recipient: dict[str, list[Any]] = {}
    for event in receiver.events:
        by_recipient.setdefault(event["to"], []).append((event["type"], event.get("errorCode")))
    return by_recipient
