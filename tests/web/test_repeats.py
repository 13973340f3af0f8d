"""What a repeat with the same Idempotency-Key is told, and does, by what became of the message meanwhile."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event
from werkzeug.test import TestResponse

from receiver.core import times
from receiver.core.messages import Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.lookup import message_tagged
from receiver.maintenance.resolve import resolve
from receiver.messages import outbox, queue
from tests.support.builders import ACCEPTED, ALICE, BOB, MESSAGE_ID, make_element
from tests.support.lost_commits import HAS_RESULT, IS_QUEUED, IS_SUBMITTING, losing_commit
from tests.support.processes import wait_for
from tests.support.service import LATER, ONCE, BusyGateway, Service, is_problem, wrong_fields
from tests.web.test_send import BUSY, INTERNAL, NO_CONNECTION, NOT_VALID, UNKNOWNS

CREDENTIALS = Refused(because=RefusedBecause.BANDWIDTH, type="credentials", description="Check them.")
DENIED = [
    *(Refused(because=RefusedBecause.BANDWIDTH, status=status, type="t", description="d") for status in (401, 403)),
    Refused(because=RefusedBecause.BANDWIDTH, status=404),
]
NOT_SENT_AND_MAY_PASS = [BUSY, NO_CONNECTION, INTERNAL, CREDENTIALS, *DENIED]
SENT_AGAIN = pytest.mark.parametrize(
    ("refusal", "follows"),
    [*((each, ACCEPTED) for each in NOT_SENT_AND_MAY_PASS), *((BUSY, each) for each in (NOT_VALID, Unknown(), BUSY))],
    ids=lambda result: f"{type(result).__name__} {getattr(result, 'status', '')}",
)
"""Every refusal that a repeat sends again, and every result that may follow."""

FINAL = [NOT_VALID, *(Refused(because=RefusedBecause.BANDWIDTH, status=status) for status in (402, 409, 415))]


def problem(answer: TestResponse) -> Any:
    return json.loads(answer.text)


def row(service: Service, tag: str) -> Any:
    """The message's row."""
    with service.database.read() as session:
        return message_tagged(session, tag)


@pytest.mark.parametrize("refusal", FINAL, ids=lambda refusal: str(refusal.status))
def test_what_bandwidth_refused_for_good_is_the_same_error_again(service: Service, refusal: Refused) -> None:
    service.gateway.answer = refusal
    first = service.send(headers=ONCE)
    service.gateway.answer = ACCEPTED

    for prefer in ({}, LATER):
        repeat = service.send(headers=ONCE | prefer)
        assert (repeat.status_code, repeat.text) == (first.status_code, first.text)

    assert first.status_code == (422 if refusal is NOT_VALID else 502)
    assert bool(problem(first).get("errors")) == (refusal is NOT_VALID)
    assert len(service.gateway.sent) == 1


@pytest.mark.parametrize("unknown", [UNKNOWNS[0], UNKNOWNS[-2]], ids=["no answer", "503"])
def test_what_may_have_been_sent_is_never_sent_again(service: Service, unknown: Unknown) -> None:
    service.gateway.answer = unknown
    first = service.send(headers=ONCE)

    for prefer in ({}, LATER):
        repeat = service.send(headers=ONCE | prefer)
        assert is_problem(repeat, 504)
        assert problem(repeat) == problem(first)

    assert problem(first)["sendStatus"] == "unknown"
    assert len(service.gateway.sent) == 1


def test_while_the_first_is_in_progress_a_repeat_must_be_tried_again(database_url: str) -> None:
    gateway = BusyGateway()
    repeats: list[TestResponse] = []
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: repeats.extend(service.send(headers=ONCE | each) for each in ({}, LATER))

        tag = service.send(headers=ONCE).get_json()["tag"]

        assert len(repeats) == 2
        for repeat in repeats:
            assert is_problem(repeat, 409)
            assert (problem(repeat)["tag"], problem(repeat)["sendStatus"]) == (tag, "submitting")
            assert int(repeat.headers["Retry-After"]) > 0
        assert service.send(headers=ONCE).status_code == 202
    assert len(gateway.sent) == 1


def test_a_first_request_that_never_ended_is_unknown_once_its_time_is_over(database_url: str) -> None:
    gateway = BusyGateway(late_in=database_url)
    repeats: list[TestResponse] = []
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: repeats.append(service.send(headers=ONCE))

        assert service.send(headers=ONCE).status_code == 202

    assert is_problem(repeats[0], 504)
    assert (problem(repeats[0])["tag"], problem(repeats[0])["sendStatus"]) == (gateway.sent[0][1], "unknown")
    assert len(gateway.sent) == 1


@pytest.mark.parametrize("answer", [BUSY, NOT_VALID, Unknown(), NO_CONNECTION])
def test_an_event_that_proved_it_sent_meanwhile_makes_the_repeat_a_success(
    service: Service, answer: SendResult
) -> None:
    service.gateway.answer = answer
    tag = problem(service.send(headers=ONCE))["tag"]
    service.callback(make_element("sending", ALICE, tag=tag))

    repeat = service.send(headers=ONCE)

    assert repeat.status_code == 202
    assert (repeat.get_json()["tag"], repeat.get_json()["sendStatus"]) == (tag, "accepted")
    assert len(service.gateway.sent) == 1


