"""What callers hear when the wait of a commit for the standby was cancelled, on a real server: never a 2xx."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from receiver.database import schema
from receiver.database.database import Database
from receiver.errors import StorageUnavailable
from receiver.messages.files import FileReport
from tests.messages.test_files import lunch, queue
from tests.support.builders import ALICE, make_element
from tests.support.service import LATER, ONCE, BusyGateway, Headers, Service, is_problem, wrong_fields
from tests.support.standby import Primary
from tests.web.test_send import BUSY

SECONDS = 12
"""More than the first and the second commit of a send may take together."""


@pytest.fixture(scope="module")
def server() -> Iterator[Primary]:
    with Primary(fsync=False) as primary:
        schema.upgrade(primary.create_database("template"))
        yield primary


@pytest.fixture
def url(server: Primary) -> Iterator[str]:
    yield server.create_database("called", "template")
    server.find_standby()
    server.drop_database("called")


@pytest.fixture
def called(url: str) -> Iterator[Service]:
    with Service(url, BusyGateway()) as service:
        yield service


def repeats(service: Service) -> list[int]:
    with service.database.read() as session:
        return list(session.connection().exec_driver_sql("SELECT repeats FROM idempotency_keys").scalars())


def test_a_callback_is_answered_503_until_a_commit_of_its_own_is_confirmed(server: Primary, called: Service) -> None:
    tag = called.send().get_json()["tag"]
    element = make_element("delivered", ALICE, tag=tag)
    server.lose_standby()
    with server.cancelling():
        for _ in range(2):
            assert is_problem(called.callback(element), 503)
    server.find_standby()

    assert called.callback(element).status_code == 200
    [event] = called.events(tag)
    assert event["deliveries"] == 3


@pytest.mark.parametrize("headers", [{}, ONCE], ids=["without a key", "with a key"])
def test_a_message_whose_first_commit_is_not_confirmed_is_not_sent(
    server: Primary, called: Service, headers: Headers
) -> None:
    server.lose_standby()
    with server.cancelling(most=1):
        assert is_problem(called.send(headers=headers), 503)

    assert called.gateway.sent == []
    [stored] = called.get("/messages")["messages"]
    assert (stored["sendStatus"], stored["refusedBecause"]) == ("refused", "unreachable")
    assert called.send(headers=headers).status_code == 202
    assert len(called.gateway.sent) == 1


def test_an_answer_whose_commit_is_not_confirmed_is_stored_again(server: Primary, called: Service) -> None:
    with ExitStack() as stack:

        def lose(_tag: str) -> None:
            server.lose_standby()
            stack.enter_context(server.cancelling(most=1))

        called.gateway.meanwhile = lose
        answer = called.send(headers=ONCE)

    assert (answer.status_code, answer.get_json()["sendStatus"]) == (202, "accepted")
    assert len(called.gateway.sent) == 1


def test_an_answer_that_no_commit_confirms_is_unknown_and_bandwidth_is_called_once(
    server: Primary, called: Service
) -> None:
    called.gateway.meanwhile = lambda _tag: server.lose_standby()
    begun = time.monotonic()
    with server.cancelling():
        answer = called.send(headers=ONCE)
        assert time.monotonic() - begun < SECONDS
        assert is_problem(answer, 504)
        assert json.loads(answer.text)["sendStatus"] == "unknown"
        assert is_problem(called.send(headers=ONCE), 503)
    server.find_standby()

    repeat = called.send(headers=ONCE)  # which may tell what was stored, now that a commit has proved it
    assert (repeat.status_code, repeat.get_json()["sendStatus"]) == (202, "accepted")
    assert len(called.gateway.sent) == 1


@pytest.mark.parametrize("first", [{}, LATER], ids=["sent at once", "queued"])
def test_a_repeat_is_answered_only_after_a_commit_of_its_own(server: Primary, called: Service, first: Headers) -> None:
    shown = called.send(headers=ONCE | first).get_json()
    assert repeats(called) == [0]
    server.lose_standby()
    with server.cancelling():
        for prefer in ({}, LATER):
            assert is_problem(called.send(headers=ONCE | prefer), 503)
    server.find_standby()

    assert [called.send(headers=ONCE | prefer).get_json() for prefer in ({}, LATER)] == [shown, shown]
    assert repeats(called) == [4]
    assert len(called.gateway.sent) == (0 if first else 1)


def test_a_message_that_was_queued_again_by_a_commit_in_doubt_is_not_answered_202(
    server: Primary, called: Service
) -> None:
    called.gateway.answer = BUSY
    tag = json.loads(called.send(headers=ONCE).text)["tag"]
    server.lose_standby()
    with server.cancelling():
        for _ in range(2):
            assert is_problem(called.send(headers=ONCE | LATER), 503)
    server.find_standby()

    assert called.send(headers=ONCE | LATER).get_json()["sendStatus"] == "queued"
    assert called.message(tag)["sendStatus"] == "queued"


def test_a_second_withdrawal_is_answered_only_after_a_commit_of_its_own(server: Primary, url: str) -> None:
    """Also by another process, which knows nothing of the first one's doubts."""
    with Service(url) as one, Service(url) as other:
        tag = one.send(headers=LATER).get_json()["tag"]
        server.lose_standby()
        with server.cancelling():
            for service in (one, other):
                assert is_problem(service.call("DELETE", f"/messages/{tag}"), 503)
        server.find_standby()

        answer = other.call("DELETE", f"/messages/{tag}")

        assert (answer.status_code, answer.get_json()["refusedBecause"]) == (200, "cancelled")


def test_a_file_that_is_all_known_is_a_success_only_after_a_commit_of_its_own(server: Primary, url: str) -> None:
    def again() -> FileReport:
        with Database(url) as another_process:
            return queue(another_process, lunch(), lunch(text="Dinner"))

    assert again().queued == 2
    server.lose_standby()
    with server.cancelling(), pytest.raises(StorageUnavailable):
        again()
    server.find_standby()

    outcome = again()
    assert (outcome.lines, outcome.queued, outcome.wrong) == (2, 0, 0)


def test_what_is_refused_waits_for_no_standby(server: Primary, called: Service) -> None:
    """Nobody cancels anything here, so what waits would be 503, after seven seconds."""
    tag = called.send(headers=ONCE).get_json()["tag"]
    server.lose_standby()

    assert wrong_fields(called.send(headers=ONCE, text="Dinner.")) == ["Idempotency-Key"]
    unknown: Any = called.call("DELETE", "/messages/01M803PMPZHK79K198H9DPFJ7A")
    assert is_problem(unknown, 404)
    assert is_problem(called.call("DELETE", f"/messages/{tag}"), 409)
