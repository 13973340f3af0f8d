"""Requests that Bandwidth refuses, and its errors."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from receiver.simulator import Simulator
from tests.support.simulators import ALICE, BOB, MESSAGE, Send, Start, bearer, messages_url, post

REFUSED = {"type": "request-validation", "description": "Your request could not be accepted"}
E164_WORDING = "must be replaced with a valid E164 formatted telephone number"


def test_an_empty_request_names_every_missing_field(simulator: Simulator) -> None:
    response = raw(simulator, b"{}")

    assert response.status_code == 400
    assert response.json() == REFUSED | {
        "fieldErrors": [
            {"fieldName": "applicationId", "description": "'applicationId' is required"},
            {"fieldName": "from", "description": "'from' must contain exactly one telephone number"},
            {"fieldName": "text", "description": "'text' is required unless media is included"},
            {"fieldName": "to", "description": "'to' must contain at least one telephone number"},
        ]
    }


@pytest.mark.parametrize(
    ("fields", "field", "description"),
    [
        ({"to": ["+invalid"]}, "to", f"'+invalid' {E164_WORDING}"),
        ({"to": [ALICE, "2345678903"]}, "to", f"'2345678903' {E164_WORDING}"),
        ({"to": ["+1234567890123456"]}, "to", f"'+1234567890123456' {E164_WORDING}"),
        ({"to": [None]}, "to", f"'None' {E164_WORDING}"),
        ({"to": []}, "to", "'to' must contain at least one telephone number"),
        ({"to": ""}, "to", "'to' must contain at least one telephone number"),
        (
            {"to": [f"+1234567{n:04}" for n in range(11)]},
            "to",
            "'to' must contain at most 10 telephone numbers",
        ),
        ({"from": [ALICE, BOB]}, "from", "'from' must contain exactly one telephone number"),
        ({"from": ""}, "from", "'from' must contain exactly one telephone number"),
        ({"from": "+1invalid"}, "from", f"'+1invalid' {E164_WORDING}"),
        ({"text": ""}, "text", "'text' is required unless media is included"),
        ({"text": "x" * 2049}, "text", "'text' must be a string of at most 2048 characters"),
        ({"text": 5}, "text", "'text' must be a string of at most 2048 characters"),
        ({"media": "https://example.com"}, "media", "'media' must be a list of URLs"),
        ({"media": ["h" * 4097]}, "media", "'media' must contain URLs of at most 4096 characters"),
        ({"tag": "t" * 1025}, "tag", "'tag' must be a string of at most 1024 characters"),
        ({"priority": "urgent"}, "priority", "'priority' must be one of 'default', 'high'"),
        (
            {"expiration": "2021-02-01T11:29:18-05:00"},
            "expiration",
            "'expiration' must be in the future",
        ),
        (
            {"expiration": "2999-02-01T11:29:18"},
            "expiration",
            "'expiration' must be a valid RFC-3339 date-time",
        ),
        ({"expiration": 5}, "expiration", "'expiration' must be a valid RFC-3339 date-time"),
        ({"applicationId": ""}, "applicationId", "'applicationId' is required"),
    ],
)
def test_an_invalid_field_is_named(simulator: Simulator, fields: dict[str, Any], field: str, description: str) -> None:
    response = raw(simulator, json.dumps(MESSAGE | fields).encode())

    assert response.status_code == 400
    assert response.json() == REFUSED | {"fieldErrors": [{"fieldName": field, "description": description}]}
    assert simulator.messages == ()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"text": NaN}', b"[" * 100_000])
def test_a_body_that_is_not_a_json_object_is_refused_without_field_errors(simulator: Simulator, body: bytes) -> None:
    response = raw(simulator, body)

    assert (response.status_code, response.json()) == (400, REFUSED)


@pytest.mark.parametrize(
    "fields",
    [
        {"to": ALICE},
        {"to": [f"+1234567{n:04}" for n in range(10)]},
        {"from_": "2020"},
        {"from_": "A&B shop-1"},
        {"from_": ["+12345678901"]},
        {"text": None, "media": ["https://example.com/a.jpg"]},
        {"text": "x" * 2048, "tag": "t" * 1024, "media": ["h" * 4096]},
        {"tag": ""},
        {"priority": "high", "expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
        {"somethingNew": True},
    ],
)
def test_everything_that_the_reference_allows_is_accepted(send: Send, fields: dict[str, Any]) -> None:
    assert send(**fields).status_code == 202


def test_the_response_has_an_array_of_recipients_even_for_a_bare_string(send: Send) -> None:
    assert send(to=ALICE).json()["to"] == [ALICE]


def test_the_response_echoes_only_the_fields_that_were_sent(send: Send) -> None:
    response = send(tag=None, text=None, media=["https://example.com/a.jpg"]).json()

    assert sorted(response) == sorted(
        ["id", "owner", "applicationId", "time", "segmentCount", "direction", "to", "from", "media", "priority"]
    )
    assert response["priority"] == "default"


def test_a_repeated_number_is_one_recipient(send: Send, simulator: Simulator) -> None:
    assert send(to=[ALICE, BOB, ALICE]).json()["to"] == [ALICE, BOB]
    assert len(simulator.messages[0].callbacks) == 2


@pytest.mark.parametrize(
    ("text", "segments"), [("a" * 160, 1), ("a" * 161, 2), ("a" * 307, 3), ("é" * 160, 1), ("ç" * 70, 1), ("ç" * 71, 2)]
)
def test_an_sms_counts_its_segments(send: Send, text: str, segments: int) -> None:
    assert send(to=ALICE, text=text).json()["segmentCount"] == segments
    assert send(to=[ALICE, BOB], text=text).json()["segmentCount"] == 1


@pytest.mark.parametrize(
    ("content_type", "named"), [("text/plain;charset=UTF-8", "text/plain;charset=UTF-8"), (None, "")]
)
def test_any_other_content_type_is_refused(simulator: Simulator, content_type: str | None, named: str) -> None:
    response = raw(simulator, json.dumps(MESSAGE).encode(), content_type=content_type)

    assert response.status_code == 415
    assert response.json() == {
        "type": "unsupported-content-type",
        "description": f"Content type '{named}' not supported. Please use 'application/json'",
    }


def test_a_charset_is_allowed(simulator: Simulator) -> None:
    response = raw(simulator, json.dumps(MESSAGE).encode(), content_type="application/json; charset=utf-8")

    assert response.status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer abc"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic Og=="},  # an empty user and an empty password
        {"Authorization": "Basic dXNlcjo="},  # an empty password
    ],
)
def test_a_request_without_credentials_is_refused(simulator: Simulator, headers: dict[str, str]) -> None:
    response = requests.post(messages_url(simulator), data=b"{", headers=headers, timeout=10)

    assert response.status_code == 401
    assert response.json() == {"type": "unauthorized", "description": "Authentication Failed"}


def test_the_accounts_id_is_checked(start: Start) -> None:
    assert post(start(account_id="9900000")).status_code == 202
    assert post(start(account_id="5000000")).status_code == 401


def test_a_wrong_path_has_the_frameworks_own_404(simulator: Simulator) -> None:
    path = "/api/v2/users/9900000/messages/happy"
    response = requests.post(f"{simulator.root}{path}", timeout=10)

    assert response.status_code == 404
    body = response.json()
    assert datetime.strptime(body.pop("timestamp"), "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo is not None
    assert body == {"status": 404, "error": "Not Found", "message": "Not Found", "path": path}


def test_any_other_method_is_refused(simulator: Simulator) -> None:
    response = requests.patch(messages_url(simulator), timeout=10)

    assert response.status_code == 405
    assert sorted(response.json()) == ["description", "type"]


@pytest.mark.parametrize("base", ["/api/v2", "/v2", ""])
def test_every_documented_base_path_works(simulator: Simulator, base: str) -> None:
    url = f"{simulator.root}{base}/users/9900000/messages"

    assert requests.post(url, json=MESSAGE, headers=bearer(simulator), timeout=10).status_code == 202


def raw(simulator: Simulator, body: bytes, *, content_type: str | None = "application/json") -> requests.Response:
    headers = bearer(simulator) | ({} if content_type is None else {"Content-Type": content_type})
    return requests.post(
        messages_url(simulator),
        data=body,
        headers=headers,
        timeout=10,
    )