@SENT_AGAIN
def test_what_is_known_not_to_have_been_sent_is_sent_again_with_its_tag(
    service: Service, refusal: Refused, follows: SendResult
) -> None:
    service.gateway.answer = refusal
    tag = problem(service.send(headers=ONCE, to=[BOB, ALICE]))["tag"]
    service.gateway.answer = follows

    repeat = service.send(headers=ONCE, to=[BOB, ALICE])

    assert problem(repeat)["tag"] == tag
    (first, first_tag), (second, second_tag) = service.gateway.sent
    assert (first, first_tag) == (second, second_tag)
    assert first_tag == tag
    shown = service.message(tag)
    expected: dict[Any, tuple[int, str, str]] = {
        ACCEPTED: (202, "accepted", "pending"),
        NOT_VALID: (422, "refused", "not_sent"),
        Unknown(): (504, "unknown", "pending"),
        BUSY: (429, "refused", "not_sent"),
    }
    assert (repeat.status_code, shown["sendStatus"], shown["recipients"][0]["status"]) == expected[follows]
    if follows == ACCEPTED:
        assert (shown["error"], shown["refusedBecause"], shown["messageId"]) == (None, None, MESSAGE_ID)
        assert service.send(headers=ONCE, to=[BOB, ALICE]).status_code == 202
        assert len(service.gateway.sent) == 2


@pytest.mark.parametrize("refusal", NOT_SENT_AND_MAY_PASS, ids=lambda refusal: str(refusal.status))
def test_or_queued_again_with_its_tag(service: Service, refusal: Refused) -> None:
    service.gateway.answer = refusal
    tag = problem(service.send(headers=ONCE))["tag"]

    repeats = [service.send(headers=ONCE | LATER) for _ in range(2)] + [service.send(headers=ONCE)]

    for repeat in repeats:
        shown = repeat.get_json()
        assert (repeat.status_code, shown["tag"], shown["sendStatus"]) == (202, tag, "queued")
        assert (shown["error"], shown["refusedBecause"], shown["complete"]) == (None, None, False)
        assert shown["recipients"][0]["status"] == "pending"
    assert repeats[0].headers["Preference-Applied"] == "respond-async"
    assert "Preference-Applied" not in repeats[2].headers
    assert len(service.gateway.sent) == 1


def test_what_was_queued_is_not_sent_at_once_by_its_repeat(service: Service) -> None:
    first = service.send(headers=ONCE | LATER).get_json()

    assert service.send(headers=ONCE).get_json() == first
    assert first["sendStatus"] == "queued"
    assert service.gateway.sent == []


def test_what_was_cancelled_stays_cancelled(service: Service) -> None:
    tag = service.send(headers=ONCE | LATER).get_json()["tag"]
    service.call("DELETE", f"/messages/{tag}")

    for prefer in ({}, LATER):
        repeat = service.send(headers=ONCE | prefer)
        assert is_problem(repeat, 409)
        assert (problem(repeat)["tag"], problem(repeat)["sendStatus"]) == (tag, "refused")
    assert service.gateway.sent == []


def test_what_a_person_has_decided_stays_decided(service: Service) -> None:
    service.gateway.answer = Unknown()
    tags = {key: problem(service.send(headers={"Idempotency-Key": key}))["tag"] for key in ("accepted", "refused")}
    for status, tag in tags.items():
        resolve(service.database, tag, SendStatus(status), reason="Bandwidth's support said so.", by="ann")

    for prefer in ({}, LATER):
        accepted, refused = (service.send(headers={"Idempotency-Key": key} | prefer) for key in tags)
        assert (accepted.status_code, accepted.get_json()["sendStatus"]) == (202, "accepted")
        assert is_problem(refused, 409)
        assert (problem(refused)["tag"], problem(refused)["sendStatus"]) == (tags["refused"], "refused")
    assert len(service.gateway.sent) == 2


def test_an_expiration_that_has_passed_meanwhile_is_no_mistake_of_the_repeat(service: Service) -> None:
    soon = times.rfc3339(times.now() + timedelta(seconds=3))
    sent = service.send(headers=ONCE, expiration=soon)
    service.gateway.answer = BUSY
    refused = service.send(headers={"Idempotency-Key": "2"}, expiration=soon)
    queued = service.send(headers={"Idempotency-Key": "3"} | LATER, expiration=soon)
    wait_for(lambda: times.rfc3339(times.now()) > soon, "the expiration")

    assert service.send(headers=ONCE, expiration=soon).get_json() == sent.get_json()
    assert service.send(headers={"Idempotency-Key": "3"}, expiration=soon).get_json() == queued.get_json()
    assert len(service.gateway.sent) == 2
    late = [service.send(headers={"Idempotency-Key": "2"}, expiration=soon) for _ in range(2)]
    for each in late:
        assert wrong_fields(each) == ["expiration"]
        assert (problem(each)["tag"], problem(each)["sendStatus"]) == (problem(refused)["tag"], "refused")
    assert late[0].text == late[1].text
    assert service.message(problem(refused)["tag"])["refusedBecause"] == "expired"
    assert len(service.gateway.sent) == 2


