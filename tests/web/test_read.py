"""GET /messages/{tag}: the exact JSON that programs read."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, READ_ONLY_KEY, SENDER, make_element
from tests.support.service import Service, is_problem, sent

# fmt: off
MESSAGE_KEYS = [
    "tag", "reference", "messageId", "messageIds", "sentTwice", "applicationId", "from", "text", "media", "priority",
    "expiration", "segmentCount", "sendStatus", "refusedBecause", "error", "askedBy", "createdAt", "submittedAt",
    "updatedAt", "summary", "complete", "recipients",
]
SUMMARY_KEYS = ["total", "pending", "sending", "sent", "unconfirmed", "delivered", "failed", "not_sent", "overdue"]
RECIPIENT_KEYS = [
    "to", "status", "errorCode", "errorName", "description", "confirmedBy", "invalidRecipient", "overdue", "occurredAt",
    "updatedAt",
]
# fmt: on
RFC3339_IN_Z = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
EVERYTHING = {
    "from": "+442071838750",
    "text": "Dîner à midi \U0001f37d",
    "media": ["https://example.com/b.jpg", "https://example.com/a.jpg"],
    "applicationId": "an-application",
    "priority": "high",
    "expiration": "2099-01-31T09:30:00+02:00",
    "reference": "lunch",
}


def test_a_message_has_exactly_these_members_in_this_order(service: Service) -> None:
    tag = sent(service)
    service.callback(make_element("delivered", BOB))

    shown = service.message(tag)

    assert list(shown) == MESSAGE_KEYS
    assert list(shown["summary"]) == SUMMARY_KEYS
    assert [list(recipient) for recipient in shown["recipients"]] == [RECIPIENT_KEYS] * 3


def test_a_message_shows_what_was_asked_for(service: Service) -> None:
    tag = sent(service, CAROL, ALICE, BOB, **EVERYTHING)

    shown = service.message(tag)

    assert {name: shown[name] for name in EVERYTHING if name != "expiration"} == {
        name: value for name, value in EVERYTHING.items() if name != "expiration"
    }
    assert shown["expiration"] == "2099-01-31T07:30:00.000000Z"
    assert [recipient["to"] for recipient in shown["recipients"]] == [CAROL, ALICE, BOB]


def test_a_message_without_anything_optional_shows_null_and_not_nothing(service: Service) -> None:
    service.gateway.answer = Accepted()
    shown = service.message(sent(service))

    absent = ["reference", "messageId", "priority", "expiration", "segmentCount", "refusedBecause", "error"]
    assert [name for name in MESSAGE_KEYS if shown[name] is None] == absent
    assert (shown["media"], shown["messageIds"], shown["sentTwice"], shown["complete"]) == ([], [], False, False)
    recipient = shown["recipients"][0]
    unknown = ["errorCode", "errorName", "description", "confirmedBy", "occurredAt"]
    assert [name for name in RECIPIENT_KEYS if recipient[name] is None] == unknown
    assert (recipient["status"], recipient["invalidRecipient"], recipient["overdue"]) == ("pending", False, False)


@pytest.mark.parametrize(
    ("answer", "because", "error"),
    [
        (Accepted(message_id=MESSAGE_ID), None, None),
        (Unknown(), None, None),
        (Unknown(status=502), None, {"status": 502, "type": None, "description": None}),
        (
            Refused(because=RefusedBecause.BANDWIDTH, status=403, type="forbidden", description="Access Denied"),
            "bandwidth",
            {"status": 403, "type": "forbidden", "description": "Access Denied"},
        ),
        (
            Refused(because=RefusedBecause.UNREACHABLE, description="Refused."),
            "unreachable",
            {"status": None, "type": None, "description": "Refused."},
        ),
    ],
    ids=str,
)
def test_the_error_of_a_message_is_bandwidths(service: Service, answer: Any, because: str | None, error: Any) -> None:
    service.gateway.answer = answer
    service.send()

    shown = service.message(service.gateway.sent[0][1])

    assert (shown["refusedBecause"], shown["error"]) == (because, error and error | {"fieldErrors": []})
    assert error is None or list(shown["error"]) == ["status", "type", "description", "fieldErrors"]


def test_each_recipient_shows_its_own_outcome_and_the_summary_counts_them(service: Service) -> None:
    everyone = [f"+1919555010{number}" for number in range(1, 8)]
    tag = sent(service, *everyone)
    service.callback(
        make_element("sending", everyone[1], time="2026-11-21T12:00:02Z", description="Message is sending to carrier"),
        make_element("sent", everyone[2]),
        make_element("failed", everyone[3], errorCode=9902, description="delivery-receipt-expired"),
        make_element("delivered", everyone[4]),
        make_element("read", everyone[5]),
        make_element("failed", everyone[6], errorCode=4406, description="rejected"),
    )

    shown = service.message(tag)

    statuses = ["pending", "sending", "sent", "unconfirmed", "delivered", "delivered", "failed"]
    assert [recipient["status"] for recipient in shown["recipients"]] == statuses
    assert shown["summary"] == {
        "total": 7,
        **dict.fromkeys(["pending", "sending", "sent", "unconfirmed", "failed"], 1),
        "delivered": 2,
        **dict.fromkeys(["not_sent", "overdue"], 0),
    }
    columns = ("errorCode", "errorName", "description", "confirmedBy", "invalidRecipient", "occurredAt")
    rows = [tuple(recipient[column] for column in columns) for recipient in shown["recipients"]]
    second = "2026-11-21T12:00:01.000000Z"
    assert rows == [
        (None, None, None, None, False, None),
        (None, None, "Message is sending to carrier", None, False, "2026-11-21T12:00:02.000000Z"),
        (None, None, "ok", None, False, second),
        (9902, "delivery-receipt-expired", "delivery-receipt-expired", None, False, second),
        (None, None, "ok", "carrier", False, second),
        (None, None, "ok", "carrier", False, second),
        (4406, "rejected-unallocated-to-number", "rejected", None, True, second),
    ]


def test_without_receipts_delivered_is_only_bandwidths_word_until_any_sending_comes(service: Service) -> None:
    tag = sent(service)
    service.callback(make_element("delivered", ALICE))
    assert service.message(tag)["recipients"][0]["confirmedBy"] == "bandwidth"

    service.callback(make_element("sending", "+15555550000"))

    assert service.message(tag)["recipients"][0]["confirmedBy"] == "carrier"


@pytest.mark.parametrize(("hours", "overdue"), [(1e-9, True), (27.0, False)])
def test_an_open_recipient_is_overdue_in_its_time_and_a_settled_one_never(
    database_url: str, hours: float, overdue: bool
) -> None:
    with Service(database_url, overdue_after_hours=hours) as service:
        tag = sent(service)
        service.callback(make_element("delivered", ALICE), make_element("sent", BOB))

        shown = service.message(tag)

    assert [recipient["overdue"] for recipient in shown["recipients"]] == [False, overdue, overdue]
    assert (shown["summary"]["overdue"], shown["complete"]) == (2 if overdue else 0, False)


def test_every_time_is_rfc_3339_in_utc_and_lies_where_it_should(service: Service) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    tag = sent(service, CAROL, ALICE, BOB, **EVERYTHING)
    service.callback(make_element("delivered", ALICE, time="2026-11-21T07:00:00.5-05:00"))
    shown, [event] = service.message(tag), service.events(tag)

    found = re.findall(r'"(\w+At|expiration)": ?"([^"]*)"', json.dumps([shown, event | {"payload": None}]))
    assert {name for name, _ in found} >= {"createdAt", "submittedAt", "updatedAt", "occurredAt", "firstReceivedAt"}
    assert all(RFC3339_IN_Z.fullmatch(text) for _, text in found)
    assert event["occurredAt"] == shown["recipients"][1]["occurredAt"] == "2026-11-21T12:00:00.500000Z"
    assert before <= datetime.fromisoformat(shown["createdAt"]) <= datetime.fromisoformat(shown["updatedAt"])
    assert shown["updatedAt"] == max(recipient["updatedAt"] for recipient in shown["recipients"])


@pytest.mark.parametrize("path", ["/messages/{}", "/messages/{}/events"])
@pytest.mark.parametrize(
    "tag",
    [
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "x",
        "%00",
        "%0A",
        "%20",
        "..",
        "%2e%2e",
        "%ff",
        "%F0%9F%8D%BD",
        "x" * 10_000,
        "01ARZ3NDEKTSV4RRFFQ69G5FA%00",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV%0A",
        "'%20OR%201=1",
        "%25",
        "81ARZ3NDEKTSV4RRFFQ69G5FAV",
        "\u0660" * 26,
    ],
)
def test_a_tag_that_is_none_of_ours_is_not_found(shared_service: Service, path: str, tag: str) -> None:
    assert is_problem(shared_service.call("GET", path.format(tag)), 404)


def test_a_tag_is_the_same_text_everywhere(service: Service) -> None:
    tag = sent(service)

    assert is_problem(service.call("GET", f"/messages/{tag.lower()}"), 404)
    assert is_problem(service.call("GET", f"/messages/{tag}/"), 404)
    assert is_problem(service.call("GET", f"/messages/{tag}%20"), 404)
    assert re.fullmatch(r"[A-Za-z0-9._~-]{20,40}", tag)
    assert service.gateway.sent == [(service.gateway.sent[0][0], tag)]


def test_support_reads_with_its_own_key(service: Service) -> None:
    tag = sent(service, ALICE, **{"from": SENDER})

    for path in (f"/messages/{tag}", f"/messages/{tag}/events", "/messages"):
        assert service.get(path, key=READ_ONLY_KEY) == service.get(path)
