"""The fates of a request to send: our response, what is stored, and how events correct it later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import requests

from receiver.simulator import RequestFate
from tests.support.builders import ALICE, BOB, make_element
from tests.support.loop import SILENT, Loop
from tests.support.processes import wait_for


@dataclass(frozen=True)
class Expected:
    """What a fate of the request leads to: our status, and what is stored."""

    answer: int
    send_status: str
    because: str | None = None
    error: tuple[int | None, str | None] | None = None
    """Bandwidth's status, and its error type if it has one."""
    reached: bool = False
    """Whether Bandwidth has the message."""


UNAUTHORIZED, FORBIDDEN, UNSUPPORTED = "unauthorized", "forbidden", "unsupported-content-type"
FATES = {
    "accept": Expected(202, "accepted", reached=True),
    "400": Expected(422, "refused", "bandwidth", (400, "request-validation")),
    "401": Expected(502, "refused", "bandwidth", (401, UNAUTHORIZED)),
    "403": Expected(502, "refused", "bandwidth", (403, FORBIDDEN)),
    "404": Expected(502, "refused", "bandwidth", (404, "Not Found")),
    "415": Expected(502, "refused", "bandwidth", (415, UNSUPPORTED)),
    "429": Expected(429, "refused", "rate_limited", (429, "max-message-queue-size-exceeded")),
    "500": Expected(503, "refused", "bandwidth", (500, "internal-server-error")),
    "502-html": Expected(504, "unknown", None, (502, None)),
    "redirect": Expected(504, "unknown", None, (307, None)),
    "slow": Expected(504, "unknown", None, (None, "timed-out"), reached=True),
    "drop-before": Expected(504, "unknown", None, (None, "no-answer")),
    "drop-after": Expected(504, "unknown", None, (None, "no-answer"), reached=True),
    "nonsense": Expected(202, "accepted", reached=True),
    "cut-off": Expected(202, "accepted", reached=True),
}
UNSENT = {"refused": "not_sent", "unknown": "pending", "accepted": "pending"}
"""The status of a recipient without events."""


def test_every_switch_has_an_expected_answer() -> None:
    assert set(FATES) == {each.value for each in RequestFate}


def _send(loop: Loop, fate: str, *to: str) -> requests.Response:
    loop.simulator.switch(request=fate, slowSeconds=8)
    try:
        return loop.api.send(*to)
    finally:
        loop.simulator.switch()


@pytest.mark.parametrize("fate", FATES)
def test_the_answer_and_the_record_say_what_became_of_the_request(loop: Loop, fate: str) -> None:
    expected = FATES[fate]
    answer = _send(loop, fate, SILENT)
    said = answer.json()
    tag = said["tag"]

    assert (answer.status_code, said["sendStatus"]) == (expected.answer, expected.send_status)
    assert answer.headers["Content-Type"] == ("application/json" if answer.ok else "application/problem+json")
    message = loop.api.message(tag)
    assert (message["sendStatus"], message["refusedBecause"]) == (expected.send_status, expected.because)
    error = message["error"]
    assert (error and (error["status"], error["type"])) == expected.error
    assert {each["status"] for each in message["recipients"]} == {UNSENT[expected.send_status]}
    assert message["complete"] is (expected.send_status == "refused")
    assert len(loop.simulator.accepted(tag)) == int(expected.reached)
    _check_views(loop, message)


def _check_views(loop: Loop, message: Any) -> None:
    error = message["error"] or {"status": None, "type": None, "description": None}
    columns = "send_status, refused_because, error_status, error_type, error_description, message_id, not_sent, pending"
    (row,) = loop.sql(f"SELECT {columns} FROM support_messages WHERE tag = ?", message["tag"])
    assert row == (
        message["sendStatus"],
        message["refusedBecause"],
        *(error[name] for name in ("status", "type", "description")),
        message["messageId"],
        *(message["summary"][name] for name in ("not_sent", "pending")),
    )


def test_fields_that_bandwidth_finds_wrong_are_named_in_our_answer(loop: Loop) -> None:
    answer = _send(loop, "400", ALICE).json()

    assert answer["errors"] == {"to": ["'+invalid' must be replaced with a valid E164 formatted telephone number"]}


def test_a_full_queue_is_reported_with_the_time_to_wait(loop: Loop) -> None:
    assert int(_send(loop, "429", ALICE).headers["Retry-After"]) > 0


@pytest.mark.parametrize("fate", ["slow", "drop-after", "nonsense", "cut-off"])
def test_events_tell_that_bandwidth_has_the_message_after_all(loop: Loop, fate: str) -> None:
    tag = _send(loop, fate, ALICE, "+12005564404").json()["tag"]
    record = loop.simulator.settle(tag)

    message = loop.api.message(tag)

    assert (message["sendStatus"], message["refusedBecause"]) == ("accepted", None)
    assert (message["messageId"], message["sentTwice"]) == (record["id"], False)
    assert [each["status"] for each in message["recipients"]] == ["delivered", "failed"]
    assert message["complete"] is True
    _check_views(loop, message)


@pytest.mark.parametrize("fate", [fate for fate, expected in FATES.items() if not expected.reached])
def test_one_event_makes_a_message_accepted_whatever_was_thought_of_it(loop: Loop, fate: str) -> None:
    tag = _send(loop, fate, SILENT, BOB).json()["tag"]
    before = loop.api.message(tag)

    event = make_element("delivered", SILENT, tag=tag, message_id=f"late-{tag}")
    assert loop.api.callback(event).json() == {"recorded": 1, "duplicates": 0, "unlinked": 0, "unreadable": 0}

    message = loop.api.message(tag)
    assert (message["sendStatus"], message["refusedBecause"]) == ("accepted", None)
    assert message["error"] == before["error"]
    assert [each["status"] for each in message["recipients"]] == ["delivered", "pending"]
    assert message["messageId"] == f"late-{tag}"
    _check_views(loop, message)


def test_a_bandwidth_that_cannot_be_reached_leaves_the_message_unsent(loop: Loop) -> None:
    loop.simulator.child.kill()
    try:
        answer = loop.api.send(ALICE, BOB)
    finally:
        loop.restart_simulator()

    said = answer.json()
    assert (answer.status_code, said["sendStatus"]) == (503, "refused")
    message = loop.api.message(said["tag"])
    assert (message["refusedBecause"], message["error"]["status"]) == ("unreachable", None)
    assert [each["status"] for each in message["recipients"]] == ["not_sent", "not_sent"]
    _check_views(loop, message)
    # The simulator has forgotten its tokens, and one that is younger than ten seconds is not replaced.
    wait_for(lambda: loop.api.send(SILENT).status_code == 202, "another token")
    assert loop.simulator.accepted(said["tag"]) == []
