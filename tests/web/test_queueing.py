"""Prefer: respond-async on POST /messages leaves a message to the workers; DELETE withdraws it while it is queued."""

import json
from datetime import timedelta
from typing import Any

import pytest

from receiver.core import times
from receiver.core.messages import Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Session
from receiver.messages import queue
from receiver.messages.queue import Claimed
from tests.support.builders import ALICE, BOB, READ_ONLY_KEY, make_element
from tests.support.processes import environment, invoke
from tests.support.service import LATER, BusyGateway, Service, is_problem, refused, wrong_fields

LEASE = timedelta(seconds=30)


def queued(service: Service, **fields: Any) -> str:
    """The tag of a message that waits for a worker."""
    tag: str = service.send(headers=LATER, **fields).get_json()["tag"]
    return tag


def delete(service: Service, tag: str, **request: Any) -> Any:
    return service.call("DELETE", f"/messages/{tag}", **request)


def claim(service: Service) -> Claimed:
    """What a worker claims."""

    def work(session: Session) -> list[Claimed]:
        return queue.claim(session, now=times.now(), lease=LEASE, limit=1)

    [claimed] = service.database.write(work)
    return claimed


def submit(service: Service, claimed: Claimed) -> bool:
    """What that worker does next: whether the message is its own to send."""
    attempt = service.app.extensions["receiver"].sender.caller.attempt(times.now(), number=claimed.attempts + 1)
    return service.database.write(lambda session: queue.submit(session, claimed, attempt))


def test_a_message_for_later_is_answered_at_once_as_it_can_be_read(service: Service) -> None:
    answer = service.send(headers=LATER, to=[BOB, ALICE], priority="high", reference="lunch-1")

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    shown = answer.get_json()
    assert answer.headers["Location"] == f"/messages/{shown['tag']}"
    assert shown == service.get(answer.headers["Location"])
    assert (shown["sendStatus"], shown["submittedAt"], shown["refusedBecause"]) == ("queued", None, None)
    assert [each["status"] for each in shown["recipients"]] == ["pending", "pending"]
    assert (shown["complete"], shown["summary"]["overdue"]) == (False, 0)
    assert [each["tag"] for each in service.get("/messages?sendStatus=queued")["messages"]] == [shown["tag"]]
    assert service.gateway.sent == []


@pytest.mark.parametrize(
    "prefer",
    [
        "respond-async",
        "Respond-Async",
        "RESPOND-ASYNC",
        " respond-async ",
        "respond-async, wait=10",
        "wait=10, respond-async",
        "wait=10,respond-async,",
        ", respond-async",
        "respond-async; x=1",
        'respond-async ;x="a, b"',
        'respond-async=""',
        'respond-async = ""',
        'return=minimal; foo="some, thing", respond-async',
    ],
)
def test_the_preference_is_read_as_rfc_7240_writes_it(sqlite_service: Service, prefer: str) -> None:
    answer = sqlite_service.send(headers={"Prefer": prefer})

    assert (answer.get_json()["sendStatus"], answer.headers["Preference-Applied"]) == ("queued", "respond-async")


@pytest.mark.parametrize(
    "prefer",
    [
        "",
        "wait=10",
        "return=minimal",
        "respond-asynchronously",
        "respond async",
        "respond-async=0",
        "x; respond-async",
        'x="respond-async"',
        'x="a, respond-async, b"',
        'x=1; y="a, respond-async"',
    ],
)
def test_what_is_another_preference_sends_at_once(sqlite_service: Service, prefer: str) -> None:
    answer = sqlite_service.send(headers={"Prefer": prefer})

    assert answer.get_json()["sendStatus"] == "accepted"
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize("fields", [{"to": []}, {"more": 1}, {"expiration": "2020-01-01T00:00:00Z"}])
def test_a_wrong_message_is_reported_now_and_not_later(service: Service, fields: Any) -> None:
    answer = service.send(headers=LATER, **fields)

    assert wrong_fields(answer) == list(fields) == refused(service, **fields)
    assert "Preference-Applied" not in answer.headers
    assert service.get("/messages")["messages"] == []


def test_a_read_only_key_may_neither_queue_nor_withdraw(service: Service) -> None:
    tag = queued(service)

    assert is_problem(service.send(headers=LATER, key=READ_ONLY_KEY), 403)
    assert is_problem(delete(service, tag, key=READ_ONLY_KEY), 403)
    assert is_problem(delete(service, tag, key=None), 401)
    assert service.message(tag)["sendStatus"] == "queued"


