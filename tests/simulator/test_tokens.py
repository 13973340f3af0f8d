"""Access tokens: who gets one, what it opens, and when it ends."""

from pathlib import Path
from typing import Any

import pytest
import requests

from receiver.simulator import Accident, Action, Point, RequestFate, Simulator, Switches
from receiver.simulator.tokens import Tokens
from tests.support.processes import simulating
from tests.support.simulators import MESSAGE, Start, ask_token, bearer, post

GRANT = {"grant_type": "client_credentials"}
POST_REFUSED = {"type": "unauthorized", "description": "Authentication Failed"}
GET_REFUSED = {"type": "unauthorized", "description": "Your request could not be authenticated"}


def answers(simulator: Simulator, headers: dict[str, str]) -> list[tuple[int, Any]]:
    """How POST and GET of messages are answered: the status, and the body of a refusal."""
    url = f"{simulator.url}/users/9900000/messages"
    sent = requests.post(url, json=MESSAGE, headers=headers, timeout=10)
    found = requests.get(f"{url}?limit=1", headers=headers, timeout=10)
    return [(each.status_code, None if each.ok else each.json()) for each in (sent, found)]


LET_IN = [(202, None), (200, None)]
KEPT_OUT = [(401, POST_REFUSED), (401, GET_REFUSED)]


def test_a_client_gets_a_token_that_lets_it_in(start: Start) -> None:
    simulator = start(client_id="client", client_secret="secret", token_seconds=90.5)

    answer = ask_token(simulator)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    token = body.pop("access_token")
    assert len(token) == 64
    assert body == {"token_type": "Bearer", "expires_in": 90}
    assert answers(simulator, {"Authorization": f"Bearer {token}"}) == LET_IN


def test_a_client_may_name_itself_in_the_form(start: Start) -> None:
    simulator = start(client_id="client", client_secret="secret")
    form = GRANT | {"client_id": "client", "client_secret": "secret"}

    assert ask_token(simulator, auth=None, data=form).status_code == 200
    assert ask_token(simulator, auth=None, data=form | {"client_secret": "other"}).status_code == 401


@pytest.mark.parametrize("auth", [None, ("other", "secret"), ("client", "other"), ("client", ""), ("", "secret")])
def test_another_client_is_refused(start: Start, auth: tuple[str, str] | None) -> None:
    simulator = start(client_id="client", client_secret="secret")

    answer = ask_token(simulator, auth=auth)

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.headers["Cache-Control"] == "no-store"


def test_any_client_is_let_in_unless_one_is_expected_but_none_without_a_secret(simulator: Simulator) -> None:
    assert ask_token(simulator, auth=("any", "one")).status_code == 200
    assert ask_token(simulator, auth=("any", "")).status_code == 401


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"scope": "messaging"}, "invalid_request"),
        ("", "invalid_request"),
    ],
)
def test_another_grant_is_refused(simulator: Simulator, data: Any, error: str) -> None:
    answer = ask_token(simulator, data=data)

    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data"])
def test_what_is_no_form_is_refused(simulator: Simulator, content_type: str) -> None:
    answer = ask_token(simulator, data='{"grant_type": "client_credentials"}', headers={"Content-Type": content_type})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_token_is_asked_for_with_post_only(simulator: Simulator, method: str) -> None:
    answer = requests.request(method, simulator.token_url, auth=("client", "secret"), data=GRANT, timeout=10)

    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert simulator.token_answers == {}


def test_a_revoked_token_lets_nobody_in_and_a_new_one_does(simulator: Simulator) -> None:
    first, second = bearer(simulator), bearer(simulator)

    assert simulator.revoke_tokens() == 2

    assert [answers(simulator, token) for token in (first, second)] == [KEPT_OUT] * 2
    assert answers(simulator, bearer(simulator)) == LET_IN


