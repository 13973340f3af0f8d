"""Accidents at each point of a request: what the client sees, and what was accepted."""

from collections.abc import Callable

import pytest
import requests

from receiver.simulator import Accident, Action, Point, RequestFate, Simulator, Switches
from tests.support.processes import wait_for
from tests.support.raw_http import connection, request_bytes, response_bytes
from tests.support.simulators import (
    MESSAGE,
    Send,
    bearer,
    messages_url,
    post,
    receive,
    simulator_threads,
    under_way,
    wait_held,
)

BEFORE_ACCEPTANCE = {Point.CONNECTED, Point.HALF_READ, Point.READ}
BEFORE_ANSWER = BEFORE_ACCEPTANCE | {Point.ACCEPTED}


def switch(simulator: Simulator, at: Point, do: Action, *, times: int | None = None) -> None:
    simulator.switches = Switches(accident=Accident(at=at, do=do), times=times)


@pytest.mark.parametrize("point", Point)
def test_after_a_close_the_client_reads_no_more(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.CLOSE)

    received = response_bytes(simulator)

    assert (received == b"") == (point in BEFORE_ANSWER)
    assert len(simulator.messages) == (point not in BEFORE_ACCEPTANCE)


@pytest.mark.parametrize("point", Point)
def test_a_reset_is_an_error_to_the_client(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.RESET)

    with pytest.raises(ConnectionResetError):
        response_bytes(simulator)

    assert len(simulator.messages) == (point not in BEFORE_ACCEPTANCE)


def test_a_half_written_response_has_its_head_and_half_of_its_body(simulator: Simulator) -> None:
    whole = response_before_close(simulator, Point.WRITTEN)
    head, _, body = response_before_close(simulator, Point.HALF_WRITTEN).partition(b"\r\n\r\n")

    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert announced == len(whole.partition(b"\r\n\r\n")[2])
    assert len(body) == announced // 2


def response_before_close(simulator: Simulator, point: Point) -> bytes:
    switch(simulator, point, Action.CLOSE)
    return response_bytes(simulator)


@pytest.mark.parametrize("point", Point)
def test_a_held_request_stands_still_until_it_is_released(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.HOLD)
    with under_way(lambda: post(simulator)) as responses:
        wait_held(simulator, point)

        assert len(simulator.messages) == (point not in BEFORE_ACCEPTANCE)
        if point is not Point.WRITTEN:
            assert responses == []
        assert simulator.release() == 1

    assert [response.status_code for response in responses] == [202]
    wait_held(simulator)
    assert len(simulator.messages) == 1


@pytest.mark.parametrize("point", sorted(BEFORE_ACCEPTANCE))
def test_a_request_whose_client_died_is_still_accepted_once_it_is_released(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.HOLD)
    with connection(simulator) as client:
        client.sendall(request_bytes(simulator, tag="from the grave"))
        wait_held(simulator, point)

    simulator.release()

    (message,) = wait_for(lambda: simulator.messages, "the message to be accepted", seconds=10)
    assert message.request.tag == "from the grave"


@pytest.mark.parametrize("do", ["close", "reset"])
def test_a_release_can_end_the_connection(simulator: Simulator, do: str) -> None:
    switch(simulator, Point.READ, Action.HOLD)
    with connection(simulator) as client:
        client.sendall(request_bytes(simulator))
        wait_held(simulator, Point.READ)
        released = requests.post(f"{simulator.root}/simulator/release", json={"do": do}, timeout=10)

        assert released.json() == {"released": 1}
        if do == "close":
            assert client.recv(1) == b""
        else:
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    assert simulator.messages == ()


def test_setting_switches_releases_held_requests(simulator: Simulator) -> None:
    switch(simulator, Point.READ, Action.HOLD)
    with under_way(lambda: post(simulator), 16) as responses:
        wait_held(simulator, *[Point.READ] * 16)
        simulator.switches = Switches()

    assert [response.status_code for response in responses] == [202] * 16


def test_times_limits_an_accident_to_the_next_requests(simulator: Simulator, send: Send) -> None:
    switch(simulator, Point.READ, Action.CLOSE, times=2)

    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            send()

    assert send().status_code == 202


@pytest.mark.parametrize("point", [Point.CONNECTED, Point.READ])
def test_the_simulators_own_paths_respond_while_requests_are_held(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.HOLD, times=1)
    with under_way(lambda: post(simulator)):
        wait_held(simulator, point)
        held = requests.get(f"{simulator.root}/simulator/held", timeout=10).json()
        received = receive(simulator, from_="+12345678902", to="+12345678901", text="Hello")
        released = requests.post(f"{simulator.root}/simulator/release", json={}, timeout=10)

    assert (held, received.status_code, released.json()) == ({"held": [point]}, 202, {"released": 1})


def test_an_accident_happens_on_a_connection_that_was_open_before(simulator: Simulator) -> None:
    url, headers = messages_url(simulator), bearer(simulator)
    with requests.Session() as session:
        send: Callable[[], requests.Response] = lambda: session.post(  # noqa: E731
            url, json=MESSAGE, headers=headers, timeout=10
        )
        assert send().status_code == 202
        switch(simulator, Point.CONNECTED, Action.CLOSE)
        with pytest.raises(requests.ConnectionError):
            send()

    assert len(simulator.messages) == 1


def test_a_slow_request_is_held_and_can_be_released(simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.SLOW)
    with under_way(lambda: post(simulator)) as responses:
        wait_held(simulator, Point.ACCEPTED)
        assert len(simulator.messages) == 1
        assert simulator.release() == 1

    assert [response.status_code for response in responses] == [202]


@pytest.mark.parametrize("body", ['{"do": "hold"}', '{"when": "now"}', "[]", "{"])
def test_an_unreadable_release_is_refused_with_an_explanation(simulator: Simulator, body: str) -> None:
    response = requests.post(f"{simulator.root}/simulator/release", data=body, timeout=10)

    assert response.status_code == 400
    assert response.json()["error"]


def test_stopping_ends_held_requests(simulator: Simulator) -> None:
    switch(simulator, Point.ACCEPTED, Action.HOLD)
    with connection(simulator) as client:
        client.sendall(request_bytes(simulator))
        wait_held(simulator, Point.ACCEPTED)

        simulator.stop()

    assert simulator.held == ()
    assert simulator_threads() == []
