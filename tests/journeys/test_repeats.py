"""Idempotency-Key, Prefer and DELETE as callers meet them: through the server's own front, and in several processes."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.builders import ALICE, API_KEY, BOB
from tests.support.loop import Loop, select
from tests.support.processes import Api, Child, environment, serving, simulating, wait_for

BODY = json.dumps({"to": [ALICE, BOB], "text": "Lunch is at noon."}).encode()


def post(api: Api, *fields: str) -> tuple[int, dict[str, str], Any]:
    """Sends POST /messages with these header lines verbatim; returns status, headers and JSON of the response."""
    lines = ["Host: receiver", f"Authorization: Bearer {API_KEY}", f"Content-Length: {len(BODY)}", "Connection: close"]
    request = "\r\n".join(["POST /messages HTTP/1.1", *lines, *fields, "", ""]).encode() + BODY
    with closing(socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=30)) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            head = dict(line.decode().strip().lower().split(": ", 1) for line in iter(answer.readline, b"\r\n"))
            return status, head, json.loads(answer.read())


def test_a_request_that_is_repeated_is_sent_once(loop: Loop) -> None:
    first = post(loop.api, 'Idempotency-Key: "once"')
    again = post(loop.api, "idempotency-key:once")

    assert (first[0], again[0]) == (202, 202)
    tag = first[2]["tag"]
    assert again[2]["tag"] == tag
    assert len(loop.simulator.accepted(tag)) == 1
    other = loop.api.send(ALICE, headers={"Idempotency-Key": '"once"'})
    assert (other.status_code, list(other.json()["errors"])) == (422, ["Idempotency-Key"])


def test_two_keys_in_one_request_are_none_that_both_have(loop: Loop) -> None:
    """Whatever becomes of them, two requests that share one of them are not taken for one."""
    quoted = post(loop.api, 'Idempotency-Key: "a"', 'Idempotency-Key: "b"')
    assert (quoted[0], list(quoted[2]["errors"])) == (422, ["Idempotency-Key"])


@pytest.mark.parametrize(
    "fields",
    [
        ["Prefer: respond-async"],
        ["prefer: RESPOND-ASYNC;x=1, wait=5"],
        ["Prefer: wait=5", "Prefer: respond-async"],
        ["Prefer: respond-async", "Prefer: return=minimal"],
    ],
    ids=str,
)
def test_what_is_for_later_waits_until_it_is_withdrawn(loop: Loop, fields: list[str]) -> None:
    status, head, shown = post(loop.api, *fields)

    assert (status, shown["sendStatus"]) == (202, "queued")
    assert (head["preference-applied"], head["location"]) == ("respond-async", f"/messages/{shown['tag']}".lower())
    assert loop.api.get("/queue")["queued"] == 1
    assert 'receiver_messages{send_status="queued"} 1.0' in loop.api.call("GET", "/metrics").text
    assert loop.api.call("DELETE", f"/messages/{shown['tag']}").json()["refusedBecause"] == "cancelled"
    assert loop.api.get("/queue")["queued"] == 0
    assert loop.simulator.accepted(shown["tag"]) == []


def test_a_worker_sends_what_is_for_later_and_it_can_no_longer_be_withdrawn(loop: Loop) -> None:
    _, _, shown = post(loop.api, "Prefer: respond-async", "Idempotency-Key: for the worker")
    with Child("worker", environment=loop.environment, folder=loop.folder) as worker:
        worker.wait_until(lambda: loop.api.message(shown["tag"])["complete"], "the outcome of the queued message")
        assert worker.end() == 0

    repeat = post(loop.api, "Idempotency-Key: for the worker")
    assert (repeat[0], repeat[2]["tag"], repeat[2]["sendStatus"]) == (202, shown["tag"], "accepted")
    withdrawn = loop.api.call("DELETE", f"/messages/{shown['tag']}")
    assert (withdrawn.status_code, withdrawn.json()["sendStatus"]) == (409, "accepted")
    assert len(loop.simulator.accepted(shown["tag"])) == 1


def test_a_rate_holds_for_whoever_sends_at_once(tmp_path: Path, sqlite_url: str) -> None:
    with simulating(tmp_path) as simulator:
        settings = environment(sqlite_url, bandwidth_api_url=simulator.api_url, bandwidth_rate=0.1)
        with serving(tmp_path, settings) as (_, api):
            assert post(api)[0] == 202
            status, head, _ = post(api, "Idempotency-Key: too fast")
            assert (status, 10 <= int(head["retry-after"]) <= 20) == (429, True)
            assert len(simulator.messages()) == 1
    assert select(sqlite_url, "SELECT count(*) FROM messages") == [(1,)]


KEYS, REPEATS = 20, 10


def test_of_many_requests_with_one_key_to_two_servers_bandwidth_hears_of_one(tmp_path: Path, postgres_url: str) -> None:
    """Four processes and a worker; some of the requests are for later. Bandwidth is slow, so that the others come while
    the first is on its way."""
    random = Random(20261126)
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(tmp_path))
        simulator.switch(request="slow", slowSeconds=0.5)
        settings = environment(postgres_url, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=30.0)
        apis = [stack.enter_context(serving(tmp_path, settings, "--workers", "2"))[1] for _ in range(2)]
        stack.enter_context(Child("worker", environment=settings, folder=tmp_path))

        def repeat(key: int) -> tuple[int, str]:
            prefer = random.choice([[], [], ["Prefer: respond-async"]])
            status, _, answer = post(random.choice(apis), f"Idempotency-Key: {key}", *prefer)
            return status, answer["tag"]

        keys = list(range(KEYS)) * REPEATS
        random.shuffle(keys)
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(repeat, keys))
        assert {status for status, _ in answers} <= {202, 409}
        answered = {(key, tag) for key, (_, tag) in zip(keys, answers, strict=True)}
        wait_for(lambda: not select(postgres_url, NOT_ACCEPTED), "every message to be accepted")
        sent = [each["request"]["tag"] for each in simulator.messages()]
    assert len(answered) == KEYS
    assert sorted(sent) == sorted(tag for _, tag in answered)


NOT_ACCEPTED = "SELECT 1 FROM messages WHERE send_status <> 'accepted'"
