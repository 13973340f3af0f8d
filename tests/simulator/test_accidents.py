"""Accidents at chosen points of the connection: what the client sees, and what was accepted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from receiver.simulator import Accident, Action, Point, RequestFate, Simulator, Switches
from tests.support.processes import wait_for
from tests.support.raw_http import connection, exchanged, request_bytes
from tests.support.simulators import MESSAGE, Send, bearer, post

BEFORE_ACCEPTANCE = {Point.CONNECTED, Point.HALF_READ, Point.READ}
BEFORE_ANSWER = BEFORE_ACCEPTANCE | {Point.ACCEPTED}


def switch(simulator: Simulator, at: Point, do: Action, *, times: int | None = None) -> None:
    simulator.switches = Switches(accident=Accident(at=at, do=do), times=times)


@contextmanager
def sending(simulator: Simulator, count: int = 1) -> Iterator[list[requests.Response]]:
    """Requests under way on threads of their own; their answers, complete at the end."""
    answers: list[requests.Response] = []
    clients = [threading.Thread(target=lambda: answers.append(post(simulator))) for _ in range(count)]
    for client in clients:
        client.start()
    yield answers
    for client in clients:
        client.join(10)
    assert not any(client.is_alive() for client in clients)


def wait_held(simulator: Simulator, *points: Point) -> None:
    wait_for(lambda: simulator.held == points, f"requests to be held at {points}", seconds=10)


@pytest.mark.parametrize("point", Point)
def test_a_close_is_the_end_of_what_the_client_reads(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.CLOSE)

    said = exchanged(simulator)

    assert (said == b"") == (point in BEFORE_ANSWER)
    assert len(simulator.messages) == (point not in BEFORE_ACCEPTANCE)


@pytest.mark.parametrize("point", Point)
def test_a_reset_is_an_error_to_the_client(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.RESET)

    with pytest.raises(ConnectionResetError):
        exchanged(simulator)

    assert len(simulator.messages) == (point not in BEFORE_ACCEPTANCE)


def test_a_half_written_answer_has_its_head_and_half_of_its_body(simulator: Simulator) -> None:
    whole = exchanged_and_closed(simulator, Point.WRITTEN)
    head, _, body = exchanged_and_closed(simulator, Point.HALF_WRITTEN).partition(b"\r\n\r\n")

    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert announced == len(whole.partition(b"\r\n\r\n")[2])
    assert len(body) == announced // 2


def exchanged_and_closed(simulator: Simulator, point: Point) -> bytes:
    switch(simulator, point, Action.CLOSE)
    return exchanged(simulator)


@pytest.mark.parametrize("point", Point)
def test_a_held_request_stands_still_until_it_is_released(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.HOLD)
    with sending(simulator) as answers:
        wait_held(simulator, point)

        assert len(simulator.messages) == (point not in BEFORE_ACCEPTANCE)
        if point is not Point.WRITTEN:
            assert answers == []
        assert simulator.release() == 1

    assert [answer.status_code for answer in answers] == [202]
    wait_held(simulator)
    assert len(simulator.messages) == 1


@pytest.mark.parametrize("point", sorted(BEFORE_ACCEPTANCE))
def test_a_request_whose_sender_died_is_accepted_all_the_same_once_it_is_released(
    simulator: Simulator, point: Point
) -> None:
    switch(simulator, point, Action.HOLD)
    with connection(simulator) as client:
        client.sendall(request_bytes(simulator, tag="from the grave"))
        wait_held(simulator, point)

    simulator.release()

    (message,) = wait_for(lambda: simulator.messages, "the message to be accepted", seconds=10)
    assert message.request.tag == "from the grave"


@pytest.mark.parametrize("do", ["close", "reset"])
def test_a_release_can_be_the_end(simulator: Simulator, do: str) -> None:
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


def test_other_switches_release_what_is_held(simulator: Simulator) -> None:
    switch(simulator, Point.READ, Action.HOLD)
    with sending(simulator, 16) as answers:
        wait_held(simulator, *[Point.READ] * 16)
        simulator.switches = Switches()

    assert [answer.status_code for answer in answers] == [202] * 16


def test_an_accident_can_happen_to_the_next_requests_only(simulator: Simulator, send: Send) -> None:
    switch(simulator, Point.READ, Action.CLOSE, times=2)

    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            send()

    assert send().status_code == 202


@pytest.mark.parametrize("point", [Point.CONNECTED, Point.READ])
def test_its_own_paths_answer_whatever_is_held(simulator: Simulator, point: Point) -> None:
    switch(simulator, point, Action.HOLD, times=1)
    with sending(simulator):
        wait_held(simulator, point)
        held = requests.get(f"{simulator.root}/simulator/held", timeout=10).json()
        inbound = {"from": "+12345678902", "to": "+12345678901", "text": "Hello"}
        received = requests.post(f"{simulator.root}/simulator/inbound", json=inbound, timeout=10)
        released = requests.post(f"{simulator.root}/simulator/release", json={}, timeout=10)

    assert (held, received.status_code, released.json()) == ({"held": [point]}, 202, {"released": 1})


def test_an_accident_happens_on_a_connection_that_was_open_before(simulator: Simulator) -> None:
    url, headers = f"{simulator.url}/users/9900000/messages", bearer(simulator)
    with requests.Session() as session:
        send: Callable[[], requests.Response] = lambda: session.post(  # noqa: E731
            url, json=MESSAGE, headers=headers, timeout=10
        )
        assert send().status_code == 202
        switch(simulator, Point.CONNECTED, Action.CLOSE)
        with pytest.raises(requests.ConnectionError):
            send()

    assert len(simulator.messages) == 1


def test_slow_is_a_request_held_for_a_time(simulator: Simulator) -> None:
    simulator.switches = Switches(request=RequestFate.SLOW)
    with sending(simulator) as answers:
        wait_held(simulator, Point.ACCEPTED)
        assert len(simulator.messages) == 1
        assert simulator.release() == 1

    assert [answer.status_code for answer in answers] == [202]


@pytest.mark.parametrize("body", ['{"do": "hold"}', '{"when": "now"}', "[]", "{"])
def test_a_release_that_cannot_be_read_is_refused_in_words(simulator: Simulator, body: str) -> None:
    answer = requests.post(f"{simulator.root}/simulator/release", data=body, timeout=10)

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_stopping_ends_what_is_held(simulator: Simulator) -> None:
    switch(simulator, Point.ACCEPTED, Action.HOLD)
    with connection(simulator) as client:
        client.sendall(request_bytes(simulator))
        wait_held(simulator, Point.ACCEPTED)

        simulator.stop()

    assert simulator.held == ()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("simulator")] == []
