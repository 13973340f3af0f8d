"""The switch `tokens` chooses what becomes of a request for a token."""

import socket
import time
from typing import Any

import pytest
import requests

from receiver.simulator import Point, Simulator, Switches, TokenFate
from tests.support.raw_http import connection, read_to_end
from tests.support.simulators import (
    MESSAGE,
    Start,
    bearer,
    messages_url,
    post,
    request_token,
    simulator_threads,
    under_way,
    wait_held,
)

REQUEST = (
    b"POST /api/v1/oauth2/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic Y2xpZW50OnNlY3JldA==\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\ngrant_type=client_credentials"
)


@pytest.mark.parametrize(
    ("fate", "status", "error"),
    [
        ("refuse", 401, "invalid_client"),
        ("forbid", 403, "access_denied"),
        ("400", 400, "unauthorized_client"),
        ("429", 429, "too_many_requests"),
        ("500", 500, "server_error"),
        ("503", 503, "temporarily_unavailable"),
    ],
)
def test_a_refusal_is_json_and_counted_and_no_token_is_issued(
    simulator: Simulator, fate: str, status: int, error: str
) -> None:
    simulator.switches = Switches(tokens=TokenFate(fate))

    response = request_token(simulator)

    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.headers["Cache-Control"] == "no-store"
    assert "Retry-After" not in response.headers
    assert simulator.token_responses == {status: 1}
    assert simulator.revoke_tokens() == 0


def test_a_refused_client_can_still_use_the_token_it_has(simulator: Simulator) -> None:
    token = bearer(simulator)
    simulator.switches = Switches(tokens=TokenFate.REFUSE)
    url = messages_url(simulator)

    assert request_token(simulator).status_code == 401
    assert requests.post(url, json=MESSAGE, headers=token, timeout=10).status_code == 202


def test_a_429_can_have_a_retry_after(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.TOO_MANY, retry_after=3)

    assert request_token(simulator).headers["Retry-After"] == "3"


def test_no_other_refusal_has_a_retry_after(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.UNAVAILABLE, retry_after=3)

    assert "Retry-After" not in request_token(simulator).headers


def test_502_is_a_gateways_page(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.BAD_GATEWAY)

    response = request_token(simulator)

    assert (response.status_code, response.headers["Content-Type"]) == (502, "text/html")
    assert "<h1>502 Bad Gateway</h1>" in response.text


def test_a_response_may_not_be_json(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.NOT_JSON)

    response = request_token(simulator)

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    with pytest.raises(requests.JSONDecodeError):
        response.json()


@pytest.mark.parametrize(("fate", "missing"), [("no-token", "access_token"), ("no-expiry", "expires_in")])
def test_a_field_may_be_missing(simulator: Simulator, fate: str, missing: str) -> None:
    simulator.switches = Switches(tokens=TokenFate(fate))

    response = request_token(simulator)

    assert response.status_code == 200
    assert sorted([*response.json(), missing]) == ["access_token", "expires_in", "token_type"]


@pytest.mark.parametrize("claimed", [0, -5, 1.5, "3600", "soon", True, [], {}, 10**30])
def test_expires_in_is_whatever_the_switch_says(simulator: Simulator, claimed: Any) -> None:
    url = f"{simulator.root}/simulator/switches"
    assert requests.put(url, json={"expiresIn": claimed}, timeout=10).json()["expiresIn"] == claimed

    assert request_token(simulator).json()["expires_in"] == claimed
    assert post(simulator).status_code == 202


def test_expires_in_does_not_change_when_the_token_expires(start: Start) -> None:
    simulator = start(token_seconds=1e-6, switches=Switches(expires_in=3600))

    assert request_token(simulator).json()["expires_in"] == 3600
    assert post(simulator).status_code == 401


def test_slow_responds_later(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.SLOW, slow_seconds=0.3)
    before = time.monotonic()

    response = request_token(simulator)

    assert response.status_code == 200
    assert time.monotonic() - before >= 0.3


