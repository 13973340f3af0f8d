"""What the application answers while there is no token: by the real client, against the simulator."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from receiver.app import make_gateway
from receiver.simulator import Simulator, Switches, TokenFate
from tests.support.builders import make_settings
from tests.support.processes import wait_for
from tests.support.service import ONCE, Service, is_problem

Start = Callable[..., Service]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def start(simulator: Simulator, sqlite_url: str) -> Iterator[Start]:
    """Starts the application, which holds no token yet."""
    services: list[Service] = []

    def new(**changes: Any) -> Service:
        settings = make_settings(sqlite_url, bandwidth_api_url=simulator.url, **changes)
        services.append(Service(sqlite_url, make_gateway(settings)))
        return services[-1]

    yield new
    for each in services:
        each.__exit__()


def refused(service: Service, answer: TestResponse) -> Any:
    """The message, of which the answer must say that it was not sent."""
    assert is_problem(answer, answer.status_code)
    assert answer.get_json()["sendStatus"] == "refused"
    message = service.message(answer.get_json()["tag"])
    assert {each["status"] for each in message["recipients"]} == {"not_sent"}
    return message


@pytest.mark.parametrize("fate", [TokenFate.REFUSE, TokenFate.FORBID, TokenFate.BAD_REQUEST])
def test_refused_credentials_are_502_and_name_the_two_settings(
    simulator: Simulator, start: Start, fate: TokenFate
) -> None:
    simulator.switches = Switches(tokens=fate)
    service = start()

    answer = service.send()

    message = refused(service, answer)
    assert answer.status_code == 502
    assert re.findall("BANDWIDTH_[A-Z_]+", answer.get_json()["detail"])[:2] == [
        "BANDWIDTH_CLIENT_ID",
        "BANDWIDTH_CLIENT_SECRET",
    ]
    assert (message["refusedBecause"], message["error"]["status"]) == ("bandwidth", None)
    assert message["error"]["type"] == "credentials"
    assert simulator.messages == ()


@pytest.mark.parametrize(
    "fate",
    [
        TokenFate.TOO_MANY,
        TokenFate.SERVER_ERROR,
        TokenFate.UNAVAILABLE,
        TokenFate.BAD_GATEWAY,
        TokenFate.NOT_JSON,
        TokenFate.NO_TOKEN,
        TokenFate.SLOW,
        TokenFate.TRICKLE,
        TokenFate.DROP,
        TokenFate.CUT_OFF,
    ],
)
def test_no_token_to_be_had_is_503_and_nothing_was_sent(simulator: Simulator, start: Start, fate: TokenFate) -> None:
    simulator.switches = Switches(tokens=fate)
    service = start(bandwidth_connect_timeout=0.2, bandwidth_read_timeout=0.4)

    answer = service.send(headers=ONCE)

    message = refused(service, answer)
    assert answer.status_code == 503
    assert (message["refusedBecause"], message["error"]["status"]) == ("unreachable", None)
    assert "BANDWIDTH_TOKEN_URL" in answer.get_json()["detail"]
    assert simulator.messages == ()

    simulator.switches = Switches()
    again = wait_for(lambda: next((each for each in [service.send(headers=ONCE)] if each.status_code == 202), None), "")
    assert again.get_json()["tag"] == message["tag"]
    assert len(simulator.messages) == 1


def test_a_429_of_the_token_endpoint_says_when_to_ask_again(simulator: Simulator, start: Start) -> None:
    simulator.switches = Switches(tokens=TokenFate.TOO_MANY, retry_after=17)
    service = start()

    first, second = service.send(), service.send()

    assert (first.status_code, first.headers["Retry-After"]) == (503, "17")
    assert (second.status_code, second.headers["Retry-After"]) == (503, "17")
    assert simulator.token_responses == {429: 1}


def test_a_token_without_an_end_serves(simulator: Simulator, start: Start) -> None:
    simulator.switches = Switches(tokens=TokenFate.NO_EXPIRY)
    service = start()

    assert [service.send().status_code for _ in range(3)] == [202] * 3
    assert simulator.token_responses == {200: 1}


def test_a_revoked_token_that_is_young_is_a_502(simulator: Simulator, start: Start) -> None:
    service = start()
    assert service.send().status_code == 202
    simulator.revoke_tokens()

    answer = service.send()

    assert answer.status_code == 502
    assert refused(service, answer)["error"]["status"] == 401


def test_a_username_is_refused_by_what_bandwidth_will_be(simulator: Simulator, start: Start) -> None:
    basic = {"bandwidth_client_id": None, "bandwidth_client_secret": None}
    service = start(**basic, bandwidth_username="user", bandwidth_password="password")

    assert service.send().status_code == 502
    simulator.switches = Switches(basic=True)
    assert service.send().status_code == 202
    assert simulator.token_responses == {}
