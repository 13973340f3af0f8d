"""What this program is for, over HTTP: one truthful outcome per recipient, and each defect of other receivers avoided.

The defects are those of public code that receives Bandwidth's events; every test here fails for the receiver it names.
"""

from itertools import permutations
from typing import Any

import pytest

from receiver.core.messages import Accepted
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, make_body, make_element
from tests.support.service import OUTAGES, Service, outage, sent

INVALID = 4404
"""rejected-forbidden-to-number: the number cannot receive."""

STORY = [
    make_element("failed", BOB, errorCode=INVALID, description="rejected-forbidden-to-number"),
    make_element("delivered", ALICE),
    make_element("delivered", BOB),
    make_element("delivered", CAROL),
]
"""Bandwidth, "Group messages to an invalid number": the invalid one gets both a failed and a delivered."""


@pytest.fixture
def tag(service: Service) -> str:
    """A message to Alice, Bob and Carol."""
    return sent(service)


def assert_story_is_told(service: Service, tag: str) -> None:
    shown = service.message(tag)
    assert service.statuses(tag) == {ALICE: "delivered", BOB: "failed", CAROL: "delivered"}
    bob = shown["recipients"][1]
    assert (bob["errorCode"], bob["errorName"], bob["invalidRecipient"]) == (
        INVALID,
        "rejected-forbidden-to-number",
        True,
    )
    assert bob["description"] == "rejected-forbidden-to-number"
    assert (shown["complete"], shown["summary"]["delivered"], shown["summary"]["failed"]) == (True, 2, 1)
    assert service.dispositions(tag) == {
        ("message-failed", BOB): "applied",
        ("message-delivered", ALICE): "applied",
        ("message-delivered", BOB): "extraneous",
        ("message-delivered", CAROL): "applied",
    }


def test_the_delivered_of_an_invalid_number_is_extraneous_in_any_order(service: Service) -> None:
    for number, order in enumerate(permutations(STORY)):
        service.gateway.answer = Accepted(message_id=f"message-{number}")
        tag = sent(service)
        for element in order:
            service.callback(element | {"message": element["message"] | {"id": f"message-{number}"}})

        assert_story_is_told(service, tag)


@pytest.mark.parametrize("story", [STORY, STORY[::-1], STORY * 3])
def test_the_story_may_come_in_one_callback(service: Service, tag: str, story: list[Any]) -> None:
    """Chatwoot and nyaruka/courier read the first element and drop the others."""
    service.callback(*story)

    assert_story_is_told(service, tag)


def test_the_story_may_come_again_after_its_end(service: Service, tag: str) -> None:
    for element in STORY + STORY:
        service.callback(element)

    assert_story_is_told(service, tag)
    assert [event["deliveries"] for event in service.events(tag)] == [2, 2, 2, 2]


def test_recipients_after_the_first_are_no_duplicates(service: Service, tag: str) -> None:
    """A design note of 2026 dedupes on message id and type, which merges the recipients of a group."""
    told = [service.callback(make_element("delivered", to)).get_json() for to in (ALICE, BOB, CAROL)]

    assert [(answer["recorded"], answer["duplicates"]) for answer in told] == [(1, 0)] * 3
    assert set(service.statuses(tag).values()) == {"delivered"}


@pytest.mark.parametrize("late", ["delivered", "read", "sent", "sending"])
def test_nothing_late_overwrites_a_failure(service: Service, late: str) -> None:
    """MoveOnOrg/Spoke lets the last event win."""
    codes = {ALICE: INVALID, BOB: 4432, CAROL: None, "+19195550104": 5999}
    tag = service.send(to=list(codes)).get_json()["tag"]
    for to, code in codes.items():
        service.callback(make_element("failed", to, errorCode=code))
        service.callback(make_element(late, to))

    assert set(service.statuses(tag).values()) == {"failed"}
    for to, code in codes.items():
        false = "extraneous" if code == INVALID else "conflicting"
        disposition = service.dispositions(tag)[f"message-{late}", to]
        assert disposition == (false if late in ("delivered", "read") else "applied")


@pytest.mark.parametrize("kind", ["sending", "sent", "queued", "teleported", "failed-softly", ""])
def test_what_is_not_failed_is_not_therefore_delivered(service: Service, tag: str, kind: str) -> None:
    """Spoke counts every type but message-failed as delivered."""
    service.callback(make_element(kind, ALICE))

    said = {"sending": "sending", "queued": "sending", "sent": "sent"}
    assert service.statuses(tag)[ALICE] == said.get(kind, "pending")


@pytest.mark.parametrize(
    "event_type", ["message-teleported", "Message-Delivered", "message-delivered ", "x", "\U0001f37d"]
)
def test_an_unknown_type_is_acknowledged_kept_and_changes_no_status(
    service: Service, tag: str, event_type: str
) -> None:
    """nyaruka/courier answers 400, which earns 24 hours of redelivery."""
    answer = service.callback(make_element() | {"type": event_type})

    assert answer.status_code == 200
    assert service.dispositions(tag) == {(event_type, ALICE): "unrecognized"}
    assert service.statuses(tag)[ALICE] == "pending"


