"""Switches choose what becomes of a request, set in process or over HTTP."""

import json
import time

import pytest
import requests

from receiver.simulator import CallbackShape, RequestFate, Simulator, Switches
from tests.support.callback_receiver import CallbackReceiver
from tests.support.raw_http import connection, request_bytes, response_bytes
from tests.support.simulators import ALICE, Send, Start, post


@pytest.mark.parametrize(
    ("fate", "status", "body"),
    [
        ("401", 401, {"type": "unauthorized", "description": "Authentication Failed"}),
        ("403", 403, {"type": "forbidden", "description": "Access Denied"}),
        (
            "500",
            500,
            {
                "type": "internal-server-error",
                "description": "Internal server error. No further information available",
            },
        ),
    ],
)
def test_a_refusal_has_bandwidths_body_and_nothing_is_sent(
    send: Send, simulator: Simulator, fate: str, status: int, body: dict[str, str]
) -> None:
    simulator.switches = Switches(request=RequestFate(fate))

    response = send()

    assert (response.status_code, response.json()) == (status, body)
    assert response.headers["Content-Type"] == "application/json"
    assert simulator.messages == ()


def test_400_names_a_field(send: Send, simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.BAD_REQUEST)

    assert send().json()["fieldErrors"][0]["fieldName"] == "to"


def test_429_says_that_the_queue_is_full_and_has_no_retry_after(send: Send, simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.QUEUE_FULL)

    response = send()

    assert response.status_code == 429
    assert response.json()["type"] == "max-message-queue-size-exceeded"
    assert "Retry-After" not in response.headers


def test_502_is_a_gateways_page(send: Send, simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.BAD_GATEWAY)

    response = send()

    assert (response.status_code, response.headers["Content-Type"]) == (502, "text/html")
    assert "<h1>502 Bad Gateway</h1>" in response.text


def test_a_redirect_leads_nowhere(send: Send, simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.REDIRECT)

    response = send()

    assert response.status_code == 307
    assert requests.post(f"{simulator.root}{response.headers['Location']}", timeout=10).status_code == 404


def test_slow_accepts_at_once_and_responds_later(send: Send, simulator: Simulator, receiver: CallbackReceiver) -> None:
    simulator.switches = Switches(request=RequestFate.SLOW, slow_seconds=0.3)
    before = time.monotonic()

    response = send()

    assert response.status_code == 202
    assert time.monotonic() - before >= 0.3
    assert len(receiver.events) == 2


def test_a_client_that_does_not_wait_for_a_slow_response_has_sent_its_message(
    simulator: Simulator, receiver: CallbackReceiver
) -> None:
    simulator.switches = Switches(request=RequestFate.SLOW)

    with connection(simulator) as client:
        client.sendall(request_bytes(simulator))
        assert receiver.arrived.acquire(timeout=10)

    assert len(simulator.messages) == 1


def test_dropped_before_means_not_sent(simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.DROP_BEFORE)

    assert response_bytes(simulator) == b""
    assert simulator.messages == ()


def test_dropped_after_means_sent(simulator: Simulator, receiver: CallbackReceiver) -> None:
    simulator.switches = Switches(request=RequestFate.DROP_AFTER)

    assert response_bytes(simulator) == b""
    assert len(simulator.messages) == 1
    assert simulator.wait_until_idle(10)
    assert len(receiver.events) == 2


def test_a_dropped_connection_is_what_an_ordinary_client_sees(send: Send, simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.DROP_AFTER)

    with pytest.raises(requests.ConnectionError):
        send()


def test_nonsense_is_a_202_that_is_not_json(send: Send, simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.NONSENSE)

    response = send()

    assert (response.status_code, response.headers["Content-Type"]) == (202, "application/json")
    with pytest.raises(requests.JSONDecodeError):
        response.json()
    assert len(simulator.messages) == 1


def test_cut_off_ends_in_the_middle_of_the_body(simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.CUT_OFF)

    head, _, body = response_bytes(simulator).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 202")
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    whole = json.dumps(simulator.messages[0].response_body()).encode()
    assert announced == len(whole)
    assert body == whole[: announced // 2]


def test_every_fate_of_a_request_can_be_set_and_unset_over_http(simulator: Simulator) -> None:
    url = f"{simulator.root}/simulator/switches"
    defaults = {"request": "accept", "accident": None, "times": None, "callbacks": "normal", "slowSeconds": 30.0}
    defaults |= {"search": "normal", "indexSeconds": 0.0, "retryAfter": None}
    defaults |= {"basic": False, "tokens": "issue", "expiresIn": None}
    for fate in RequestFate:
        body = {"request": fate.value, "callbacks": "batched", "slowSeconds": 1.5, "times": 3}
        assert requests.put(url, json=body, timeout=10).json() == defaults | body
        assert requests.get(url, timeout=10).json() == defaults | body
        assert simulator.switches == Switches(request=fate, callbacks=CallbackShape.BATCHED, slow_seconds=1.5, times=3)
    assert requests.put(url, json={}, timeout=10).json() == defaults


def test_times_limits_a_fate_to_the_next_requests(send: Send, simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.SERVER_ERROR, times=2)

    assert [send().status_code for _ in range(4)] == [500, 500, 202, 202]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"request": "explode"}', "request must be one of accept, 400, "),
        ('{"callbacks": "sideways"}', "callbacks must be one of normal, "),
        ('{"slowSeconds": "long"}', "slowSeconds must be a number from 0 to 3600"),
        ('{"times": 0}', "times must be null or a positive integer"),
        ('{"accident": "close"}', "accident must be null or {"),
        ('{"accident": {"at": "home", "do": "close"}}', "at must be one of connected, "),
        ('{"accident": {"at": "accepted", "do": "sing"}}', "do must be one of close, reset, hold"),
        ('{"request": "slow", "accident": {"at": "accepted", "do": "hold"}}', "request slow is itself an accident"),
        ('{"basic": 1}', "basic must be true or false"),
        ('{"tokens": "explode"}', "tokens must be one of issue, refuse, "),
        ('{"speed": 1}', "no such switch: speed"),
        ("[]", "the body must be a JSON object"),
        ("{", "Expecting property name"),
    ],
)
def test_an_invalid_switch_is_refused_with_an_explanation(simulator: Simulator, body: str, message: str) -> None:
    response = requests.put(f"{simulator.root}/simulator/switches", data=body, timeout=10)

    assert response.status_code == 400
    assert message in response.json()["error"]
    assert simulator.switches == Switches()


def test_switches_may_be_on_from_the_start(start: Start) -> None:
    simulator = start(switches=Switches(request=RequestFate.SERVER_ERROR))

    assert post(simulator, to=ALICE).status_code == 500
