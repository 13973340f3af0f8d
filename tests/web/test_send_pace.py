"""BANDWIDTH_RATE where a message is sent at once: its caller waits for two seconds at most."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from receiver.core.messages import Refused
from receiver.core.send_status import RefusedBecause
from receiver.messages.sender import TURN_SECONDS
from tests.support.builders import ACCEPTED, ALICE, BOB, CAROL
from tests.support.service import LATER, ONCE, Service, is_problem
from tests.web.test_idempotency import count
from tests.web.test_send import BUSY, NO_CONNECTION

GROUP = [ALICE, BOB, CAROL]


def test_a_message_waits_for_its_turn_if_that_is_near(database_url: str) -> None:
    with Service(database_url, bandwidth_rate=3.0) as service:
        begun = time.monotonic()
        assert service.send(to=GROUP).status_code == 202
        assert service.send(to=GROUP).status_code == 202
        taken = time.monotonic() - begun

    # Half a second's worth may go out at once after a pause.
    assert taken >= 0.5 - 0.01


def test_a_turn_that_is_further_ahead_is_refused_and_nothing_is_stored(database_url: str) -> None:
    with Service(database_url, bandwidth_rate=0.1) as service:
        assert service.send(to=GROUP).status_code == 202
        begun = time.monotonic()

        answer = service.send(to=GROUP, headers=ONCE)

        assert time.monotonic() - begun < TURN_SECONDS
        assert is_problem(answer, 429)
        assert 25 <= int(answer.headers["Retry-After"]) <= 30
        assert "tag" not in json.loads(answer.text)
        assert len(service.gateway.sent) == count(service, "messages") == 1
        assert count(service, "idempotency_keys") == 0


def test_what_is_left_to_the_workers_is_never_too_much(database_url: str) -> None:
    with Service(database_url, bandwidth_rate=0.1) as service:
        service.send(to=GROUP)

        assert service.send(to=GROUP, headers=ONCE | LATER).status_code == 202


def test_each_sender_has_a_rate_of_its_own(database_url: str) -> None:
    with Service(database_url, bandwidth_sender_rate=0.1) as service:
        answers = [service.send(to=["+19195550104"], **{"from": sender}) for sender in (ALICE, BOB, ALICE, CAROL)]

    assert [each.status_code for each in answers] == [202, 202, 429, 202]


def test_of_twenty_requests_with_one_key_one_takes_a_turn(database_url: str) -> None:
    with Service(database_url, bandwidth_rate=1.0) as service:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: service.send(headers=ONCE), range(20)))

        assert {answer.status_code for answer in answers} <= {202, 409, 429}
        assert len(service.gateway.sent) == count(service, "messages") == 1


@pytest.mark.parametrize("rates", [{}, {"bandwidth_rate": 1000.0}], ids=["without a rate", "with a rate"])
def test_a_pause_that_bandwidth_asked_for_holds_for_everybody(database_url: str, rates: dict[str, float]) -> None:
    """For another process too, which is told nothing but what is in the database."""
    with Service(database_url, **rates) as service, Service(database_url, **rates) as other:
        service.gateway.answer = Refused(because=RefusedBecause.RATE_LIMITED, status=429, retry_after=60)
        assert is_problem(service.send(headers=ONCE), 429)

        for each in (service, other):
            answer = each.send()
            assert is_problem(answer, 429)
            assert 50 <= int(answer.headers["Retry-After"]) <= 60
        assert (len(service.gateway.sent), other.gateway.sent) == (1, [])


@pytest.mark.parametrize(("refusal", "status"), [(BUSY, 429), (NO_CONNECTION, 503)])
def test_a_repeat_without_a_turn_gets_its_tag_and_a_time_to_retry(
    database_url: str, refusal: Refused, status: int
) -> None:
    with Service(database_url, bandwidth_rate=0.1) as service:
        service.gateway.answer = refusal
        first = json.loads(service.send(headers=ONCE, to=GROUP).text)
        service.gateway.answer = ACCEPTED

        repeat = service.send(headers=ONCE, to=GROUP)

        assert is_problem(repeat, status)
        assert json.loads(repeat.text) == first
        assert 25 <= int(repeat.headers["Retry-After"]) <= 30
        assert len(service.gateway.sent) == 1


def test_a_short_pause_is_waited_for(database_url: str) -> None:
    with Service(database_url) as service:
        service.gateway.answer = BUSY  # it names no time, so the first pause is about a second
        tag = json.loads(service.send(headers=ONCE).text)["tag"]
        service.gateway.answer = ACCEPTED

        repeat = service.send(headers=ONCE)

        assert (repeat.status_code, repeat.get_json()["tag"]) == (202, tag)
        assert [sent for _, sent in service.gateway.sent] == [tag, tag]
