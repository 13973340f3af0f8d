"""Which field POST /messages names when it does not accept what it holds."""

import json
from typing import Any

import pytest

from tests.support.builders import ALICE, BOB, SENDER
from tests.support.service import LATER, ONCE, Service, refused

PICTURE = "https://example.com/a.jpg"
URL_OF_4096 = "https://example.com/" + "x" * (4096 - len("https://example.com/"))
GROUP_OF_TEN = [f"+1919555{number:04}" for number in range(10)]

NOT_E164 = [
    "",
    "+",
    "19195550101",
    "+0195550101",
    "+1",
    "+1234567890123456",
    "+1 919 555 0101",
    "+1-919-555-0101",
    "++19195550101",
    "+1919555010a",
    "+19195550101\n",
    "\n+19195550101",
    " +19195550101",
    "+19195550101 ",
    "\uff0b19195550101",
    "+\u0661\u0669\u0661\u0669\u0665\u0665\u0665",
    "+1\u0669195550101",
    "+\u00b2\u00b3456",
    "tel:+19195550101",
    "+19195550101\x00",
    "+19195550101\ud800",
]


@pytest.mark.parametrize("number", NOT_E164)
def test_a_recipient_has_the_shape_of_e164(shared_service: Service, number: str) -> None:
    assert refused(shared_service, to=[BOB, number]) == ["to[1]"]


@pytest.mark.parametrize(
    "sender",
    [
        *(text for text in NOT_E164 if text not in ("19195550101", "+1919555010a", "+1 919 555 0101")),
        "12",
        "123456789",
        "202\u0660",
        "2020\n",
        "ABCDEFGHIJKL",
        "ACME!",
        "ACMÉ",
        "ACME\n",
        "--",
        "1-2",
    ],
)
def test_a_sender_is_a_number_a_short_code_or_an_alphanumeric_id(shared_service: Service, sender: str) -> None:
    assert refused(shared_service, **{"from": sender}) == ["from"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"to": None}, ["to"]),
        ({"to": []}, ["to"]),
        ({"to": ALICE}, ["to"]),
        ({"to": [ALICE, ALICE]}, ["to"]),
        ({"to": [ALICE, BOB, ALICE]}, ["to"]),
        ({"to": [*GROUP_OF_TEN, ALICE]}, ["to"]),
        ({"to": [ALICE, None]}, ["to[1]"]),
        ({"to": [[ALICE]]}, ["to[0]"]),
        ({"to": ["x", ALICE, "y"]}, ["to[0]", "to[2]"]),
        ({"text": ""}, ["text"]),
        ({"text": None}, ["text"]),
        ({"text": None, "media": None}, ["text"]),
        ({"text": None, "media": []}, ["text"]),
        ({"text": "x" * 2049}, ["text"]),
        ({"text": "Lunch\x00"}, ["text"]),
        ({"text": "\ud83c"}, ["text"]),
        ({"text": "\udf7d\ud83c"}, ["text"]),
        ({"media": [PICTURE] * 11}, ["media"]),
        ({"media": [URL_OF_4096 + "x"]}, ["media[0]"]),
        ({"media": [""]}, ["media[0]"]),
        ({"media": [None]}, ["media[0]"]),
        ({"media": [PICTURE, "ftp://example.com/a.jpg"]}, ["media[1]"]),
        ({"media": ["file:///etc/passwd"]}, ["media[0]"]),
        ({"media": ["javascript:alert(1)"]}, ["media[0]"]),
        ({"media": ["example.com/a.jpg"]}, ["media[0]"]),
        ({"media": ["//example.com/a.jpg"]}, ["media[0]"]),
        ({"media": ["https://"]}, ["media[0]"]),
        ({"media": ["https:///a.jpg"]}, ["media[0]"]),
        ({"media": ["http://["]}, ["media[0]"]),
        ({"media": [PICTURE + "\x00"]}, ["media[0]"]),
        ({"media": [PICTURE + '"']}, ["media[0]"]),
        ({"media": ['https://"example.com/a.jpg"']}, ["media[0]"]),
        ({"media": ["https://example.com/a\"onload='x'"]}, ["media[0]"]),
        ({"media": ["https://example.com/caf\u00e9.jpg"]}, ["media[0]"]),
        ({"media": ["https://b\u00fccher.example/a.jpg"]}, ["media[0]"]),
        ({"media": [PICTURE, "https://example.com/\u201ca\u201d.jpg"]}, ["media[1]"]),
        ({"media": ["https://example.com/\U0001f37d.jpg"]}, ["media[0]"]),
        ({"media": ["https://example.com/a\u00a0b.jpg"]}, ["media[0]"]),
        ({"media": ["https://example.com/a\u200b.jpg"]}, ["media[0]"]),
        ({"media": ["https://example.com/a\x7f.jpg"]}, ["media[0]"]),
        ({"media": ["https://example.com/a b.jpg"]}, ["media[0]"]),
        ({"media": ["\uff48ttps://example.com/a.jpg"]}, ["media[0]"]),
        ({"media": PICTURE}, ["media"]),
        ({"to": [SENDER]}, ["to"]),
        ({"to": [ALICE, SENDER]}, ["to"]),
        ({"to": [ALICE, BOB], "from": BOB}, ["to"]),
        ({"to": [SENDER, SENDER]}, ["to"]),
        ({"to": [SENDER, "911"]}, ["to", "to[1]"]),
        ({"priority": ""}, ["priority"]),
        ({"priority": "HIGH"}, ["priority"]),
        ({"priority": "urgent"}, ["priority"]),
        ({"expiration": ""}, ["expiration"]),
        ({"expiration": "tomorrow"}, ["expiration"]),
        ({"expiration": "2020-01-01T00:00:00Z"}, ["expiration"]),
        ({"expiration": "2101-01-01T00:00:00Z"}, ["expiration"]),
        ({"expiration": "2030-13-01T00:00:00Z"}, ["expiration"]),
        ({"expiration": "2030-01-01"}, ["expiration"]),
        ({"expiration": "\u0662\u0660\u0663\u0660-01-01T00:00:00Z"}, ["expiration"]),
        ({"applicationId": ""}, ["applicationId"]),
        ({"applicationId": "a" * 256}, ["applicationId"]),
        ({"applicationId": "a\x00"}, ["applicationId"]),
        ({"reference": ""}, ["reference"]),
        ({"reference": "r" * 256}, ["reference"]),
        ({"reference": "\x00"}, ["reference"]),
        ({"tag": ""}, ["tag"]),
        ({"tag": "r" * 256}, ["tag"]),
        ({"tag": "\udc00"}, ["tag"]),
        ({"tag": "one", "reference": "other"}, ["tag"]),
        ({"To": [ALICE]}, ["To"]),
        ({"message": "x"}, ["message"]),
        ({"sender": SENDER}, ["sender"]),
        ({"application_id": "x"}, ["application_id"]),
        ({"messageId": "x", "channel": None, "": 1}, ["", "messageId"]),
        (
            {"to": [], "text": "", "media": ["x"], "priority": "x", "more": 1},
            ["media[0]", "more", "priority", "text", "to"],
        ),
        ({"to": [ALICE, ALICE], "text": None, "expiration": "2020-01-01T00:00:00Z"}, ["expiration", "text", "to"]),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_every_wrong_field_is_named(shared_service: Service, fields: Any, wrong: list[str]) -> None:
    assert refused(shared_service, **fields) == wrong