# --- between two steps -----------------------------------------------------------------------------------------------


def test_another_attempt_is_not_begun_on_what_was_queued_and_cancelled_meanwhile(service: Service) -> None:
    """Both leave the attempt as it was; what the slower of two repeats has read of the message is out of date."""
    service.gateway.answer = BUSY
    tag = problem(service.send(headers=ONCE))["tag"]
    read = row(service, tag)
    service.send(headers=ONCE | LATER)
    assert service.call("DELETE", f"/messages/{tag}").status_code == 200

    begun = service.database.write(lambda session: outbox.retry_refused(session, read, None, now=times.now()))

    assert not begun
    assert service.message(tag)["refusedBecause"] == "cancelled"


def test_if_it_is_not_heard_that_the_message_was_stored_its_repeat_sends_it(service: Service) -> None:
    """Nobody has called Bandwidth, so nobody has to wonder for ever whether it was sent."""
    with losing_commit(service.database, IS_SUBMITTING):
        assert is_problem(service.send(headers=ONCE), 503)

    assert service.gateway.sent == []
    (stored,) = service.get("/messages")["messages"]
    assert (stored["sendStatus"], stored["refusedBecause"]) == ("refused", "unreachable")
    assert service.send(headers=ONCE).get_json()["tag"] == stored["tag"]
    assert [tag for _, tag in service.gateway.sent] == [stored["tag"]]


def test_nor_if_it_is_not_heard_that_another_attempt_was_begun(service: Service) -> None:
    service.gateway.answer = BUSY
    tag = problem(service.send(headers=ONCE))["tag"]
    service.gateway.answer = ACCEPTED

    with losing_commit(service.database, IS_SUBMITTING):
        assert is_problem(service.send(headers=ONCE), 503)

    assert service.message(tag)["sendStatus"] == "refused"
    assert service.send(headers=ONCE).get_json()["sendStatus"] == "accepted"
    assert [each for _, each in service.gateway.sent] == [tag, tag]


def test_if_it_is_not_heard_that_it_was_queued_the_repeat_finds_it(service: Service) -> None:
    with losing_commit(service.database, IS_QUEUED):
        assert is_problem(service.send(headers=ONCE | LATER), 503)

    assert service.send(headers=ONCE | LATER).get_json()["sendStatus"] == "queued"
    assert len(service.get("/messages")["messages"]) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [(ACCEPTED, 202), (BUSY, 429), (NOT_VALID, 422), (Unknown(), 504)],
    ids=lambda value: str(value)[:9],
)
def test_if_it_is_not_heard_that_the_answer_was_stored_it_is_stored_again(
    service: Service, answer: SendResult, status: int
) -> None:
    service.gateway.answer = answer

    with losing_commit(service.database, HAS_RESULT):
        assert service.send(headers=ONCE).status_code == status

    assert len(service.gateway.sent) == 1


def test_an_answer_that_is_stored_twice_does_not_refuse_what_was_queued_between(service: Service) -> None:
    service.gateway.answer = BUSY
    tag = problem(service.send(headers=ONCE))["tag"]
    pk = row(service, tag).pk
    service.send(headers=ONCE | LATER)

    service.database.write(lambda session: outbox.record_result(session, pk, number=1, result=BUSY, now=times.now()))

    shown = service.message(tag)
    assert (shown["sendStatus"], shown["error"]) == ("queued", None)


def test_a_worker_that_does_not_hear_that_it_put_a_message_back_does_not_refuse_it(service: Service) -> None:
    tag = service.send(headers=LATER).get_json()["tag"]
    now = times.now()
    attempt = service.app.extensions["receiver"].sender.caller.attempt(now, number=1)
    lease = timedelta(seconds=30)
    (claimed,) = service.database.write(lambda session: queue.claim(session, now=now, lease=lease, limit=9))
    assert service.database.write(lambda session: queue.submit(session, claimed, attempt))

    def put_back(session: Any) -> None:
        if not queue.requeue_after_failure(
            session, claimed, BUSY, failures=0, claimable_at=now, denied_at=None, now=now
        ):
            outbox.record_result(session, claimed.pk, number=claimed.attempts + 1, result=BUSY, now=now)

    for _ in range(2):
        service.database.write(put_back)

    assert service.message(tag)["sendStatus"] == "queued"


def test_a_queued_message_is_answered_without_asking_the_database_again(
    service: Service,
) -> None:
    """Once it is committed nothing may fail any more: a 503 would make the caller send it again."""
    begun: list[Connection] = []
    event.listen(service.database.engine, "begin", begun.append)

    assert service.send(headers=LATER).status_code == 202
    assert len(begun) == 1
