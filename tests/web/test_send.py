"""What becomes of POST /messages: every answer that Bandwidth can give, and everything that can come between."""

import contextlib
import json
import time
from typing import Any

import pytest

from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from receiver.database.lookup import message_tagged
from tests.support.builders import ALICE, BOB, MESSAGE_ID, make_element
from tests.support.service import OUTAGES, BusyGateway, Service, is_problem, outage

BANDWIDTH, RATE_LIMITED, UNREACHABLE = (
    RefusedBecause.BANDWIDTH,
    RefusedBecause.RATE_LIMITED,
    RefusedBecause.UNREACHABLE,
)
BUSY = Refused(because=RATE_LIMITED, status=429, type="max-message-queue-size-exceeded", description="Queue is full.")
NOT_VALID = Refused(
    because=BANDWIDTH,
    status=400,
    type="request-validation",
    description="Your request could not be accepted",
    field_errors=(
        ("from", "'from' must contain exactly one telephone number"),
        ("text", "'text' is required unless media is included"),
        ("to", "'+invalid' must be replaced"),
        ("to", "and so must this"),
    ),
)
INTERNAL = Refused(because=BANDWIDTH, status=500, type="internal-server-error", description="No further information.")
NO_CONNECTION = Refused(because=UNREACHABLE, description="The connection was refused.")

REFUSALS = [
    (NOT_VALID, 422),
    (Refused(because=BANDWIDTH, status=400, type="request-validation", description="Not accepted"), 422),
    (BUSY, 429),
    (INTERNAL, 503),
    *((Refused(because=BANDWIDTH, status=status, type="t", description="d"), 502) for status in (401, 402, 403, 404)),
    *((Refused(because=BANDWIDTH, status=status), 502) for status in (405, 406, 409, 415, 422, 451, 499)),
    (NO_CONNECTION, 503),
    (Refused(because=UNREACHABLE), 503),
]
UNKNOWNS = [
    Unknown(),
    Unknown(description="The connection was dropped after the request was written."),
    *(Unknown(status=status, type="t", description="d") for status in (100, 200, 201, 302, 500, 502, 503, 504)),
]


@pytest.mark.parametrize("message_id", [MESSAGE_ID, None])
def test_an_accepted_message_is_answered_as_it_can_be_read(service: Service, message_id: str | None) -> None:
    service.gateway.answer = Accepted(message_id=message_id, segment_count=2 if message_id else None)

    answer = service.send(to=[BOB, ALICE])

    assert answer.status_code == 202
    assert answer.mimetype == "application/json"
    [(sent, tag)] = service.gateway.sent
    assert sent.to == (BOB, ALICE)
    assert answer.headers["Location"] == f"/messages/{tag}"
    shown = answer.get_json()
    assert shown == service.get(answer.headers["Location"])
    assert (shown["tag"], shown["sendStatus"], shown["refusedBecause"]) == (tag, "accepted", None)
    assert (shown["messageId"], shown["messageIds"]) == (message_id, [message_id] if message_id else [])
    assert (shown["segmentCount"], shown["error"]) == (2 if message_id else None, None)
    assert shown["summary"] == {
        **dict.fromkeys(["sending", "sent", "unconfirmed", "delivered", "failed", "not_sent", "overdue"], 0),
        "total": 2,
        "pending": 2,
    }


def test_an_answer_without_an_id_learns_it_from_the_first_event(service: Service) -> None:
    service.gateway.answer = Accepted()
    tag = service.send().get_json()["tag"]

    service.callback(make_element("sending", ALICE, tag=tag))
    service.callback(make_element("delivered", ALICE))

    shown = service.message(tag)
    assert (shown["messageId"], shown["recipients"][0]["status"]) == (MESSAGE_ID, "delivered")


