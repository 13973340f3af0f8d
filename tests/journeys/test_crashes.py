"""A killed service and a database that does not respond cost time, and nothing else."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.builders import ALICE, BOB
from tests.support.loop import Loop, looping
from tests.support.postgres import Server
from tests.support.processes import Api, faults, run, wait_for

INVALID, THRICE, RECEIPT, SILENT = "+12005564404", "+12005610002", "+12005580001", "+12005660001"
GROUP = {ALICE: "delivered", INVALID: "failed", THRICE: "delivered", RECEIPT: "delivered", SILENT: "pending"}
INVALIDS = [f"+1200556{code}" for code in (4303, 4404, 4406, 4408, 4720, 4721)]

Identity = tuple[str, str, str, int]


def test_a_killed_service_loses_nothing_doubles_nothing_and_never_sends_again(
    tmp_path: Path, database_url: str
) -> None:
    with looping(tmp_path, database_url, "--day", "60") as loop:
        tags = [loop.api.send(*GROUP).json()["tag"] for _ in range(8)]
        _kill_in_the_middle(loop, already_sent=len(tags))

        loop.restart_server()

        for tag in tags:
            loop.simulator.settle(tag)
            assert {each["to"]: each["status"] for each in loop.api.message(tag)["recipients"]} == GROUP
        assert any(len(each["attempts"]) > 1 for each in _callbacks(loop))
        _check_those_whose_answer_was_lost(loop)
        _check_rows(loop)
        assert len(loop.simulator.messages()) == len(tags) + 2
        assert run("recompute", "--check", environment=loop.environment, folder=tmp_path).returncode == 0


def _kill_in_the_middle(loop: Loop, *, already_sent: int) -> None:
    """Kills the service while two requests to send wait for Bandwidth's response and callbacks are still to come."""
    loop.simulator.switch(request="slow")
    with ThreadPoolExecutor(2) as threads, Api(loop.api.url) as one, Api(loop.api.url) as other:
        told = threads.submit(one.send, ALICE, *INVALIDS, reference="told")
        silent = threads.submit(other.send, SILENT, reference="silent")
        wait_for(lambda: len(loop.simulator.messages()) == already_sent + 2, "Bandwidth to have both messages")
        loop.server.kill()
        for sending in (told, silent):
            assert isinstance(sending.exception(), requests.ConnectionError)
    assert not all(each["acknowledged"] for each in _callbacks(loop))


def _check_those_whose_answer_was_lost(loop: Loop) -> None:
    """Events show that one was accepted; the other remains unknown."""
    told, silent = (loop.api.get("/messages", reference=name)["messages"][0]["tag"] for name in ("told", "silent"))
    loop.simulator.settle(told)
    message = loop.api.message(told)
    assert (message["sendStatus"], message["complete"]) == ("accepted", True)
    assert [each["status"] for each in message["recipients"]] == ["delivered"] + ["failed"] * len(INVALIDS)
    message = loop.api.message(silent)
    assert message["sendStatus"] in ("submitting", "unknown")
    assert [each["status"] for each in message["recipients"]] == ["pending"]


def _callbacks(loop: Loop) -> list[Any]:
    return [callback for message in loop.simulator.messages() for callback in message["callbacks"]]


def _check_rows(loop: Loop) -> None:
    """Each event is stored once, counted between its acknowledgements and its attempts."""
    acknowledged: Counter[Identity] = Counter()
    attempted: Counter[Identity] = Counter()
    for callback in _callbacks(loop):
        for event in callback["events"]:
            identity = (event["message"]["id"], event["to"], event["type"], event.get("errorCode", 0))
            acknowledged[identity] += 1
            attempted[identity] += len(callback["attempts"])
    rows = loop.sql("SELECT message_id, recipient, type, coalesce(error_code, 0), deliveries, tag FROM support_events")
    assert sorted(row[:4] for row in rows) == sorted(acknowledged)
    for message_id, recipient, kind, code, deliveries, tag in rows:
        identity = (message_id, recipient, kind, code)
        assert tag is not None
        assert acknowledged[identity] <= deliveries <= attempted[identity]


def test_what_the_database_did_not_store_comes_again(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str
) -> None:
    with looping(tmp_path, database_url, "--day", "60") as loop:
        tag = loop.api.send(*GROUP).json()["tag"]
        with _silenced(database_url, request), ThreadPoolExecutor(1) as threads:
            sending = threads.submit(loop.api.send, BOB)
            statuses = wait_for(lambda: _refusals(loop), "a callback that was not stored")
            refused = sending.result()
        assert statuses == {503}
        assert (refused.status_code, "tag" in refused.json()) == (503, False)

        loop.simulator.settle(tag)

        assert {each["to"]: each["status"] for each in loop.api.message(tag)["recipients"]} == GROUP
        _check_rows(loop)
        assert [each["request"]["tag"] for each in loop.simulator.messages()] == [tag]
        assert faults(loop.server.output) == 0


def _refusals(loop: Loop) -> set[int]:
    attempts = [attempt for callback in _callbacks(loop) for attempt in callback["attempts"]]
    return {attempt["status"] for attempt in attempts if attempt["status"] != 200}


@contextmanager
def _silenced(database_url: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """A database that stores nothing."""
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
        return
    server: Server = request.getfixturevalue("postgres_server")
    name = urlsplit(database_url).path.removeprefix("/")
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    yield
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