def test_an_unknown_id_is_acknowledged_and_linked_when_its_message_turns_up(service: Service, tag: str) -> None:
    """The same design note answers 500 for an unknown id, and relies on redelivery."""
    answer = service.callback(make_element("delivered", ALICE, message_id="0-sent-again"))
    assert (answer.status_code, answer.get_json()["unlinked"]) == (200, 1)
    assert service.statuses(tag)[ALICE] == "pending"

    service.callback(make_element("delivered", BOB, message_id="0-sent-again", tag=tag))

    assert service.statuses(tag) == {ALICE: "delivered", BOB: "delivered", CAROL: "pending"}
    shown = service.message(tag)
    assert (shown["messageId"], shown["messageIds"]) == (MESSAGE_ID, ["0-sent-again", MESSAGE_ID])
    assert shown["sentTwice"] is True


@pytest.mark.parametrize("foreign", [None, "", "no-separator", "a|b|c", 7])
def test_a_foreign_tag_does_not_stop_an_event(service: Service, tag: str, foreign: Any) -> None:
    """Spoke crashes on a tag without its separator."""
    assert service.callback(make_element("delivered", ALICE, tag=foreign)).status_code == 200
    assert service.statuses(tag)[ALICE] == "delivered"


@pytest.mark.parametrize(
    "time", ["2016-09-14T18:20:16Z", "2020-06-25T18:42:36.979Z", "2024-02-15T16:34:52.255182Z", "not a time"]
)
def test_no_layout_of_a_time_stops_an_event(service: Service, tag: str, time: str) -> None:
    """nyaruka/courier accepts one layout."""
    service.callback(make_element("delivered", ALICE, time=time))

    assert service.statuses(tag)[ALICE] == "delivered"


@pytest.mark.parametrize(
    "change", [{"owner": ALICE}, {"direction": "in"}, {"from": ALICE}, {"text": "Hello"}, {"media": 5}]
)
def test_fields_that_bandwidth_itself_gets_wrong_decide_nothing(service: Service, tag: str, change: Any) -> None:
    element = make_element("delivered", ALICE)
    service.callback(element | {"message": element["message"] | change, "carrierName": "x", "newField": {"a": []}})

    assert service.statuses(tag)[ALICE] == "delivered"


@pytest.mark.parametrize("kept", [("type", "to", "message"), ("type", "to", "message", "time")])
def test_fields_that_a_strict_model_would_demand_may_be_missing(
    service: Service, tag: str, kept: tuple[str, ...]
) -> None:
    """Bandwidth's own SDK had to make priority and tag optional; here only type and message.id are needed."""
    element = make_element("delivered", ALICE) | {"message": {"id": MESSAGE_ID}}
    service.callback({name: element[name] for name in kept})

    assert service.statuses(tag)[ALICE] == "delivered"


@OUTAGES
def test_an_event_that_was_not_stored_is_sent_again_and_not_lost(
    database_url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    """Spoke answers 200 whatever its own storage says."""
    with Service(database_url) as service:
        tag = service.send().get_json()["tag"]
        with outage(database_url, kind, request):
            assert service.callback(make_element()).status_code == 503
        service.callback(make_element())

        assert service.statuses(tag) == {ALICE: "delivered"}


def test_another_process_links_what_this_one_sent(database_url: str) -> None:
    """A receipt tester of 2021 matches tags in memory."""
    with Service(database_url) as sender:
        tag = sender.send(to=[ALICE, BOB]).get_json()["tag"]
    with Service(database_url) as receiver:
        receiver.callback(make_element("delivered", ALICE, tag=tag, message_id="other"))
        receiver.callback(make_element("delivered", BOB))

        assert receiver.statuses(tag) == {ALICE: "delivered", BOB: "delivered"}


def test_somebody_elses_number_does_not_hide_an_event(service: Service, tag: str) -> None:
    """Chatwoot finds the channel by the number in ``to``."""
    service.callback(make_element("delivered", "+15555550000"), make_element("failed", None, errorCode=INVALID))

    assert service.dispositions(tag) == {
        ("message-delivered", "+15555550000"): "unexpected_recipient",
        ("message-failed", None): "unexpected_recipient",
    }
    assert set(service.statuses(tag).values()) == {"pending"}


def test_a_failure_without_a_receipt_is_no_proof_and_a_definite_failure_replaces_it(service: Service, tag: str) -> None:
    service.callback(make_element("failed", ALICE, errorCode=9902))
    assert service.statuses(tag)[ALICE] == "unconfirmed"

    service.callback(make_element("delivered", ALICE))
    assert service.statuses(tag)[ALICE] == "delivered"

    service.callback(make_element("failed", ALICE, errorCode=4720))
    assert service.statuses(tag)[ALICE] == "failed"
    assert [event["disposition"] for event in service.events(tag)] == ["superseded", "extraneous", "applied"]


def test_what_people_send_to_us_is_acknowledged_and_about_no_message(service: Service, tag: str) -> None:
    body = make_body(*(make_element() | {"type": kind} for kind in ("message-received", "suggestion-response")))

    answer = service.post_callback(body)

    assert answer.get_json() == {"recorded": 2, "duplicates": 0, "unlinked": 0, "unreadable": 0}
    assert service.events(tag) == []