@pytest.mark.parametrize(("refusal", "status"), REFUSALS, ids=lambda value: str(value)[:70])
def test_a_refusal_is_a_problem_and_nobody_was_sent_anything(service: Service, refusal: Refused, status: int) -> None:
    service.gateway.answer = refusal

    answer = service.send(to=[ALICE, BOB])

    assert is_problem(answer, status)
    problem = json.loads(answer.text)
    assert problem["sendStatus"] == "refused"
    assert "Location" not in answer.headers
    assert ("Retry-After" in answer.headers) or status != 429
    shown = service.message(problem["tag"])
    assert (shown["sendStatus"], shown["refusedBecause"]) == ("refused", refusal.because)
    said = {"status": refusal.status, "type": refusal.type, "description": refusal.description}
    fields = [{"fieldName": name, "description": words} for name, words in refusal.field_errors]
    assert shown["error"] == (said | {"fieldErrors": fields} if any(said.values()) else None)
    assert [each["status"] for each in shown["recipients"]] == ["not_sent", "not_sent"]
    assert (shown["complete"], shown["summary"]["not_sent"], shown["messageId"]) == (True, 2, None)


@pytest.mark.parametrize("unknown", UNKNOWNS, ids=lambda value: str(value)[:70])
def test_an_unknown_outcome_is_a_gateway_time_out_and_stays_open(service: Service, unknown: Unknown) -> None:
    service.gateway.answer = unknown

    answer = service.send()

    assert is_problem(answer, 504)
    problem = json.loads(answer.text)
    assert problem["sendStatus"] == "unknown"
    shown = service.message(problem["tag"])
    assert (shown["sendStatus"], shown["refusedBecause"], shown["complete"]) == ("unknown", None, False)
    said = {"status": unknown.status, "type": unknown.type, "description": unknown.description}
    assert shown["error"] == (said | {"fieldErrors": []} if any(said.values()) else None)
    assert service.statuses(problem["tag"]) == {ALICE: "pending"}
    assert len(service.gateway.sent) == 1


def test_bandwidths_field_errors_are_shown_under_our_fields(sqlite_service: Service) -> None:
    sqlite_service.gateway.answer = NOT_VALID

    assert json.loads(sqlite_service.send().text)["errors"] == {
        "from": ["'from' must contain exactly one telephone number"],
        "text": ["'text' is required unless media is included"],
        "to": ["'+invalid' must be replaced", "and so must this"],
    }


@pytest.mark.parametrize(("asked", "told"), [(None, None), (0, "0"), (1, "1"), (300, "300"), (86_400, "86400")])
def test_a_full_queue_says_when_to_come_back(sqlite_service: Service, asked: int | None, told: str | None) -> None:
    sqlite_service.gateway.answer = Refused(because=RATE_LIMITED, status=429, retry_after=asked)

    retry_after = sqlite_service.send().headers["Retry-After"]

    assert retry_after == told if told else int(retry_after) > 0


def test_a_refused_message_is_not_sent_again_by_asking_for_it(sqlite_service: Service) -> None:
    sqlite_service.gateway.answer = BUSY
    tag = json.loads(sqlite_service.send().text)["tag"]
    sqlite_service.gateway.answer = Accepted(message_id=MESSAGE_ID)

    again = sqlite_service.send().get_json()["tag"]

    assert again > tag
    assert sqlite_service.message(tag)["sendStatus"] == "refused"
    assert [sent for _, sent in sqlite_service.gateway.sent] == [tag, again]


def test_the_message_is_committed_and_no_connection_held_while_bandwidth_is_called(database_url: str) -> None:
    gateway = BusyGateway()
    seen: list[Any] = []

    def look(tag: str) -> None:
        with Database(database_url) as other, other.read() as session:
            stored = message_tagged(session, tag)
            assert stored is not None
            seen.append((stored.send_status, [each.recipient for each in stored.recipients]))
        seen.append(service.database.engine.pool.checkedout())
        service.database.write(lambda session: None)

    with Service(database_url, gateway) as service:
        gateway.meanwhile = look
        assert service.send(to=[ALICE, BOB]).status_code == 202

    assert seen == [("submitting", [ALICE, BOB]), 0]


@pytest.mark.parametrize("answer", [BUSY, NOT_VALID, NO_CONNECTION, Unknown(status=502, type="t", description="d")])
@pytest.mark.parametrize("by_tag", [True, False])
def test_an_event_that_comes_before_the_answer_outweighs_it(
    database_url: str, answer: SendResult, by_tag: bool
) -> None:
    gateway = BusyGateway(answer)
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: service.callback(
            make_element("sending", ALICE, **{"tag": tag} if by_tag else {})
        )

        sent = service.send()

        tag = gateway.sent[0][1]
        if by_tag:
            assert sent.status_code == 202
            shown = service.message(tag)
            assert (shown["sendStatus"], shown["refusedBecause"], shown["messageId"]) == ("accepted", None, MESSAGE_ID)
            assert shown["error"]["status"] == getattr(answer, "status", None)
            assert service.statuses(tag) == {ALICE: "sending"}
        else:
            assert sent.status_code != 202
            assert service.events(tag) == []