def test_tokens_can_be_revoked_over_http(simulator: Simulator) -> None:
    token = bearer(simulator)

    revoked = [requests.post(f"{simulator.root}/simulator/revoke", timeout=10).json() for _ in range(2)]

    assert revoked == [{"revoked": 1}, {"revoked": 0}]
    assert answers(simulator, token) == KEPT_OUT


def test_a_token_ends(start: Start) -> None:
    simulator = start(token_seconds=1e-6)

    assert answers(simulator, bearer(simulator)) == KEPT_OUT
    assert simulator.revoke_tokens() == 0


def test_the_command_prints_the_token_url_and_takes_how_long_a_token_is_good(tmp_path: Path) -> None:
    with simulating(tmp_path, "--token-seconds", "7") as running:
        assert f"BANDWIDTH_TOKEN_URL={running.root}/api/v1/oauth2/token" in running.child.output
        assert ask_token(running).json()["expires_in"] == 7


def test_each_token_has_an_end_of_its_own() -> None:
    clock = [100.0]
    tokens = Tokens(client_id=None, client_secret=None, seconds=10.0, clock=lambda: clock[0])
    first = tokens.issue()
    clock[0] = 105.0
    second = tokens.issue()

    def good(at: float) -> list[bool]:
        clock[0] = at
        return [tokens.is_good(token) for token in (first, second)]

    assert [good(at) for at in (109.9, 110.0, 114.9, 115.0)] == [
        [True, True],
        [False, True],
        [False, True],
        [False, False],
    ]
    assert tokens.revoke() == 0


def test_a_username_and_password_are_refused_unless_a_switch_lets_them_in(simulator: Simulator) -> None:
    basic = {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}

    assert answers(simulator, basic) == KEPT_OUT
    simulator.switches = Switches(basic=True)
    assert answers(simulator, basic) == LET_IN
    assert answers(simulator, bearer(simulator)) == LET_IN


@pytest.mark.parametrize("wrong", ["account_id", "username", "password"])
def test_each_part_of_the_old_credentials_is_checked(start: Start, wrong: str) -> None:
    expected = {"account_id": "9900000", "username": "user", "password": "password"}
    basic = {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}
    on = Switches(basic=True)

    assert answers(start(**expected, switches=on), basic) == LET_IN
    assert answers(start(**(expected | {wrong: "other"}), switches=on), basic) == KEPT_OUT


def test_a_request_for_a_token_is_none_to_send(simulator: Simulator) -> None:
    accident = Accident(at=Point.CONNECTED, do=Action.CLOSE)
    for switches in (Switches(accident=accident), Switches(request=RequestFate.SERVER_ERROR, times=1)):
        simulator.switches = switches
        assert [ask_token(simulator).status_code for _ in range(2)] == [200, 200]

    assert post(simulator).status_code == 500
    assert post(simulator).status_code == 202


def test_requests_for_tokens_are_counted_for_themselves(simulator: Simulator) -> None:
    token = bearer(simulator)
    ask_token(simulator, auth=None)
    requests.post(f"{simulator.url}/users/9900000/messages", json=MESSAGE, headers=token, timeout=10)

    counts = requests.get(f"{simulator.root}/simulator/counts", timeout=10).json()

    assert counts == {"answers": {"202": 1}, "tokens": {"200": 1, "401": 1}, "waiting": 0.0}
    assert simulator.token_answers == {200: 1, 401: 1}


@pytest.mark.parametrize("account_id", ["u-abc123", "\u0665\u0660", "5500001a"])
def test_with_a_token_the_account_is_a_number(simulator: Simulator, account_id: str) -> None:
    url = f"{simulator.url}/users/{account_id}/messages"

    assert requests.post(url, json=MESSAGE, headers=bearer(simulator), timeout=10).status_code == 401


def test_a_token_of_less_than_a_second_does_not_claim_to_have_ended(start: Start) -> None:
    assert ask_token(start(token_seconds=0.5)).json()["expires_in"] == 1
