"""Rows of ``GET /messages``: what each says, in the words of the callback that would say the same."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.bandwidth.callbacks import parse
from receiver.bandwidth.history import HistoryRecord, read_record
from receiver.core.events import Event, Unreadable
from receiver.core.status import RECEIPT_TYPES, statement
from tests.support.builders import ALICE, BOB, MESSAGE_ID, SENDER, make_body, make_element


def make_row(status: str = "DELIVERED", recipient: Any = ALICE, **changes: Any) -> dict[str, Any]:
    """A row as Bandwidth documents it."""
    return {
        "messageId": MESSAGE_ID,
        "accountId": "5000000",
        "sourceTn": SENDER,
        "destinationTn": recipient,
        "messageStatus": status,
        "messageDirection": "OUTBOUND",
        "messageType": "mms",
        "segmentCount": 1,
        "errorCode": 0,
        "receiveTime": "2026-11-21T12:00:00.123Z",
        "carrierName": None,
        "recipientCount": 2,
    } | changes


def event_of(row: Any, *, only_recipient: str | None = None) -> Event:
    record = read_record(row)
    assert isinstance(record, HistoryRecord)
    return record.event(only_recipient=only_recipient)


@pytest.mark.parametrize(
    ("status", "error_code", "type_", "kept"),
    [
        ("DELIVERED", 0, "message-delivered", 0),
        ("DELIVERED", 4720, "message-delivered", 0),
        ("SENT", 0, "message-sent", 0),
        ("FAILED", 4720, "message-failed", 4720),
        ("FAILED", "4720", "message-failed", 4720),
        ("FAILED", 0, "message-failed", 0),
        ("FAILED", None, "message-failed", 0),
        ("FAILED", 4720.0, "message-failed", 4720),
        ("FAILED", "", "message-failed", 0),
        ("FAILED", "many", "message-failed", 0),
        ("FAILED", True, "message-failed", 0),
        ("DELIVERED", "none", "message-delivered", 0),
        ("UNDELIVERED", 4770, "message-failed", 4770),
        ("DLR_EXPIRED", 0, "message-failed", 9902),
        ("DLR_TIMEOUT", 4720, "message-failed", 9902),
        ("RECEIVED", 0, "RECEIVED", 0),
        ("QUEUED", 0, "QUEUED", 0),
        ("SENDING", 0, "SENDING", 0),
        ("ACCEPTED", 0, "ACCEPTED", 0),
        ("TELEPORTED", 7, "TELEPORTED", 7),
    ],
)
def test_a_status_becomes_the_type_of_its_callback_or_stays_its_own_word(
    status: str, error_code: Any, type_: str, kept: int
) -> None:
    event = event_of(make_row(status, errorCode=error_code))

    assert event.identity == (MESSAGE_ID, ALICE, type_, kept)
    assert (event.occurred_at, event.tag) == (None, None)


@pytest.mark.parametrize("status", ["RECEIVED", "QUEUED", "SENDING", "ACCEPTED", "TELEPORTED"])
def test_its_own_word_states_nothing_about_a_recipient_and_turns_no_receipts_on(status: str) -> None:
    event = event_of(make_row(status))

    assert statement(event.type, event.error_code) is None
    assert event.type not in RECEIPT_TYPES
    assert not event.is_inbound


@pytest.mark.parametrize(("status", "kind", "code"), [("DELIVERED", "delivered", 0), ("FAILED", "failed", 4720)])
def test_a_callback_that_says_the_same_is_the_same_event(status: str, kind: str, code: int) -> None:
    [callback] = parse(make_body(make_element(kind, ALICE, **({"errorCode": code} if code else {}))))

    assert isinstance(callback, Event)
    assert event_of(make_row(status, errorCode=code)).identity == callback.identity


@pytest.mark.parametrize(
    ("destination", "only", "expected"),
    [
        (ALICE, None, ALICE),
        (ALICE, BOB, ALICE),
        ([ALICE], None, ALICE),
        (None, BOB, BOB),
        ("", BOB, BOB),
        (None, None, ""),
        ([ALICE, BOB], None, ""),
        (f"{ALICE}, {BOB}", None, ""),
        (7, None, ""),
    ],
)
def test_a_row_is_about_the_one_number_it_names(destination: Any, only: str | None, expected: str) -> None:
    assert event_of(make_row(recipient=destination), only_recipient=only).recipient == expected


def test_a_row_is_kept_as_ascii_json() -> None:
    row = make_row(location="Zürich", messageLength=3)

    event = event_of(row)

    assert event.payload.isascii()
    assert json.loads(event.payload) == row


@pytest.mark.parametrize("left_out", ["sourceTn", "destinationTn", "receiveTime", "errorCode", "recipientCount"])
def test_a_row_needs_no_more_than_an_id_and_a_status(left_out: str) -> None:
    row = make_row()
    del row[left_out]

    assert isinstance(read_record(row), HistoryRecord)


def test_what_a_row_says_about_the_message_is_read() -> None:
    record = read_record(make_row(messageDirection="INBOUND"))

    assert isinstance(record, HistoryRecord)
    assert (record.sender, record.recipients, record.recipient_count, record.inbound) == (SENDER, (ALICE,), 2, True)
    assert record.received_at == datetime(2026, 11, 21, 12, 0, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        "x",
        [],
        {},
        make_row(messageId=None),
        make_row(messageId=""),
        make_row(messageId="x" * 129),
        make_row(messageId="a\x00b"),
        make_row(messageStatus=None),
        make_row(messageStatus="x" * 65),
        make_row(messageStatus="\ud800"),
        make_row(recipient="+1\x00"),
        make_row(recipient="+" + "1" * 64),
        make_row(messageSize=float("inf")),
    ],
)
def test_a_row_that_cannot_be_read_says_why(row: Any) -> None:
    found = read_record(row)

    assert isinstance(found, Unreadable)
    assert found.reason.endswith(".")