def test_a_slow_response_comes_at_once_when_it_is_released(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.SLOW)
    with under_way(lambda: request_token(simulator)) as responses:
        wait_held(simulator, Point.ACCEPTED)
        assert responses == []
        assert simulator.release() == 1

    assert [response.status_code for response in responses] == [200]


@pytest.mark.parametrize("fate", [TokenFate.SLOW, TokenFate.TRICKLE])
def test_setting_switches_releases_a_slow_response(simulator: Simulator, fate: TokenFate) -> None:
    simulator.switches = Switches(tokens=fate, slow_seconds=3600.0)
    with under_way(lambda: request_token(simulator)) as responses:
        wait_held(simulator, Point.ACCEPTED if fate is TokenFate.SLOW else Point.HALF_WRITTEN)
        simulator.switches = Switches()

    assert [response.status_code for response in responses] == [200]
    assert simulator.held == ()


@pytest.mark.parametrize("fate", [TokenFate.SLOW, TokenFate.TRICKLE])
def test_stopping_ends_a_slow_response(simulator: Simulator, fate: TokenFate) -> None:
    simulator.switches = Switches(tokens=fate, slow_seconds=3600.0)
    with connection(simulator) as client:
        client.sendall(REQUEST)
        wait_held(simulator, Point.ACCEPTED if fate is TokenFate.SLOW else Point.HALF_WRITTEN)

        simulator.stop()

    assert simulator.held == ()
    assert simulator_threads() == []


def test_a_response_that_trickles_comes_byte_by_byte_until_it_is_released(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.TRICKLE, slow_seconds=3600.0)
    with connection(simulator) as client:
        client.sendall(REQUEST)
        assert client.recv(65536) == b"H"
        wait_held(simulator, Point.HALF_WRITTEN)
        simulator.release()
        client.shutdown(socket.SHUT_WR)
        rest = read_to_end(client)

    assert rest.startswith(b"TTP/1.1 200 OK\r\n")
    assert rest.endswith(b"}")


def test_a_response_that_trickles_is_complete_in_the_end(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.TRICKLE, slow_seconds=0.3)
    before = time.monotonic()

    response = request_token(simulator)

    assert time.monotonic() - before >= 0.3
    assert len(response.content) == int(response.headers["Content-Length"])
    assert response.json()["token_type"] == "Bearer"


def test_a_release_can_end_a_response_that_trickles(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.TRICKLE, slow_seconds=3600.0)
    with connection(simulator) as client:
        client.sendall(REQUEST)
        wait_held(simulator, Point.HALF_WRITTEN)
        requests.post(f"{simulator.root}/simulator/release", json={"do": "close"}, timeout=10)

        assert read_to_end(client) == b"H"


def test_a_dropped_request_issues_a_token_that_the_client_never_gets(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.DROP)

    with pytest.raises(requests.ConnectionError):
        request_token(simulator)

    assert simulator.token_responses == {200: 1}
    assert simulator.revoke_tokens() == 1


def test_cut_off_ends_in_the_middle_of_the_body(simulator: Simulator) -> None:
    simulator.switches = Switches(tokens=TokenFate.CUT_OFF)

    with connection(simulator) as client:
        client.sendall(REQUEST)
        head, _, body = read_to_end(client).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200")
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(body) == announced // 2


def test_token_fates_ignore_times_and_do_not_affect_messages(simulator: Simulator) -> None:
    token = bearer(simulator)
    simulator.switches = Switches(tokens=TokenFate.SERVER_ERROR, times=1)
    url = messages_url(simulator)

    assert [request_token(simulator).status_code for _ in range(3)] == [500] * 3
    assert requests.post(url, json=MESSAGE, headers=token, timeout=10).status_code == 202


def test_every_fate_of_a_token_can_be_set_over_http(simulator: Simulator) -> None:
    url = f"{simulator.root}/simulator/switches"
    for fate in TokenFate:
        assert requests.put(url, json={"tokens": fate, "basic": True}, timeout=10).ok
        assert simulator.switches == Switches(tokens=fate, basic=True)
