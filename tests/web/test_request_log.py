"""What the log says about requests: whose key, which tag, what came of it; and nothing about those that only read."""

from __future__ import annotations

from typing import Any

import pytest

from receiver.core.messages import Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from tests.support.builders import ALICE, BOB, MESSAGE_ID, READ_ONLY_KEY, FakeGateway, make_element
from tests.support.log_lines import Lines
from tests.support.service import LATER, ONCE, Service


def the(event: str, logged: Lines) -> Any:
    (line,) = [line for line in logged if line["event"] == event]
    return line


def test_a_callback_is_one_line_with_its_counts_tags_and_ids(sqlite_service: Service, logged: Lines) -> None:
    tag = sqlite_service.send(to=[ALICE]).get_json()["tag"]
    logged.clear()
    elements = [make_element(tag=tag), make_element(tag=tag), make_element(tag="another's", message_id="x"), 7]

    sqlite_service.callback(*elements)

    line = the("callback", logged)
    assert line["bytes"] > 0
    assert line["duration_ms"] >= 0
    assert line["log_level"] == "info"
    assert {name: line[name] for name in ("status", "recorded", "duplicates", "unlinked", "unreadable")} == {
        "status": 200,
        "recorded": 2,
        "duplicates": 1,
        "unlinked": 1,
        "unreadable": 1,
    }
    assert (line["tags"], line["message_ids"]) == ([tag], [MESSAGE_ID, "x"])


def test_no_more_than_ten_ids_of_a_callback_are_named(sqlite_service: Service, logged: Lines) -> None:
    sqlite_service.callback(*(make_element(message_id=f"id {number}") for number in range(100)))

    assert the("callback", logged)["message_ids"] == [f"id {number}" for number in range(10)]


@pytest.mark.parametrize(
    ("body", "auth", "level", "status"),
    [
        (b"[]", None, "debug", 401),
        (b"[]", ("bandwidth", "wrong"), "warning", 401),
        (b"{", ("bandwidth", "callback:password"), "warning", 400),
        (b"x" * 5_000_000, ("bandwidth", "callback:password"), "warning", 413),
    ],
)
def test_a_refused_callback_is_a_line_but_bandwidths_first_bare_one_is_none_at_info(
    sqlite_service: Service, logged: Lines, body: bytes, auth: Any, level: str, status: int
) -> None:
    sqlite_service.post_callback(body, auth=auth)

    line = the("callback", logged)
    assert (line["log_level"], line["status"]) == (level, status)
    assert line["reason"]


def test_a_message_that_is_sent_is_two_lines_one_of_the_call_and_one_of_the_request(
    sqlite_service: Service, logged: Lines
) -> None:
    tag = sqlite_service.send(to=[ALICE, BOB], headers=ONCE).get_json()["tag"]

    call, request = the("send", logged), the("request", logged)
    assert call.pop("duration_ms") >= 0
    assert call == {
        "event": "send",
        "log_level": "info",
        "tag": tag,
        "message_id": MESSAGE_ID,
        "recipients": 2,
        "units": 2,
        "attempt": 1,
        "result": "accepted",
        "bandwidth_status": 202,
        "api_key": "app",
    }
    assert (request["method"], request["route"], request["status"]) == ("POST", "/messages", 202)
    assert (request["tag"], request["api_key"]) == (tag, "app")


@pytest.mark.parametrize(
    ("answer", "result", "because", "level"),
    [
        (Refused(because=RefusedBecause.BANDWIDTH, status=400, type="wrong"), "refused", "bandwidth", "info"),
        (Refused(because=RefusedBecause.UNREACHABLE, type="refused"), "refused", "unreachable", "warning"),
        (Unknown(type="timed-out"), "unknown", None, "warning"),
    ],
)
def test_what_became_of_a_call_is_reported(
    sqlite_url: str, logged: Lines, answer: SendResult, result: str, because: str | None, level: str
) -> None:
    with Service(sqlite_url, FakeGateway(answer)) as service:
        service.send()

    line = the("send", logged)
    assert (line["log_level"], line["result"], line["refused_because"]) == ("warning", result, because)
    assert line["error_type"] == getattr(answer, "type", None)
    assert the("request", logged)["log_level"] == level


def test_who_queued_and_who_withdrew_a_message_is_reported(sqlite_service: Service, logged: Lines) -> None:
    tag = sqlite_service.send(headers=LATER).get_json()["tag"]
    sqlite_service.call("DELETE", f"/messages/{tag}")

    assert [(line["method"], line["route"], line["tag"], line["api_key"]) for line in logged] == [
        ("POST", "/messages", tag, "app"),
        ("DELETE", "/messages/<tag>", tag, "app"),
    ]


@pytest.mark.parametrize("path", ["/messages", "/queue", "/metrics", "/health/live", "/health/ready"])
def test_what_only_reads_is_no_line(sqlite_service: Service, logged: Lines, path: str) -> None:
    assert sqlite_service.call("GET", path).status_code == 200

    assert logged == []


@pytest.mark.parametrize(
    ("method", "key", "status", "level", "name"),
    [
        ("GET", "a-wrong-key", 401, "warning", None),
        ("POST", READ_ONLY_KEY, 403, "warning", "support"),
        ("POST", "an-api-key", 400, "info", "app"),
    ],
)
def test_a_request_that_fails_is_reported_with_the_name_of_its_key(
    sqlite_service: Service, logged: Lines, method: str, key: str, status: int, level: str, name: str | None
) -> None:
    assert sqlite_service.call(method, "/messages", key=key).status_code == status

    line = the("request", logged)
    assert (line["log_level"], line["status"], line.get("api_key")) == (level, status, name)
    assert key not in str(logged)


def test_the_key_of_one_request_is_not_that_of_the_next(sqlite_service: Service, logged: Lines) -> None:
    sqlite_service.send()
    sqlite_service.call("POST", "/nowhere", key=None)

    assert "api_key" not in logged[-1]