@pytest.mark.parametrize("wrong", [5, "x"])
def test_a_repeated_number_beside_a_wrong_one_is_still_a_matter_of_to(shared_service: Service, wrong: Any) -> None:
    named = refused(shared_service, to=[ALICE, ALICE, wrong])

    assert "to[2]" in named
    assert set(named) <= {"to", "to[2]", "to[1]"}


@pytest.mark.parametrize(
    "name", ["to", "from", "text", "media", "applicationId", "priority", "expiration", "reference"]
)
@pytest.mark.parametrize("value", [0, 1.5, True, False, {}, {"a": 1}, [1], [[]], [{}]], ids=json.dumps)
def test_another_json_type_is_the_fields_own_mistake(shared_service: Service, name: str, value: Any) -> None:
    [wrong] = refused(shared_service, **{name: value})

    assert wrong.partition("[")[0] == name


def test_a_sender_among_the_recipients_is_reported_beside_a_repeated_number(shared_service: Service) -> None:
    errors = json.loads(shared_service.send(to=[SENDER, ALICE, SENDER]).text)["errors"]

    assert errors == {
        "to": ["Must not repeat a number.", "Must not contain the sender, which is from or BANDWIDTH_FROM."]
    }


def test_of_a_message_that_its_sender_would_get_or_whose_media_is_no_url_nothing_is_stored(
    sqlite_service: Service,
) -> None:
    for prefer in ({}, LATER):
        refused(sqlite_service, to=[ALICE, SENDER], headers=ONCE | prefer)
        refused(sqlite_service, media=[PICTURE + '"'], headers=ONCE | prefer)

    assert sqlite_service.get("/messages")["messages"] == []
    assert sqlite_service.send(headers=ONCE).status_code == 202
