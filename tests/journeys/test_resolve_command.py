"""`receiver resolve`: a person's decision, and how the commands show it."""

from __future__ import annotations

import getpass
import json

import pytest

from receiver.core.messages import SendResult, Unknown
from receiver.database.database import Database
from tests.support.builders import ACCEPTED, ALICE, BOB, store_message
from tests.support.processes import environment, invoke


def _stored(database_url: str, answer: SendResult) -> str:
    with Database(database_url) as database:
        return store_message(database, ALICE, BOB, answer=answer)[0]


def test_a_decision_is_shown_with_who_and_why_and_can_be_taken_back(database_url: str) -> None:
    settings, tag = environment(database_url), _stored(database_url, Unknown(type="timed-out"))

    refused = invoke("resolve", tag, "--as", "refused", "--reason", "Nobody got it.", environment=settings)
    assert refused.exit_code == 0
    for shown in ("operator", "not_sent", "Nobody got it.", getpass.getuser()):
        assert shown in refused.stdout

    words = ["--as", "accepted", "--reason", "Alice got it.", "--by", "jane"]
    assert invoke("resolve", tag, *words, environment=settings).exit_code == 0

    shown = invoke("show", tag, environment=settings).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["send", "status", "accepted"] in lines
    assert [line[3:] for line in lines if line[3:4] in (["refused"], ["accepted"])] == [
        ["refused", getpass.getuser(), "Nobody", "got", "it."],
        ["accepted", "jane", "Alice", "got", "it."],
    ]
    decided = json.loads(invoke("show", tag, "--json", environment=settings).stdout)["resolutions"]
    assert [each.pop("resolvedAt")[-1] for each in decided] == ["Z", "Z"]
    assert decided == [
        {"sendStatus": "refused", "reason": "Nobody got it.", "resolvedBy": getpass.getuser()},
        {"sendStatus": "accepted", "reason": "Alice got it.", "resolvedBy": "jane"},
    ]
    assert invoke("recompute", "--check", environment=settings).exit_code == 0


def test_what_bandwidth_has_is_not_decided(database_url: str) -> None:
    settings, tag = environment(database_url), _stored(database_url, ACCEPTED)

    result = invoke("resolve", tag, "--as", "refused", "--reason", "x", environment=settings)

    assert (result.exit_code, result.output) == (1, f"{tag}: Bandwidth has it: there is nothing to decide.\n")


def test_an_unknown_tag_is_reported(sqlite_url: str) -> None:
    result = invoke("resolve", "nonsense", "--as", "refused", "--reason", "x", environment=environment(sqlite_url))

    assert (result.exit_code, result.output) == (1, "There is no message with this tag.\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--as", "refused"],
        ["--as", "refused", "--reason", " "],
        ["--as", "refused", "--reason", "x", "--by", ""],
        ["--as", "unknown", "--reason", "x"],
        ["--reason", "x"],
    ],
)
def test_a_decision_needs_a_state_a_reason_and_a_name(sqlite_url: str, words: list[str]) -> None:
    settings, tag = environment(sqlite_url), _stored(sqlite_url, Unknown())

    assert invoke("resolve", tag, *words, environment=settings).exit_code == 2
    assert "Resolutions" not in invoke("show", tag, environment=settings).stdout
