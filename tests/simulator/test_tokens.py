"""Access tokens: who gets one, what it gives access to, and when it expires."""

from pathlib import Path
from typing import Any

import pytest
import requests

from receiver.simulator import Accident, Action, Point, RequestFate, Simulator, Switches
from receiver.simulator.account import TokenIssuer
from tests.support.processes import simulating
from tests.support.simulators import MESSAGE, Start, bearer, messages_url, post, request_token

GRANT = {"grant_type": "client_credentials"}
POST_REFUSED = {"type": "unauthorized", "description": "Authentication Failed"}
GET_REFUSED = {"type": "unauthorized", "description": "Your request could not be authenticated"}


def responses(simulator: Simulator, headers: dict[str, str]) -> list[tuple[int, Any]]:
    """The responses of POST and GET of messages: the status, and the body of a refusal."""
    url = messages_url(simulator)
    sent = requests.post(url, json=MESSAGE, headers=headers, timeout=10)
    found = requests.get(f"{url}?limit=1", headers=headers, timeout=10)
    return [(each.status_code, None if each.ok else each.json()) for each in (sent, found)]


ACCEPTED = [(202, None), (200, None)]
UNAUTHORIZED = [(401, POST_REFUSED), (401, GET_REFUSED)]


def test_a_client_gets_a_token_that_is_accepted(start: Start) -> None:
    simulator = start(client_id="client", client_secret="secret", token_seconds=90.5)

    response = request_token(simulator)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json()
    token = body.pop("access_token")
    assert len(token) == 64
    assert body == {"token_type": "Bearer", "expires_in": 90}
    assert responses(simulator, {"Authorization": f"Bearer {token}"}) == ACCEPTED


def test_a_client_may_send_its_credentials_in_the_form(start: Start) -> None:
    simulator = start(client_id="client", client_secret="secret")
    form = GRANT | {"client_id": "client", "client_secret": "secret"}

    assert request_token(simulator, auth=None, data=form).status_code == 200
    assert request_token(simulator, auth=None, data=form | {"client_secret": "other"}).status_code == 401


@pytest.mark.parametrize("auth", [None, ("other", "secret"), ("client", "other"), ("client", ""), ("", "secret")])
def test_a_client_with_other_credentials_is_refused(start: Start, auth: tuple[str, str] | None) -> None:
    simulator = start(client_id="client", client_secret="secret")

    response = request_token(simulator, auth=auth)

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert response.headers["Cache-Control"] == "no-store"


def test_without_an_expected_client_any_is_accepted_if_it_has_a_secret(simulator: Simulator) -> None:
    assert request_token(simulator, auth=("any", "one")).status_code == 200
    assert request_token(simulator, auth=("any", "")).status_code == 401


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"scope": "messaging"}, "invalid_request"),
        ("", "invalid_request"),
    ],
)
def test_any_other_grant_is_refused(simulator: Simulator, data: Any, error: str) -> None:
    response = request_token(simulator, data=data)

    assert (response.status_code, response.json()["error"]) == (400, error)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data"])
def test_a_body_that_is_not_a_form_is_refused(simulator: Simulator, content_type: str) -> None:
    response = request_token(
        simulator, data='{"grant_type": "client_credentials"}', headers={"Content-Type": content_type}
    )

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_token_is_requested_with_post_only(simulator: Simulator, method: str) -> None:
    response = requests.request(method, simulator.token_url, auth=("client", "secret"), data=GRANT, timeout=10)

    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert simulator.token_responses == {}


def test_a_revoked_token_is_refused_and_a_new_one_is_accepted(simulator: Simulator) -> None:
    first, second = bearer(simulator), bearer(simulator)

    assert simulator.revoke_tokens() == 2

    assert [responses(simulator, token) for token in (first, second)] == [UNAUTHORIZED] * 2
    assert responses(simulator, bearer(simulator)) == ACCEPTED


