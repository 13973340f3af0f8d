"""`receiver reconcile` against the simulator's record of the messages that it accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.core.messages import Accepted, Unknown
from receiver.database.database import Database
from receiver.simulator import RequestFate, SearchShape, Simulator, SimulatorOptions, Switches
from tests.support.builders import ALICE, BOB, CLIENT_ID, CLIENT_SECRET, store_message
from tests.support.loop import select
from tests.support.processes import environment, invoke, run, wait_for

INVALID = "+12005554404"
"""A number whose messages fail in the simulator."""


@pytest.fixture
def bandwidth() -> Iterator[Simulator]:
    """A simulator without callbacks: only its record has the outcome of a message."""
    with Simulator(SimulatorOptions(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)) as simulator:
        yield simulator


def _send(settings: dict[str, str], *numbers: str) -> str:
    """Sends a message and returns its tag."""
    to = [word for number in numbers for word in ("--to", number)]
    shown = invoke("send", *to, "--text", "x", "--media", "https://example.com/a.jpg", environment=settings).stdout
    return re.search(r"tag +(\w+)", shown)[1]  # type: ignore[index]


def _words(output: str, tag: str) -> list[str]:
    [line] = [line for line in output.splitlines() if tag in line]
    return line.split()


@pytest.mark.parametrize("shape", SearchShape)
def test_an_unknown_message_is_found_in_bandwidths_record(
    database_url: str, bandwidth: Simulator, shape: SearchShape
) -> None:
    settings = environment(database_url, bandwidth_api_url=bandwidth.url)
    bandwidth.switches = Switches(request=RequestFate.DROP_AFTER, search=shape)
    tag = _send(settings, ALICE, INVALID)

    def found() -> str:
        """Asks once. The simulator may not have decided the recipients' fate yet; asking again is harmless."""
        result = invoke("reconcile", environment=settings)
        assert result.exit_code == 0
        return result.stdout if "0 messages" in result.stdout else ""

    first = invoke("reconcile", environment=settings)
    assert (first.exit_code, _words(first.stdout, tag)[1:5]) == (0, ["unknown", "->", "accepted", "recorded"])
    assert first.stderr == ""
    assert "Looked up 1 message: 1 recorded, 0 not found, 0 ambiguous, 0 settled, 0 refused" in first.stdout
    wait_for(found, "nothing to be in doubt any more")
    [[message_id]] = select(database_url, "SELECT message_id FROM support_messages WHERE tag = ?", tag)
    assert message_id == bandwidth.messages[-1].id
    sources = select(database_url, "SELECT DISTINCT source, event_tag FROM support_events WHERE tag = ?", tag)
    assert sources == [("reconcile", None)]
    assert invoke("recompute", "--check", environment=settings).exit_code == 0


def test_an_overdue_recipient_is_learnt_of(database_url: str, bandwidth: Simulator) -> None:
    settings = environment(database_url, bandwidth_api_url=bandwidth.url, overdue_after_hours=0.0000001)
    tag = _send(settings, ALICE, INVALID)

    def outcomes() -> list[tuple[object, ...]]:
        assert invoke("reconcile", environment=settings).exit_code == 0
        query = "SELECT status, error_code FROM support_recipients WHERE tag = ? AND status IN ('delivered', 'failed')"
        rows = select(database_url, query + " ORDER BY position", tag)
        return rows if len(rows) == 2 else []

    assert wait_for(outcomes, "both outcomes") == [("delivered", None), ("failed", 4404)]
    assert "Looked up 0 messages:" in invoke("reconcile", environment=settings).stdout


def test_bandwidth_s_limit_makes_it_wait_and_loses_nothing(sqlite_url: str) -> None:
    with Simulator(
        SimulatorOptions(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, searches=3, search_seconds=1)
    ) as bandwidth:
        settings = environment(sqlite_url, bandwidth_api_url=bandwidth.url)
        bandwidth.switches = Switches(request=RequestFate.DROP_AFTER)
        for number in (ALICE, BOB, INVALID):
            _send(settings, number)

        result = invoke("reconcile", environment=settings)

    assert (result.exit_code, "Looked up 3 messages: 3 recorded" in result.stdout) == (0, True)


def test_what_bandwidth_never_accepted_stays_unknown(database_url: str, bandwidth: Simulator) -> None:
    settings = environment(database_url, bandwidth_api_url=bandwidth.url)
    bandwidth.switches = Switches(request=RequestFate.DROP_BEFORE)
    tag = _send(settings, ALICE)

    result = invoke("reconcile", environment=settings)

    assert (result.exit_code, _words(result.stdout, tag)[1:6]) == (0, ["unknown", "->", "unknown", "not", "found"])


def test_two_messages_that_cannot_be_told_apart_are_ambiguous(database_url: str, bandwidth: Simulator) -> None:
    settings = environment(database_url, bandwidth_api_url=bandwidth.url)
    bandwidth.switches = Switches(request=RequestFate.DROP_AFTER)
    tags = [_send(settings, ALICE, BOB), _send(settings, BOB, ALICE)]

    result = invoke("reconcile", environment=settings)

    assert result.exit_code == 0
    assert "Looked up 2 messages: 0 recorded, 0 not found, 2 ambiguous, 0 settled, 0 refused" in result.stdout
    for tag in tags:
        assert _words(result.stdout, tag)[1:5] == ["unknown", "->", "unknown", "ambiguous"]
    assert all(message.id in result.stdout.replace("\n", "") for message in bandwidth.messages)


BASIC = {"bandwidth_client_secret": None, "bandwidth_username": "user", "bandwidth_password": "hunter2"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bandwidth_client_secret": "hunter2"}, "refuses BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET"),
        ({**BASIC, "bandwidth_client_id": None}, "returned 401: check BANDWIDTH_ACCOUNT_ID"),
        ({"bandwidth_api_url": "http://127.0.0.1:9/api/v2"}, "cannot be reached"),
    ],
    ids=["credentials", "a password", "nobody there"],
)
def test_a_bandwidth_that_cannot_be_asked_is_one_sentence(
    sqlite_url: str, bandwidth: Simulator, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    with Database(sqlite_url) as database:
        store_message(database, ALICE, answer=Unknown())
    settings = environment(sqlite_url, **{"bandwidth_api_url": bandwidth.url} | changes)

    ended = run("reconcile", environment=settings, folder=tmp_path)

    assert ended.returncode == 1
    assert words in ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr
    assert "Looked up 0 messages:" in ended.stdout


def test_with_nothing_in_doubt_bandwidth_is_not_asked(sqlite_url: str, tmp_path: Path) -> None:
    with Database(sqlite_url) as database:
        store_message(database, ALICE, answer=Accepted(message_id="known"))

    ended = run("reconcile", environment=environment(sqlite_url), folder=tmp_path)

    assert (ended.returncode, ended.stdout) == (
        0,
        "Looked up 0 messages: 0 recorded, 0 not found, 0 ambiguous, 0 settled, 0 refused\n",
    )


def test_reconcile_exits_2_without_the_settings_that_it_needs(sqlite_url: str) -> None:
    assert invoke("reconcile", environment={"DATABASE_URL": sqlite_url}).exit_code == 2
