"""Idempotency-Replayed: whether an answer is news, or what an earlier request with the same key led to."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

from receiver.core.messages import SendResult, Unknown
from receiver.core.send_status import SendStatus
from receiver.maintenance.resolve import resolve
from tests.support.builders import ACCEPTED, ALICE, BOB, CAROL, make_element
from tests.support.service import LATER, ONCE, BusyGateway, Headers, Service
from tests.web.test_repeats import FINAL, SENT_AGAIN, problem
from tests.web.test_send import BUSY

PREFERENCES = pytest.mark.parametrize("prefer", [{}, LATER], ids=["at once", "later"])


def is_replayed(answer: TestResponse) -> bool:
    assert answer.headers.get("Idempotency-Replayed") in (None, "true")
    return "Idempotency-Replayed" in answer.headers


@pytest.mark.parametrize("answer", [ACCEPTED, *FINAL, Unknown()], ids=str)
@PREFERENCES
def test_a_repeat_that_sends_nothing_says_so_whatever_its_answer_is(
    service: Service, answer: SendResult, prefer: Headers
) -> None:
    service.gateway.answer = answer
    first = service.send(headers=ONCE)
    repeats = [service.send(headers=ONCE | prefer) for _ in range(2)]

    assert not is_replayed(first)
    assert [(each.status_code, each.text, is_replayed(each)) for each in repeats] == [
        (first.status_code, first.text, True)
    ] * 2


@PREFERENCES
def test_what_is_queued_and_what_was_cancelled_is_replayed(service: Service, prefer: Headers) -> None:
    first = service.send(headers=ONCE | LATER)
    queued = service.send(headers=ONCE | prefer)
    service.call("DELETE", f"/messages/{first.get_json()['tag']}")
    cancelled = service.send(headers=ONCE | prefer)

    assert [each.status_code for each in (first, queued, cancelled)] == [202, 202, 409]
    assert [is_replayed(each) for each in (first, queued, cancelled)] == [False, True, True]


@PREFERENCES
@pytest.mark.parametrize("status", [SendStatus.ACCEPTED, SendStatus.REFUSED])
def test_what_a_person_has_decided_is_replayed(service: Service, status: SendStatus, prefer: Headers) -> None:
    service.gateway.answer = Unknown()
    tag = problem(service.send(headers=ONCE))["tag"]
    resolve(service.database, tag, status, reason="Bandwidth's support said so.", by="ann")

    assert is_replayed(service.send(headers=ONCE | prefer))


def test_what_an_event_proved_meanwhile_is_replayed(service: Service) -> None:
    service.gateway.answer = BUSY
    tag = problem(service.send(headers=ONCE))["tag"]
    service.callback(make_element("sending", ALICE, tag=tag))

    repeat = service.send(headers=ONCE)

    assert (repeat.status_code, is_replayed(repeat)) == (202, True)


def test_a_repeat_that_comes_while_the_first_is_answered_is_replayed(database_url: str) -> None:
    gateway = BusyGateway()
    repeats: list[TestResponse] = []
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda _: repeats.extend(service.send(headers=ONCE | each) for each in ({}, LATER))
        service.send(headers=ONCE)

    assert [(each.status_code, is_replayed(each)) for each in repeats] == [(409, True)] * 2


@SENT_AGAIN
def test_a_repeat_that_is_sent_again_is_answered_afresh(
    service: Service, refusal: SendResult, follows: SendResult
) -> None:
    service.gateway.answer = refusal
    service.send(headers=ONCE)
    service.gateway.answer = follows

    assert not is_replayed(service.send(headers=ONCE))
    assert len(service.gateway.sent) == 2


def test_a_repeat_that_is_queued_again_is_answered_afresh_and_its_own_repeat_is_not(service: Service) -> None:
    service.gateway.answer = BUSY
    service.send(headers=ONCE)

    assert [is_replayed(service.send(headers=ONCE | LATER)) for _ in range(2)] == [False, True]


def test_a_repeat_that_has_no_turn_is_replayed(database_url: str) -> None:
    with Service(database_url, bandwidth_rate=0.1) as service:
        service.gateway.answer = BUSY
        group: dict[str, Any] = {"headers": ONCE, "to": [ALICE, BOB, CAROL]}
        first = service.send(**group)

        repeat = service.send(**group)

    assert (repeat.status_code, json.loads(repeat.text)) == (429, json.loads(first.text))
    assert (is_replayed(first), is_replayed(repeat)) == (False, True)
    assert len(service.gateway.sent) == 1


@PREFERENCES
def test_of_twenty_requests_with_one_key_at_the_same_moment_one_is_answered_afresh(
    service: Service, prefer: Headers
) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: service.send(headers=ONCE | prefer), range(20)))

    assert sorted(map(is_replayed, answers)) == [False] + [True] * 19


def test_without_a_key_or_with_another_body_or_key_nothing_is_replayed(service: Service) -> None:
    answers = [
        service.send(headers=ONCE),
        service.send(),
        service.send(headers={"Idempotency-Key": "twice"}),
        service.send(headers=ONCE, text="Dinner is at eight."),
        service.send(headers=ONCE, to=[]),
        service.post_message("{", headers=ONCE),
    ]

    assert [each.status_code for each in answers] == [202, 202, 202, 422, 422, 400]
    assert not any(map(is_replayed, answers))


def test_every_answer_that_may_be_replayed_describes_the_header(shared_service: Service) -> None:
    described = shared_service.get("/openapi.json")["paths"]["/messages"]["post"]["responses"]

    assert {status for status, each in described.items() if "Idempotency-Replayed" in each.get("headers", {})} == {
        *("202", "409", "422", "429", "502", "503", "504")
    }
