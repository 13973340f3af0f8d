"""Bandwidth's callbacks in every shape they have had or may have: the outcome is the same, or no worse than unknown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.builders import ALICE, BOB
from tests.support.loop import Loop

INVALID, THRICE, EARLY = "+12005564404", "+12005610002", "+12005620001"
GROUP = [ALICE, INVALID, THRICE, EARLY]

OUTCOME = [(ALICE, "delivered"), (INVALID, "failed"), (THRICE, "delivered"), (EARLY, "delivered")]
EVENTS = [
    ("message-delivered", ALICE, "applied", 1),
    ("message-delivered", INVALID, "extraneous", 1),
    ("message-delivered", THRICE, "applied", 3),
    ("message-delivered", EARLY, "applied", 1),
    ("message-failed", INVALID, "applied", 1),
]


def _send(loop: Loop, shape: str, *to: str) -> str:
    loop.simulator.switch(callbacks=shape)
    answer = loop.api.send(*to)
    assert answer.status_code == 202
    tag = str(answer.json()["tag"])
    loop.simulator.settle(tag)
    return tag


def _outcome(loop: Loop, tag: str) -> list[tuple[str, str]]:
    """The status of each recipient, on which the API and the views must agree."""
    told = [(each["to"], each["status"]) for each in loop.api.message(tag)["recipients"]]
    assert told == loop.sql("SELECT recipient, status FROM support_recipients WHERE tag = ? ORDER BY position", tag)
    return told


def _events(loop: Loop, tag: str) -> list[tuple[Any, ...]]:
    """The events, sorted, on which the API and the views must agree."""
    told = [(each["type"], each["to"], each["disposition"], each["deliveries"]) for each in loop.api.events(tag)]
    query = "SELECT type, recipient, disposition, deliveries FROM support_events WHERE tag = ?"
    rows = [(kind, recipient or None, *rest) for kind, recipient, *rest in loop.sql(query, tag)]
    assert sorted(rows, key=str) == sorted(told, key=str)
    return sorted(told, key=lambda each: (each[0], GROUP.index(each[1]) if each[1] else -1))


@pytest.mark.parametrize(
    ("shape", "linked_by"),
    [("bare-object", "tag"), ("batched", "tag"), ("tag-missing", "messageId"), ("tag-empty", "messageId")],
)
def test_the_outcome_does_not_depend_on_the_shape_of_the_callbacks(loop: Loop, shape: str, linked_by: str) -> None:
    tag = _send(loop, shape, *GROUP)

    assert _outcome(loop, tag) == OUTCOME
    assert _events(loop, tag) == EVENTS
    assert {each["linkedBy"] for each in loop.api.events(tag)} == {linked_by}
    assert loop.sql("SELECT DISTINCT linked_by FROM support_events WHERE tag = ?", tag) == [(linked_by,)]


def test_events_of_a_type_that_nobody_knows_are_kept_and_change_nothing(loop: Loop) -> None:
    tag = _send(loop, "unknown-type", *GROUP)

    assert _outcome(loop, tag) == OUTCOME
    unknown = [("message-teleported", number, "unrecognized", 1) for number in GROUP]
    assert _events(loop, tag) == EVENTS + unknown


def test_events_of_a_group_that_name_no_recipient_are_never_applied(loop: Loop) -> None:
    tag = _send(loop, "no-recipient", ALICE, BOB, INVALID)

    assert _outcome(loop, tag) == [(ALICE, "pending"), (BOB, "pending"), (INVALID, "pending")]
    assert _events(loop, tag) == [
        ("message-delivered", None, "unexpected_recipient", 3),
        ("message-failed", None, "unexpected_recipient", 1),
    ]
    assert loop.api.message(tag)["complete"] is False


def test_an_event_that_names_no_recipient_is_about_the_only_one(loop: Loop) -> None:
    tag = _send(loop, "no-recipient", INVALID)

    assert _outcome(loop, tag) == [(INVALID, "failed")]
    assert _events(loop, tag) == [
        ("message-delivered", INVALID, "extraneous", 1),
        ("message-failed", INVALID, "applied", 1),
    ]
