"""GET /messages/{tag}/events: what Bandwidth said, each thing once, with its own JSON."""

import pytest

from receiver.core import times
from receiver.core.events import Source
from receiver.events.store import record
from tests.support.builders import ALICE, BOB, CAROL, make_body, make_element, make_event
from tests.support.service import Service, sent

# fmt: off
EVENT_KEYS = [
    "type", "to", "errorCode", "description", "occurredAt", "firstReceivedAt", "lastReceivedAt", "deliveries",
    "disposition", "linkedBy", "source", "payload",
]
# fmt: on


def test_an_event_has_exactly_these_members_in_this_order(service: Service) -> None:
    tag = sent(service)
    element = make_element("failed", BOB, errorCode=4404, tag=tag)
    service.callback(element)
    service.callback(element | {"time": "2026-11-21T11:00:00Z", "description": "again"})

    answer = service.call("GET", f"/messages/{tag}/events")

    assert answer.mimetype == "application/json"
    assert list(answer.get_json()) == ["events"]
    [event] = answer.get_json()["events"]
    assert list(event) == EVENT_KEYS
    assert event["firstReceivedAt"] < event["lastReceivedAt"]
    del event["firstReceivedAt"], event["lastReceivedAt"]
    assert event == {
        "type": "message-failed",
        "to": BOB,
        "errorCode": 4404,
        "description": "ok",
        "occurredAt": "2026-11-21T11:00:00.000000Z",
        "deliveries": 2,
        "disposition": "applied",
        "linkedBy": "tag",
        "source": "callback",
        "payload": element,
    }


def test_events_stand_in_the_order_in_which_each_first_came(service: Service) -> None:
    tag = sent(service)
    first, second = make_element("sent", CAROL), make_element("delivered", ALICE)
    third, fourth = make_element("delivered", CAROL), make_element("failed", ALICE, errorCode=4404)
    for body in ([first, second], [second, third], [first], [fourth, third]):
        service.callback(*body)

    assert [event["payload"] for event in service.events(tag)] == [first, second, third, fourth]


def test_an_event_says_how_it_was_linked_and_where_it_comes_from(service: Service) -> None:
    tag = sent(service)
    service.callback(make_element("sent", ALICE, tag=tag), make_element("sent", BOB))
    asked = make_event("delivered", BOB)
    service.database.write(lambda session: record(session, [asked], now=times.now(), source=Source.RECONCILE))

    found = [(event["linkedBy"], event["source"]) for event in service.events(tag)]

    assert found == [("tag", "callback"), ("messageId", "callback"), ("messageId", "reconcile")]


@pytest.mark.parametrize(
    "extra",
    [
        "1e400",
        "-1E+400",
        "9" * 5_000,
        "0." + "1" * 5_000,
        '"\U0001f37d"',
        '"\\ud83c\\udf7d"',
        '"\\ud83c"',
        '"\\u0000"',
        "[[{}]]",
    ],
    ids=lambda text: text[:10].encode("ascii", "replace").decode(),
)
def test_the_payload_is_the_events_own_json_whatever_it_holds(service: Service, extra: str) -> None:
    tag = sent(service)
    text = make_body(make_element())[1:-2].decode() + f', "extra" :\t{extra}}}'
    assert service.post_callback(f"[{text}]".encode()).get_json()["recorded"] == 1

    answer = service.call("GET", f"/messages/{tag}/events").text

    escaped = text if extra != '"\U0001f37d"' else text.replace("\U0001f37d", "\\ud83c\\udf7d")
    assert f'"payload": {escaped}}}' in answer
    assert answer.isascii()
