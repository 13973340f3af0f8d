"""The outcome of every kind of recipient, on which the API and the support views agree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from receiver.bandwidth.error_codes import explain
from receiver.simulator import MAGIC_NUMBERS
from tests.support.builders import ALICE, BOB, CAROL, SENDER
from tests.support.loop import Loop

SENDING, SENT, DELIVERED, FAILED = "message-sending", "message-sent", "message-delivered", "message-failed"

Said = tuple[str, int | None, str, int]
"""Type, error code, disposition and deliveries of an event."""


@dataclass(frozen=True)
class Expected:
    """The one truthful outcome of a number of the simulator, in a group without delivery receipts."""

    number: str
    status: str
    events: list[Said]
    code: int | None = None
    invalid: bool = False


FATES = [
    Expected(ALICE, "delivered", [(DELIVERED, None, "applied", 1)]),
    Expected("+12005554404", "failed", [(FAILED, 4404, "applied", 1)], code=4404, invalid=True),
    Expected("+12005550000", "failed", [(FAILED, None, "applied", 1)]),
    Expected("+12005559902", "unconfirmed", [(FAILED, 9902, "applied", 1)], code=9902),
    Expected(
        "+12005564720",
        "failed",
        [(FAILED, 4720, "applied", 1), (DELIVERED, None, "extraneous", 1)],
        code=4720,
        invalid=True,
    ),
    Expected("+12005564451", "failed", [(FAILED, 4451, "applied", 1), (DELIVERED, None, "conflicting", 1)], code=4451),
    Expected(
        "+12005574404",
        "failed",
        [(DELIVERED, None, "extraneous", 1), (FAILED, 4404, "applied", 1)],
        code=4404,
        invalid=True,
    ),
    Expected("+12005600001", "delivered", [(FAILED, 9902, "superseded", 1), (DELIVERED, None, "applied", 1)]),
    Expected("+12005610002", "delivered", [(DELIVERED, None, "applied", 3)]),
    Expected("+12005610000", "delivered", [(DELIVERED, None, "applied", 1)]),
    Expected("+12005620001", "delivered", [(DELIVERED, None, "applied", 1)]),
    Expected("+12005630001", "delivered", [(SENT, None, "applied", 1), (DELIVERED, None, "applied", 1)]),
    Expected("+12005660001", "pending", []),
]

WITH_RECEIPTS = [
    Expected("+12005580001", "delivered", [(SENDING, None, "applied", 1), (DELIVERED, None, "applied", 1)]),
    Expected("+12005590001", "sending", [(SENDING, None, "applied", 1)]),
    Expected(
        "+12005644406",
        "failed",
        [(SENDING, None, "applied", 1), (FAILED, 4406, "applied", 1)],
        code=4406,
        invalid=True,
    ),
    Expected(BOB, "delivered", [(DELIVERED, None, "applied", 1)]),
]

GROUPS = {
    "plain": (FATES[:4], "bandwidth"),
    "awkward": (FATES[4:], "bandwidth"),
    "receipts on": (WITH_RECEIPTS, "carrier"),
    "a single recipient": ([FATES[4]], "bandwidth"),
}


def test_every_magic_number_has_an_expected_outcome() -> None:
    expected = {each.number[:8] for each in FATES + WITH_RECEIPTS}

    assert {magic.number[:8] for magic in MAGIC_NUMBERS} <= expected


@pytest.mark.parametrize("group", GROUPS)
def test_every_recipient_gets_the_one_truthful_outcome(loop: Loop, group: str) -> None:
    expected, confirmed_by = GROUPS[group]
    answer = loop.api.send(*(each.number for each in expected), reference=group)
    assert answer.status_code == 202
    tag = answer.json()["tag"]
    assert answer.headers["Location"] == f"/messages/{tag}"
    record = loop.simulator.settle(tag)

    message = loop.api.message(tag)

    assert [_outcome(each) for each in message["recipients"]] == [_wanted(each, confirmed_by) for each in expected]
    assert (message["sendStatus"], message["messageId"], message["messageIds"]) == (
        "accepted",
        record["id"],
        [record["id"]],
    )
    assert (message["sentTwice"], message["segmentCount"], message["error"]) == (False, 1, None)
    statuses = [each.status for each in expected]
    assert message["summary"] == {"total": len(expected), "overdue": 0} | {
        status: statuses.count(status)
        for status in ("pending", "sending", "sent", "unconfirmed", "delivered", "failed", "not_sent")
    }
    assert message["complete"] is not bool({"pending", "sending", "sent"} & set(statuses))
    _check_events(loop, tag, expected)
    _check_views(loop, tag, message)


def _outcome(recipient: Any) -> tuple[Any, ...]:
    return tuple(
        recipient[name] for name in ("to", "status", "errorCode", "errorName", "confirmedBy", "invalidRecipient")
    )


def _wanted(expected: Expected, confirmed_by: str) -> tuple[Any, ...]:
    name = explain(expected.code).name if expected.code else None
    word = confirmed_by if expected.status == "delivered" else None
    return (expected.number, expected.status, expected.code, name, word, expected.invalid)


def _check_events(loop: Loop, tag: str, expected: list[Expected]) -> None:
    events = loop.api.events(tag)
    for each in expected:
        said = [
            (event["type"], event["errorCode"], event["disposition"], event["deliveries"])
            for event in events
            if event["to"] == each.number
        ]
        assert said == each.events
    assert sum(len(each.events) for each in expected) == len(events)
    assert {(event["linkedBy"], event["source"]) for event in events} <= {("tag", "callback")}
    for event in events:
        assert event["payload"]["message"]["tag"] == tag
        assert event["payload"]["to"] == event["to"]
        assert _instant(event["occurredAt"]) == _instant(event["payload"]["time"])


def _instant(written: str) -> datetime:
    assert written.endswith("Z")
    return datetime.fromisoformat(written)


def _check_views(loop: Loop, tag: str, message: Any) -> None:
    """Asserts that the support views agree with the API."""
    recipients = loop.sql(
        "SELECT recipient, status, error_code, error_name, confirmed_by, invalid_recipient "
        "FROM support_recipients WHERE tag = ? ORDER BY position",
        tag,
    )
    assert recipients == [_outcome(each) for each in message["recipients"]]
    events = loop.sql(
        "SELECT type, recipient, error_code, disposition, deliveries, linked_by, message_id "
        "FROM support_events WHERE tag = ? ORDER BY first_received_at",
        tag,
    )
    names = ("type", "to", "errorCode", "disposition", "deliveries", "linkedBy")
    said = loop.api.events(tag)
    assert events == [(*(event[name] for name in names), event["payload"]["message"]["id"]) for event in said]
    counts = [name for name in message["summary"] if name != "overdue"]
    (row,) = loop.sql(
        f"SELECT reference, message_id, send_status, complete, {', '.join(counts)} FROM support_messages WHERE tag = ?",
        tag,
    )
    assert row[:4] == (message["reference"], message["messageId"], message["sendStatus"], message["complete"])
    assert row[4:] == tuple(message["summary"][name] for name in counts)
    extraneous = loop.sql("SELECT recipient FROM support_extraneous WHERE tag = ?", tag)
    assert sorted(extraneous) == sorted((event["to"],) for event in said if event["disposition"] == "extraneous")


FIELDS: dict[str, Any] = {
    "media": ["https://example.com/a.jpg", "https://example.com/b.jpg"],
    "priority": "high",
    "expiration": "2099-01-31T09:30:00Z",
}


@pytest.mark.parametrize("fields", [{}, FIELDS], ids=["few fields", "every field"])
def test_what_goes_out_is_bandwidths_request_and_nothing_else(loop: Loop, fields: dict[str, Any]) -> None:
    answer = loop.api.send(ALICE, BOB, reference="our own word", **fields)
    tag = answer.json()["tag"]

    (record,) = loop.simulator.accepted(tag)

    assert record["request"] == fields | {
        "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2",
        "to": [ALICE, BOB],
        "from": SENDER,
        "text": "Lunch is at noon.",
        "tag": tag,
    }
    assert record["headers"]["Content-Type"] == "application/json; charset=utf-8"
    assert "Authorization" not in record["headers"]


def test_what_the_application_asked_for_can_be_read_back(loop: Loop) -> None:
    answer = loop.api.send(CAROL, BOB, tag="its own word", text="Größe 😀", **FIELDS).json()

    message = loop.api.message(answer["tag"])

    assert (message["media"], message["priority"]) == (FIELDS["media"], FIELDS["priority"])
    assert _instant(message["expiration"]) == _instant("2099-01-31T09:30:00Z")
    assert (message["reference"], message["text"], message["from"]) == ("its own word", "Größe 😀", SENDER)
    assert [each["to"] for each in message["recipients"]] == [CAROL, BOB]
    (row,) = loop.sql("SELECT reference, text, sender, priority FROM support_messages WHERE tag = ?", answer["tag"])
    assert row == ("its own word", "Größe 😀", SENDER, "high")


def test_what_somebody_writes_to_us_is_kept_apart(loop: Loop) -> None:
    before = len(loop.sql("SELECT 1 FROM support_inbound"))
    message_id = loop.simulator.receive(sender=ALICE, to=[SENDER, BOB], text="Yes please")

    rows = loop.wait_for_sql("SELECT recipient, disposition FROM support_inbound WHERE message_id = ?", message_id)

    assert rows == [(SENDER, "inbound")]
    assert len(loop.sql("SELECT 1 FROM support_inbound")) == before + 1
    assert loop.sql("SELECT 1 FROM support_unlinked WHERE message_id = ?", message_id) == []
