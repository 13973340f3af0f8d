"""Elements of odd shape over HTTP: each is judged by itself, and none does harm to its neighbours."""

import json
from typing import Any

import pytest

from tests.support.builders import ALICE, BOB, MESSAGE_ID, make_element
from tests.support.service import Service

GOOD = make_element("delivered", BOB)


def judge(service: Service, element: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Puts the element between two good ones; returns the counts and the message's events but for the good ones."""
    tag = service.send(to=[ALICE, BOB]).get_json()["tag"]
    answer = service.post_callback(json.dumps([GOOD, element, GOOD]).encode())
    assert answer.status_code == 200, answer.text
    assert service.statuses(tag)[BOB] == "delivered"
    return answer.get_json(), [event for event in service.events(tag) if event["to"] != BOB]


def with_message(**changes: Any) -> dict[str, Any]:
    element = make_element("failed")
    return element | {"message": element["message"] | changes}


@pytest.mark.parametrize(
    "element",
    [
        None,
        0,
        "message-delivered",
        [],
        {},
        {"type": "message-delivered"},
        {"type": "message-delivered", "to": ALICE, "message": None},
        {"type": "message-delivered", "to": ALICE, "message": []},
        {"type": "message-delivered", "to": ALICE, "message": MESSAGE_ID},
        *(make_element() | {"type": value} for value in (None, "", 5, ["message-delivered"], {}, "x" * 65, "a\x00")),
        make_element() | {"type": "message-\ud800"},
        *(with_message(id=value) for value in (None, "", 5, [MESSAGE_ID], "x" * 129, "a\x00", "\udfff")),
        *(make_element("failed", value) for value in ("+" * 65, "+1919\x00", "\ud800")),
    ],
    ids=lambda element: json.dumps(element)[:60].replace("Infinity", "1e400"),
)
def test_an_element_that_is_no_event_is_kept_raw_and_harms_nobody(sqlite_service: Service, element: Any) -> None:
    body = json.dumps([GOOD, element, GOOD]).replace("Infinity", "1e400").encode()
    tag = sqlite_service.send(to=[ALICE, BOB]).get_json()["tag"]

    answer = sqlite_service.post_callback(body)

    assert answer.get_json() == {"recorded": 1, "duplicates": 1, "unlinked": 0, "unreadable": 1}
    assert sqlite_service.statuses(tag) == {ALICE: "pending", BOB: "delivered"}


@pytest.mark.parametrize(
    ("element", "error_code"),
    [
        (make_element("failed", errorCode=4404), 4404),
        (make_element("failed", errorCode="4404"), 4404),
        (make_element("failed", errorCode="04404"), 4404),
        (make_element("failed", errorCode=99_999), 99_999),
        (make_element("failed", errorCode=0), None),
        (make_element("failed", errorCode="0"), None),
        (make_element("failed", errorCode=4404.0), 4404),
        *(
            (make_element("failed", errorCode=value), None)
            for value in (None, "", "none", "x", False, True, [4404], {})
        ),
        *(
            (make_element("failed", errorCode=value), None)
            for value in (-1, 100_000, 104_404, 4404.5, 10**30, "4404.0")
        ),
        *((make_element("failed", errorCode=value), None) for value in (" 4404", "4404\n", "123456", "٤٤٠٤", "\ud800")),
        (make_element("failed"), None),
    ],
)
def test_an_error_code_is_a_number_or_its_digits_and_everything_else_is_none(
    sqlite_service: Service, element: Any, error_code: int | None
) -> None:
    _, [event] = judge(sqlite_service, element)

    assert event["errorCode"] == error_code
    assert event["payload"] == element
    assert event["disposition"] == "applied"


@pytest.mark.parametrize("code", ["", "none", False, 104_404, 4404.5, {"code": 0}], ids=repr)
def test_a_delivered_needs_no_code(sqlite_service: Service, code: Any) -> None:
    tag = sqlite_service.send(to=[ALICE, BOB]).get_json()["tag"]

    assert sqlite_service.callback(make_element("delivered", ALICE, errorCode=code)).get_json()["unreadable"] == 0

    assert sqlite_service.statuses(tag)[ALICE] == "delivered"


@pytest.mark.parametrize(
    ("to", "message_to", "named"),
    [
        (ALICE, [ALICE, BOB], ALICE),
        ([ALICE], [ALICE, BOB], ALICE),
        (None, [ALICE], ALICE),
        ("", [ALICE], ALICE),
        ([], [ALICE], ALICE),
        (5, [ALICE], ALICE),
        ({}, [ALICE], ALICE),
        ([ALICE, BOB], [ALICE], ALICE),
        ([ALICE, BOB], [ALICE, BOB], None),
        (None, [ALICE, BOB], None),
        (None, [], None),
        (None, ALICE, None),
        (None, [5], None),
        (None, None, None),
        ([None], [ALICE, BOB], None),
    ],
)
def test_who_an_event_is_about(sqlite_service: Service, to: Any, message_to: Any, named: str | None) -> None:
    _, [event] = judge(sqlite_service, with_message(to=message_to) | {"to": to})

    assert event["to"] == named
    assert event["disposition"] == ("applied" if named else "unexpected_recipient")


@pytest.mark.parametrize(
    ("time", "occurred_at"),
    [
        ("2016-09-14T18:20:16Z", "2016-09-14T18:20:16.000000Z"),
        ("2020-06-25T18:42:36.979Z", "2020-06-25T18:42:36.979000Z"),
        ("2024-02-15T16:34:52.255182Z", "2024-02-15T16:34:52.255182Z"),
        ("2017-01-11T18:25:27.047+0000", "2017-01-11T18:25:27.047000Z"),
        ("2021-02-01T11:29:18-05:00", "2021-02-01T16:29:18.000000Z"),
        ("2026-11-21T12:00:00", "2026-11-21T12:00:00.000000Z"),
        ("1999-12-31T23:59:59Z", None),
        ("2101-01-01T00:00:00Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (1795300147, None),
        (["2016-09-14T18:20:16Z"], None),
        (None, None),
    ],
)
def test_a_time_is_an_instant_in_whatever_layout_or_nothing(
    sqlite_service: Service, time: Any, occurred_at: str | None
) -> None:
    told, [event] = judge(sqlite_service, make_element("failed", errorCode=4720, time=time))

    assert told["unreadable"] == 0
    assert event["occurredAt"] == occurred_at
    assert event["disposition"] == "applied"


@pytest.mark.parametrize(
    "tag",
    [None, "", 5, ["t"], {"t": 1}, True, "test message", "a|b|c", "x" * 5_000, "\x00", "\ud83c", "' OR 1=1 --", "01"],
    ids=lambda tag: json.dumps(tag)[:20],
)
def test_a_tag_that_is_not_ours_is_no_obstacle(sqlite_service: Service, tag: Any) -> None:
    told, [event] = judge(sqlite_service, with_message(tag=tag))

    assert told == {"recorded": 2, "duplicates": 1, "unlinked": 0, "unreadable": 0}
    assert event["linkedBy"] == "messageId"


@pytest.mark.parametrize("tag", ["x" * 5_000, "\x00\ud83c"])
def test_an_event_with_a_foreign_tag_and_an_unknown_id_is_kept_and_unlinked(service: Service, tag: str) -> None:
    told = service.callback(make_element(message_id="x", tag=tag)).get_json()

    assert told == {"recorded": 1, "duplicates": 0, "unlinked": 1, "unreadable": 0}


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("ok", "ok"),
        ("a\x00b\ud800c", "a\ufffdb\ufffdc"),
        ("\U0001f37d", "\U0001f37d"),
        ("x" * 9_999, "x" * 9_999),
        (5, None),
    ],
    ids=lambda value: str(value)[:5].encode("ascii", "replace").decode(),
)
def test_a_description_is_text_or_nothing(service: Service, description: Any, shown: str | None) -> None:
    _, [event] = judge(service, make_element("failed", description=description))

    assert event["description"] == shown