def test_tokens_can_be_revoked_over_http(simulator: Simulator) -> None:
    token = bearer(simulator)

    revoked = [requests.post(f"{simulator.root}/simulator/revoke", timeout=10).json() for _ in range(2)]

    assert revoked == [{"revoked": 1}, {"revoked": 0}]
    assert responses(simulator, token) == UNAUTHORIZED


def test_a_token_expires(start: Start) -> None:
    simulator = start(token_seconds=1e-6)

    assert responses(simulator, bearer(simulator)) == UNAUTHORIZED
    assert simulator.revoke_tokens() == 0


def test_the_command_prints_the_token_url_and_takes_the_lifetime_of_tokens(tmp_path: Path) -> None:
    with simulating(tmp_path, "--token-seconds", "7") as running:
        assert f"BANDWIDTH_TOKEN_URL={running.root}/api/v1/oauth2/token" in running.child.output
        assert request_token(running).json()["expires_in"] == 7


def test_each_token_has_its_own_expiry() -> None:
    clock = [100.0]
    tokens = TokenIssuer(client_id=None, client_secret=None, lifetime=10.0, clock=lambda: clock[0])
    first = tokens.issue()
    clock[0] = 105.0
    second = tokens.issue()

    def good(at: float) -> list[bool]:
        clock[0] = at
        return [tokens.is_valid(token) for token in (first, second)]

    assert [good(at) for at in (109.9, 110.0, 114.9, 115.0)] == [
        [True, True],
        [False, True],
        [False, True],
        [False, False],
    ]
    assert tokens.revoke() == 0


def test_a_username_and_password_are_refused_unless_a_switch_allows_them(simulator: Simulator) -> None:
    basic = {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}

    assert responses(simulator, basic) == UNAUTHORIZED
    simulator.switches = Switches(basic=True)
    assert responses(simulator, basic) == ACCEPTED
    assert responses(simulator, bearer(simulator)) == ACCEPTED


@pytest.mark.parametrize("wrong", ["account_id", "username", "password"])
def test_each_part_of_basic_credentials_is_checked(start: Start, wrong: str) -> None:
    expected = {"account_id": "9900000", "username": "user", "password": "password"}
    basic = {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}
    on = Switches(basic=True)

    assert responses(start(**expected, switches=on), basic) == ACCEPTED
    assert responses(start(**(expected | {wrong: "other"}), switches=on), basic) == UNAUTHORIZED


def test_switches_for_requests_to_send_do_not_affect_requests_for_a_token(simulator: Simulator) -> None:
    accident = Accident(at=Point.CONNECTED, do=Action.CLOSE)
    for switches in (Switches(accident=accident), Switches(request=RequestFate.SERVER_ERROR, times=1)):
        simulator.switches = switches
        assert [request_token(simulator).status_code for _ in range(2)] == [200, 200]

    assert post(simulator).status_code == 500
    assert post(simulator).status_code == 202


def test_requests_for_tokens_are_counted_separately(simulator: Simulator) -> None:
    token = bearer(simulator)
    request_token(simulator, auth=None)
    requests.post(messages_url(simulator), json=MESSAGE, headers=token, timeout=10)

    counts = requests.get(f"{simulator.root}/simulator/counts", timeout=10).json()

    assert counts == {"answers": {"202": 1}, "tokens": {"200": 1, "401": 1}, "waiting": 0.0}
    assert simulator.token_responses == {200: 1, 401: 1}


@pytest.mark.parametrize("account_id", ["u-abc123", "\u0665\u0660", "5500001a"])
def test_with_a_token_the_account_id_must_be_a_number(simulator: Simulator, account_id: str) -> None:
    url = f"{simulator.url}/users/{account_id}/messages"

    assert requests.post(url, json=MESSAGE, headers=bearer(simulator), timeout=10).status_code == 401


def test_a_token_of_less_than_a_second_has_an_expires_in_of_one(start: Start) -> None:
    assert request_token(start(token_seconds=0.5)).json()["expires_in"] == 1
