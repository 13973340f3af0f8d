"""What POST /messages accepts, field by field, and what reaches the gateway."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver.core.messages import OutboundMessage
from tests.samples import load
from tests.support.builders import ALICE, SENDER
from tests.support.service import Service, accepted, refused, wrong_fields

APPLICATION = "93de2206-9669-4e07-948d-329f4b722ee2"
PICTURE = "https://example.com/a.jpg"
URL_OF_4096 = "https://example.com/" + "x" * (4096 - len("https://example.com/"))
GROUP_OF_TEN = [f"+1919555{number:04}" for number in range(10)]
HOUR = timedelta(hours=1)


def in_one_hour(text: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return (datetime.now(UTC) + HOUR).strftime(text)


@pytest.mark.parametrize(
    ("sample", "to", "media", "priority"),
    [
        ("send-group-text", ("+12345678902", "+12345678903"), (), None),
        (
            "send-group-picture",
            ("+12345678902", "+12345678903"),
            ("https://s3.amazonaws.com/bw-v2-api/demo.jpg",),
            None,
        ),
        ("send-group-of-three-2023", ("+12345678902", "+12345678903", "+12345678904"), (), "default"),
    ],
)
def test_bandwidths_own_examples_are_accepted_as_they_are(
    service: Service, sample: str, to: tuple[str, ...], media: tuple[str, ...], priority: str | None
) -> None:
    answer = service.post_message(load(f"requests/{sample}.json"))

    assert answer.status_code == 202
    [(sent, tag)] = service.gateway.sent
    assert sent == OutboundMessage(
        to=to,
        sender="+12345678901",
        text="Hey, check this out!",
        application_id=APPLICATION,
        media=media,
        priority=priority,
        reference="test message",
        asked_by="app",
    )
    shown = service.message(tag)
    assert [each["to"] for each in shown["recipients"]] == list(to)
    assert (shown["reference"], shown["tag"], shown["media"]) == ("test message", tag, list(media))


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({}, None),
        ({"tag": "lunch"}, "lunch"),
        ({"reference": "lunch"}, "lunch"),
        ({"tag": "lunch", "reference": "lunch"}, "lunch"),
        ({"tag": None, "reference": "lunch"}, "lunch"),
        ({"tag": "lunch", "reference": None}, "lunch"),
        ({"tag": "r" * 255}, "r" * 255),
        ({"reference": "é" * 255}, "é" * 255),
        ({"reference": " "}, " "),
        ({"reference": "\U0001f37d\u202e"}, "\U0001f37d\u202e"),
    ],
)
def test_the_applications_tag_is_its_reference(service: Service, fields: Any, reference: str | None) -> None:
    answer = service.send(**fields)

    assert answer.status_code == 202
    assert answer.get_json()["reference"] == reference
    assert answer.get_json()["tag"] != fields.get("tag")
    assert service.message(answer.get_json()["tag"])["reference"] == reference


@pytest.mark.parametrize(
    "fields",
    [
        {"to": GROUP_OF_TEN},
        {"to": ["+12"]},
        {"to": ["+123456789012345"]},
        {"to": ["+999999999999999"]},
        {"from": "+442071838750"},
        {"from": "2020"},
        {"from": "12345678"},
        {"from": "ACME"},
        {"from": "A-1 + _&"},
        {"from": "ABCDEFGHIJK"},
        {"text": "x"},
        {"text": " "},
        {"text": "x" * 2048},
        {"text": "\U0001f37d" * 2048},
        {"text": "x", "media": []},
        {"text": None, "media": [PICTURE]},
        {"media": [PICTURE] * 10},
        {"media": [URL_OF_4096]},
        {"media": ["http://example.com/a.jpg"]},
        {
            "media": [
                "https://example.com/caf%C3%A9%22.jpg",
                "HTTPS://xn--bcher-kva.example/",
                "http://[2001:db8::1]:8080/a",
            ]
        },
        {"media": ["https://user@example.com:8080/a;b=(c)/O'Brien?x={y}|z&w=%00#~!$*+,[1]"]},
        {"to": [ALICE], "from": "+19195550199"},
        {"priority": "default"},
        {"priority": "high"},
        {"applicationId": "a" * 255},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_what_is_within_the_limits_is_accepted(shared_service: Service, fields: Any) -> None:
    message = accepted(shared_service, **fields)

    assert message.to == tuple(fields.get("to", [ALICE]))
    assert message.sender == fields.get("from", SENDER)
    assert message.text == fields.get("text", "Lunch is at noon.")
    assert message.media == tuple(fields.get("media", ()))
    assert message.priority == fields.get("priority")
    assert message.application_id == fields.get("applicationId", APPLICATION)


@pytest.mark.parametrize(
    ("layout", "exact"),
    [("%Y-%m-%dT%H:%M:%SZ", True), ("%Y-%m-%dT%H:%M:%S.%fZ", False), ("%Y-%m-%dT%H:%M:%S+00:00", True)],
)
def test_an_expiration_in_the_future_is_kept_as_an_instant(service: Service, layout: str, exact: bool) -> None:
    expiration = in_one_hour(layout)

    answer = service.send(expiration=expiration)

    assert answer.status_code == 202
    kept = service.gateway.sent[0][0].expiration
    assert kept == datetime.fromisoformat(expiration)
    assert answer.get_json()["expiration"] == kept.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert not exact or kept.microsecond == 0


def test_an_expiration_with_a_zone_is_judged_as_an_instant(shared_service: Service) -> None:
    """Nine o'clock in Tokyo may be past while nine o'clock in UTC is still to come."""
    here = datetime.now(UTC)

    assert refused(shared_service, expiration=(here + HOUR).strftime("%Y-%m-%dT%H:%M:%S+09:00")) == ["expiration"]
    assert accepted(shared_service, expiration=(here - HOUR).strftime("%Y-%m-%dT%H:%M:%S-09:00"))


@pytest.mark.parametrize("name", ["from", "media", "applicationId", "priority", "expiration", "reference", "tag"])
def test_null_is_the_same_as_absent(shared_service: Service, name: str) -> None:
    assert accepted(shared_service, **{name: None}) == accepted(shared_service)


def test_to_is_required(shared_service: Service) -> None:
    assert wrong_fields(shared_service.post_message('{"text": "x"}')) == ["to"]
    assert wrong_fields(shared_service.post_message("{}")) == ["text", "to"]


@pytest.mark.parametrize(
    ("setting", "field"), [("bandwidth_from", "from"), ("bandwidth_application_id", "applicationId")]
)
def test_sender_and_application_have_defaults_and_without_them_are_required(
    shared_service: Service, setting: str, field: str
) -> None:
    with Service(shared_service.database_url, **{setting: None}) as bare:
        assert refused(bare) == [field]
        assert refused(bare, **{field: None}) == [field]
        assert accepted(bare, **{field: "4444"})
    with Service(shared_service.database_url, **{setting: "5555"}) as configured:
        assert "5555" in (accepted(configured).sender, accepted(configured).application_id)
        assert "5555" not in (accepted(configured, **{field: "6666"}).sender,)