def test_a_queued_message_is_withdrawn_and_never_sent(service: Service) -> None:
    tag = queued(service, to=[ALICE, BOB])

    answer = delete(service, tag)

    assert answer.status_code == 200
    shown = answer.get_json()
    assert shown == service.message(tag)
    assert (shown["sendStatus"], shown["refusedBecause"], shown["complete"]) == ("refused", "cancelled", True)
    assert [each["status"] for each in shown["recipients"]] == ["not_sent", "not_sent"]
    assert (shown["error"], shown["submittedAt"]) == (None, None)
    assert service.database.write(lambda session: queue.claim(session, now=times.now(), lease=LEASE, limit=9)) == []


def test_to_withdraw_it_again_is_the_same(service: Service) -> None:
    tag = queued(service)

    first, second = delete(service, tag), delete(service, tag)

    assert (second.status_code, second.get_json()) == (200, first.get_json())


def test_of_a_worker_and_somebody_who_withdraws_the_message_the_first_wins(service: Service) -> None:
    queued(service)
    claimed = claim(service)
    assert delete(service, claimed.tag).status_code == 200
    assert not submit(service, claimed)
    assert service.message(claimed.tag)["refusedBecause"] == "cancelled"

    queued(service)
    claimed = claim(service)
    assert submit(service, claimed)
    answer = delete(service, claimed.tag)
    assert is_problem(answer, 409)
    assert (json.loads(answer.text)["tag"], json.loads(answer.text)["sendStatus"]) == (claimed.tag, "submitting")
    assert service.message(claimed.tag)["sendStatus"] == "submitting"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (None, "accepted"),
        (Unknown(), "unknown"),
        (Refused(because=RefusedBecause.BANDWIDTH, status=400), "refused"),
        (Refused(because=RefusedBecause.RATE_LIMITED, status=429), "refused"),
    ],
    ids=["accepted", "unknown", "refused", "rate limited"],
)
def test_what_is_no_longer_queued_cannot_be_withdrawn(service: Service, answer: Any, status: str) -> None:
    service.gateway.answer = answer or service.gateway.answer
    tag = json.loads(service.send().text)["tag"]
    before = service.message(tag)

    withdrawn = delete(service, tag)

    assert is_problem(withdrawn, 409)
    assert (json.loads(withdrawn.text)["tag"], json.loads(withdrawn.text)["sendStatus"]) == (tag, status)
    assert service.message(tag) == before


@pytest.mark.parametrize(("is_late", "status"), [(False, "submitting"), (True, "unknown")])
def test_what_is_being_sent_cannot_be_withdrawn(database_url: str, status: str, *, is_late: bool) -> None:
    gateway = BusyGateway(late_in=database_url if is_late else None)
    answers: list[Any] = []
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: answers.append(delete(service, tag))
        assert service.send().status_code == 202

    assert is_problem(answers[0], 409)
    assert json.loads(answers[0].text)["sendStatus"] == status


def test_an_event_outweighs_what_was_withdrawn(service: Service) -> None:
    """Bandwidth cannot know a tag that was never sent; if it does, it is right."""
    tag = queued(service)
    delete(service, tag)

    service.callback(make_element("sending", ALICE, tag=tag))

    assert service.message(tag)["sendStatus"] == "accepted"
    assert is_problem(delete(service, tag), 409)


@pytest.mark.parametrize("tag", ["01M803PMPZHK79K198H9DPFJ7A", "x", "%00", "a" * 300])
def test_what_was_never_stored_cannot_be_withdrawn(service: Service, tag: str) -> None:
    assert is_problem(delete(service, tag), 404)


def test_the_command_withdraws_as_the_api_does(service: Service) -> None:
    settings = environment(service.database_url)
    tag, sent = queued(service), service.send().get_json()["tag"]

    for _ in range(2):
        done = invoke("cancel", tag, environment=settings)
        assert (done.exit_code, "cancelled" in done.output) == (0, True), done.output
    assert service.message(tag)["refusedBecause"] == "cancelled"
    too_late = invoke("cancel", sent, environment=settings)
    assert (too_late.exit_code, "accepted" in too_late.output) == (1, True)
    assert invoke("cancel", "01M803PMPZHK79K198H9DPFJ7A", environment=settings).exit_code == 1
    assert service.message(sent)["sendStatus"] == "accepted"