@pytest.mark.parametrize("answer", [BUSY, Unknown()])
def test_an_event_that_comes_after_the_answer_corrects_it(service: Service, answer: SendResult) -> None:
    service.gateway.answer = answer
    tag = json.loads(service.send(to=[ALICE, BOB]).text)["tag"]

    service.callback(make_element("delivered", ALICE, tag=tag))

    shown = service.message(tag)
    assert (shown["sendStatus"], shown["refusedBecause"]) == ("accepted", None)
    assert shown["error"] == (
        {"status": 429, "type": BUSY.type, "description": BUSY.description, "fieldErrors": []}
        if answer == BUSY
        else None
    )
    assert service.statuses(tag) == {ALICE: "delivered", BOB: "pending"}


def test_an_event_known_only_by_its_id_links_as_soon_as_the_answer_names_that_id(database_url: str) -> None:
    gateway = BusyGateway(Accepted(message_id=MESSAGE_ID))
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: service.callback(make_element("delivered", ALICE))

        tag = service.send().get_json()["tag"]

        assert service.statuses(tag) == {ALICE: "delivered"}
        assert [each["linkedBy"] for each in service.events(tag)] == ["messageId"]


@OUTAGES
def test_a_database_that_goes_away_during_the_call_leaves_an_unknown_outcome(
    database_url: str, request: pytest.FixtureRequest, kind: str
) -> None:
    gateway = BusyGateway()
    with contextlib.ExitStack() as outages, Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: outages.enter_context(outage(database_url, kind, request))
        begun = time.monotonic()

        answer = service.send()

        assert time.monotonic() - begun < 10
        outages.close()
        assert is_problem(answer, 504)
        problem = json.loads(answer.text)
        assert (problem["tag"], problem["sendStatus"]) == (gateway.sent[0][1], "unknown")
        assert len(gateway.sent) == 1
        assert service.message(problem["tag"])["sendStatus"] in ("submitting", "unknown")
        service.callback(make_element("delivered", ALICE, tag=problem["tag"]))
        assert service.message(problem["tag"])["sendStatus"] == "accepted"


@OUTAGES
def test_without_a_database_nothing_is_sent(database_url: str, request: pytest.FixtureRequest, kind: str) -> None:
    with Service(database_url) as service:
        assert service.send().status_code == 202
        with outage(database_url, kind, request):
            answer = service.send()

        assert is_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        assert len(service.gateway.sent) == 1
        assert service.send().status_code == 202


def test_a_call_that_outlives_its_deadline_shows_as_unknown_until_its_answer_comes(database_url: str) -> None:
    gateway = BusyGateway(late_in=database_url)
    seen: list[Any] = []
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: seen.extend(
            [
                service.message(tag)["sendStatus"],
                service.get("/messages?sendStatus=unknown")["messages"][0]["tag"] == tag,
            ]
        )

        assert service.send().get_json()["sendStatus"] == "accepted"

    assert seen == ["unknown", True]


def test_whatever_happens_after_the_commit_the_answer_carries_the_tag(database_url: str) -> None:
    def fail(tag: str) -> None:
        raise RuntimeError("a gateway never raises, but a bug would")

    gateway = BusyGateway()
    gateway.meanwhile = fail
    with Service(database_url, gateway) as service:
        answer = service.send()

        problem = json.loads(answer.text)
        assert answer.status_code in (500, 504)
        assert problem["tag"] == gateway.sent[0][1]
        assert problem["sendStatus"] == "unknown"


def test_the_message_says_which_api_key_asked_for_it(service: Service) -> None:
    """However it was sent, also when it is asked for by another key."""
    sent = service.send().json
    queued = service.send(headers={"Prefer": "respond-async"}).json

    assert (sent["askedBy"], queued["askedBy"]) == ("app", "app")
    assert service.message(sent["tag"])["askedBy"] == "app"
